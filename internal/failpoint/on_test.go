//go:build failpoints

package failpoint

import "testing"

func TestParse(t *testing.T) {
	for _, bad := range []string{"a", "a=kill", "a=kill@0", "a=kill@x", "=kill@1", "a=stop@1", "a=kill@1,"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("parse(%q) has no error", bad)
		}
	}
	points, err := parse("a=kill@2,b/c=kill@1")
	if err != nil || len(points) != 2 || points["a"].left.Load() != 2 || points["b/c"].left.Load() != 1 {
		t.Errorf("parse = %v, %v", points, err)
	}
}

func TestHitActsOnceAtTheCount(t *testing.T) {
	oldArmed, oldDie := armed, die
	defer func() { armed, die = oldArmed, oldDie }()
	deaths := 0
	die = func() { deaths++ }
	armed, _ = parse("here=kill@3")
	for i, want := range []int{0, 0, 1, 1, 1} {
		Hit("here")
		Hit("elsewhere")
		if deaths != want {
			t.Errorf("after %d hits: %d deaths, want %d", i+1, deaths, want)
		}
	}
}
