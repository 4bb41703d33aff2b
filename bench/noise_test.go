package bench

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestARunIsBadWhenOthersTookTheMachine(t *testing.T) {
	for name, r := range map[string]*Result{
		"stolen":  {StolenCores: 0.21, Machine: Machine{CPUs: 4}},
		"foreign": {ForeignCores: 0.21, Machine: Machine{CPUs: 4}},
		"invalid": {Invalid: []string{"the load fell behind"}},
	} {
		if why := r.Bad(NoisyStolen, NoisyForeign); len(why) != 1 {
			t.Errorf("%s: %v", name, why)
		}
	}
	good := &Result{StolenCores: 0.2, ForeignCores: 0.2, Machine: Machine{CPUs: 4}}
	if why := good.Bad(NoisyStolen, NoisyForeign); len(why) != 0 {
		t.Errorf("at the bounds: %v", why)
	}
}

// What a child of ours does is ours, also when it has ended.
func TestChildrenAreNotForeign(t *testing.T) {
	spin := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
	own := ownTime()
	if err := spin.Run(); err != nil {
		t.Fatal(err)
	}
	if ownTime()-own < 50*time.Millisecond {
		t.Errorf("a child's time is not ours: %v", ownTime()-own)
	}
	parents := map[int]int{100: 50, 50: os.Getpid(), 70: kthreadd, 80: 1, 1: 0}
	for pid, want := range map[int]int{100: os.Getpid(), 70: kthreadd, 80: 0} {
		if got := lineage(pid, parents); got != want {
			t.Errorf("%d descends from %d, want %d", pid, got, want)
		}
	}
}
