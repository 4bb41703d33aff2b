//go:build !knownbugs

package knownbug

import "testing"

func TestNoFaultIsOnInABuildWithoutTheTag(t *testing.T) {
	t.Setenv("KNOWN_BUG", NoDeduplication)
	if On(NoDeduplication) {
		t.Error("on")
	}
}
