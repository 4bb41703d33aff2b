package bench

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestWhoTookTheMachineIsSaid(t *testing.T) {
	for _, c := range []struct {
		stolen, foreign float64
		want            int
	}{{0.2, 0.2, 0}, {0.21, 0, 1}, {0, 0.21, 1}, {1, 1, 2}} {
		if why := noisy(c.stolen, c.foreign, 4); len(why) != c.want {
			t.Errorf("%+v: %v", c, why)
		}
	}
	r := &Result{StolenCores: 0.3, Machine: Machine{CPUs: 4}}
	if listen().heard(r, true); len(r.Noisy) != 1 {
		t.Errorf("a result does not say it: %v", r.Noisy)
	}
	if len(r.Warnings) != 1 || r.ForeignCores != 0 {
		t.Errorf("what is foreign beside a cluster is not known: %v cores, warnings %v", r.ForeignCores, r.Warnings)
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
