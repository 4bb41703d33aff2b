//go:build !failpoints

package failpoint

import "testing"

func TestHitCostsNothing(t *testing.T) {
	t.Setenv("ROOKERY_FAILPOINTS", "here=kill@1")
	if Enabled {
		t.Fatal("enabled without its tag")
	}
	if n := testing.AllocsPerRun(100, func() { Hit("here") }); n != 0 {
		t.Errorf("Hit allocates %v", n)
	}
}
