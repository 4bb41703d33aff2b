package main

import (
	"slices"
	"sync"
	"time"
)

// times is what a run looked like, second by second.
type times struct {
	mu      sync.Mutex
	began   time.Time
	seconds []second
	events  []*event
	counts  map[string]int
}

// second is one of them.
type second struct {
	attempted, accepted, delivered, refused, overloaded, online int
	latencies                                                   []uint32 // of messages that arrived in it, in 0.1 ms
	memory                                                      map[string]int64
	lag                                                         float64
}

// event is one fault, from its beginning until all is well again.
type event struct {
	What, Target       string
	Begin, Heal, Whole float64   // seconds of the run
	Recovered          []float64 `json:"-"` // seconds from Begin until those it cut off were caught up
	Cut                int
	P50, P99           float64
	Note               string

	at time.Time
}

func newTimes() *times { return &times{counts: map[string]int{}, began: time.Now()} }

func (t *times) since() float64 { return time.Since(t.began).Seconds() }

// now is the current second; t.mu is held.
func (t *times) now() *second {
	i := int(time.Since(t.began).Seconds())
	for len(t.seconds) <= i {
		t.seconds = append(t.seconds, second{})
	}
	return &t.seconds[i]
}

func (t *times) arrived(after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.now()
	s.latencies = append(s.latencies, uint32(min(after/(100*time.Microsecond), 1<<31)))
}

// sample takes the counters of the run into the current second.
func (t *times) sample(f func(s *second)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t.now())
}

func (t *times) count(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what]++
}

// begin enters a fault.
func (t *times) begin(what, target string) *event {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &event{What: what, Target: target, Begin: t.since(), at: time.Now()}
	t.events = append(t.events, e)
	return e
}

// recovered enters that a client that lost its connection then is caught up
// again, for the fault under way.
func (t *times) recovered(lost time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 {
		return
	}
	if e := t.events[len(t.events)-1]; !lost.Before(e.at) {
		e.Recovered = append(e.Recovered, time.Since(e.at).Seconds())
	}
}

// quantile of sorted values; 0 where there are none.
func quantile[T any](sorted []T, q float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// finish computes what is reported of faults.
func (t *times) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.events {
		slices.Sort(e.Recovered)
		e.Cut, e.P50, e.P99 = len(e.Recovered), quantile(e.Recovered, 0.5), quantile(e.Recovered, 0.99)
	}
}

// Took is from the beginning to the healing, Lasted until all was well.
func (e *event) Took() float64   { return e.Heal - e.Begin }
func (e *event) Lasted() float64 { return e.Whole - e.Begin }
