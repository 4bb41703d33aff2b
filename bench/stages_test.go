package bench

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStages(t *testing.T) {
	r, err := Run(t.Context(), Options{Profile: "stages", Duration: 10 * time.Millisecond, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.Stages {
		names = append(names, f.Name)
		if f.PerSecond <= 0 || f.LeastUs <= 0 || f.CPUUs < f.LeastUs || f.OfReference <= 0 || f.Spread.Min > f.OfReference || f.Spread.Max < f.OfReference {
			t.Errorf("%+v", f)
		}
	}
	if want := []string{StageReference, "decode", "append", "durable", "store", "deliver"}; !slices.Equal(names, want) {
		t.Errorf("stages are %v, not %v", names, want)
	}
}

// What a stage says that it did, it did: each message is read, durable or
// stored once.
func TestStagesDoWhatTheyCount(t *testing.T) {
	o := &Options{Size: 100, PerWrite: 7, Dir: t.TempDir()}
	if n, err := decodeStage(o)(); n != 7 || err != nil {
		t.Errorf("decoded %d, %v", n, err)
	}
	if n, err := deliverStage(o)(); n != 7 || err != nil {
		t.Errorf("delivered %d, %v", n, err)
	}
	all, err := makeStages(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		n := 0
		for range 1 << 20 { // what is on its way to a disk counts later
			m, err := s.step()
			if err != nil {
				t.Fatal(s.name, err)
			}
			if n += m; n > 0 {
				break
			}
		}
		if n == 0 {
			t.Errorf("%s did nothing", s.name)
		}
		if err := s.end(); err != nil {
			t.Error(s.name, err)
		}
	}
}

func TestGuard(t *testing.T) {
	figures := func(reference, decode, store StageFigures) []StageFigures {
		reference.Name, decode.Name, store.Name = StageReference, "decode", "store"
		return []StageFigures{reference, decode, store}
	}
	reference, decode, store := StageFigures{LeastUs: 2}, StageFigures{LeastUs: 1, Allocations: 0.02}, StageFigures{LeastUs: 8, Allocations: 2}
	landed := figures(reference, decode, store)
	slower, greedy := decode, store
	slower.LeastUs *= guardSlack * 1.01
	greedy.Allocations += guardAllocations * 1.01
	slowMachine := figures(StageFigures{LeastUs: 20}, StageFigures{LeastUs: 10}, StageFigures{LeastUs: 80})
	for _, c := range []struct {
		now  []StageFigures
		want []string
	}{
		{landed, nil},
		{slowMachine, nil},
		{figures(reference, slower, store), []string{"decode: 0.81 of the reference's"}},
		{figures(reference, decode, greedy), []string{"store: 2.10 allocations"}},
		{figures(reference, slower, greedy), []string{"decode", "store"}},
		{landed[:2], []string{"store is not measured any more"}},
		{landed[1:], []string{StageReference + " is not measured any more", "decode: NaN", "store: NaN"}},
	} {
		worse := Guard(landed, c.now)
		if len(worse) != len(c.want) {
			t.Errorf("%+v: %q", c.now, worse)
			continue
		}
		for i, w := range worse {
			if !strings.HasPrefix(w, c.want[i]) {
				t.Errorf("%q, not %q", w, c.want[i])
			}
		}
	}
}

// The guard sees what no stage has: the loop, and all of a server.
func TestGuardMeasuresLoopAndPath(t *testing.T) {
	r, err := MeasureGuard(t.Context(), Options{Duration: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	path := stageNamed(r.Stages, guardPath)
	if path == nil || path.LeastUs <= 0 || path.OfReference <= 0 || path.Allocations <= 0 {
		t.Fatalf("%+v", path)
	}
	for _, depth := range echoDepths {
		if loop := stageNamed(r.Stages, guardLoop(depth)); loop == nil || loop.LeastUs <= 0 || loop.OfReference <= 0 {
			t.Errorf("%d in flight: %+v", depth, loop)
		}
	}
}

func TestLandable(t *testing.T) {
	if err := Landable(&Result{}); err != nil {
		t.Error(err)
	}
	for _, r := range []Result{{Machine: Machine{Dirty: true}}, {Noisy: []string{"others took 0.4 of a core"}}} {
		if err := Landable(&r); err == nil {
			t.Errorf("%+v may land", r)
		}
	}
}
