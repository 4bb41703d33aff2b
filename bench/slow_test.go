package bench

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Readers that stop are in several processes, get everything in the end, and
// both phases of the load are kept and judged.
func TestSlowReaders(t *testing.T) {
	at, d := startTestServer(t, nil)
	o, res := quick(t, 24), &Result{}
	o.Duration, o.LookEvery = time.Second, 100*time.Millisecond // which makes the load late
	f := fleetOn(t, o, res, d, 3)
	if err := slowPhases(t.Context(), o, res, at, f); err != nil {
		t.Fatal(err)
	}
	if res.FrozenWaiting == 0 || res.FrozenGot != res.FrozenWaiting {
		t.Errorf("%d for frozen readers, they got %d", res.FrozenWaiting, res.FrozenGot)
	}
	before, err1 := decodeHistogram(res.Histograms["delivery_before"])
	after, err2 := decodeHistogram(res.Histograms["delivery"])
	if err1 != nil || err2 != nil || before.TotalCount() != res.NeighboursBefore.Count || after.TotalCount() != res.Delivery.Count {
		t.Errorf("raw latencies of both phases: %v, %v", err1, err2)
	}
	fell := 0
	for _, why := range res.Invalid {
		if strings.Contains(why, "fell behind") {
			fell++
		}
	}
	if fell != 2 {
		t.Errorf("%d of two late phases are said: %v", fell, res.Invalid)
	}
	for _, l := range res.TimeLines {
		if len(l.Values) != 2 {
			t.Errorf("%s of two phases of a second: %v", l.Name, l.Values)
		}
	}
	if len(res.TimeLines) != 5 {
		t.Errorf("%d time lines", len(res.TimeLines))
	}
}

// Readers that stop are the load's first sessions, wherever they are, and send
// nothing.
func TestWhoStopsReading(t *testing.T) {
	const total = 24
	rng, stopped := rand.New(rand.NewPCG(1, 1)), 0
	for first := 0; first < total; first += 8 {
		r := &run{total: total, stopping: slowReaders}
		for i := range 8 {
			r.conns = append(r.conns, &conn{index: int32(first + i)})
		}
		stopped += len(r.slow())
		for _, c := range r.slow() {
			if c.index >= slowReaders {
				t.Errorf("%d stops", c.index)
			}
		}
		if !r.sends(&loadOrder{Rate: 1, Pattern: patternToSlow}) {
			continue
		}
		to := map[bool]int{}
		for range 1000 {
			from, whom := r.toSlow(rng)
			if from.index < slowReaders || whom >= total {
				t.Fatalf("%d sends to %d", from.index, whom)
			}
			to[whom < slowReaders]++
		}
		if to[true] < 400 || to[false] < 400 {
			t.Errorf("of 1000 messages %d go to readers that stop", to[true])
		}
	}
	if stopped != slowReaders {
		t.Errorf("%d stop", stopped)
	}
}
