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
		if f.PerSecond <= 0 || f.CPUUs <= 0 || f.OfReference <= 0 || f.Spread.Min > f.OfReference || f.Spread.Max < f.OfReference {
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
	landed := []StageFigures{{Name: "decode", OfReference: 0.5, Allocations: 0.02}, {Name: "store", OfReference: 4, Allocations: 2}}
	now := func(decode, store StageFigures) []StageFigures {
		decode.Name, store.Name = "decode", "store"
		return []StageFigures{decode, store}
	}
	as := now(landed[0], landed[1])
	slower, greedy := as[0], as[1]
	slower.OfReference *= guardSlack * 1.01
	greedy.Allocations += guardAllocations * 1.01
	for _, c := range []struct {
		now  []StageFigures
		want []string
	}{
		{as, nil},
		{now(slower, as[1]), []string{"decode: 1.01 of the reference's"}},
		{now(as[0], greedy), []string{"store: 2.10 allocations"}},
		{now(slower, greedy), []string{"decode", "store"}},
		{as[:1], []string{"store is not measured any more"}},
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
