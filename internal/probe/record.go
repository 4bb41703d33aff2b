package probe

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Buckets are the upper bounds of the histograms in Stats.
var Buckets = []time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// Stats are a Probe's counters.
type Stats struct {
	InTime uint64
	Failed [Steps]uint64 // by the first step that was not reached in time
	Late   uint64        // messages that failed and were received later
	Last   time.Time     // the end of the last round that was in time
	Took   [Steps]Histogram
}

// Histogram is how often a step took how long.
type Histogram struct {
	Counts []uint64 // by Buckets, and one for what is over the last
	Sum    time.Duration
}

// Summary is what a run came to.
type Summary struct {
	Rounds, InTime, Late, Lost int // Late and Lost are of those that were not in time
	P50, P99, Max              [Steps]time.Duration
}

// OK reports whether every round was in time.
func (s *Summary) OK() bool { return s.InTime == s.Rounds }

// record is what is remembered of the rounds.
type record struct {
	mu    sync.Mutex
	stats Stats                          // guarded by mu
	took  [Steps]*hdrhistogram.Histogram // microseconds; guarded by mu
}

func (r *record) init() {
	for i := range r.took {
		r.took[i] = hdrhistogram.New(1, time.Hour.Microseconds(), 3)
		r.stats.Took[i].Counts = make([]uint64, len(Buckets)+1)
	}
}

// add counts a round.
func (r *record) add(round *Round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reached := Step(Steps)
	if round.Err != nil {
		reached = round.Failed
		r.stats.Failed[reached]++
	} else {
		r.stats.InTime++
		r.stats.Last = time.Now()
	}
	for i := range reached {
		d := round.Took[i]
		_ = r.took[i].RecordValue(min(d, time.Hour).Microseconds())
		h := &r.stats.Took[i]
		h.Sum += d
		bucket := 0
		for bucket < len(Buckets) && d > Buckets[bucket] {
			bucket++
		}
		h.Counts[bucket]++
	}
}

func (r *record) late() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Late++
}

// Stats returns a copy of the counters, at any time.
func (p *Probe) Stats() Stats {
	r := &p.record
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	for i := range s.Took {
		s.Took[i].Counts = append([]uint64(nil), s.Took[i].Counts...)
	}
	return s
}

func (r *record) summary(lost int) Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Summary{InTime: int(r.stats.InTime), Late: int(r.stats.Late), Lost: lost}
	s.Rounds = s.InTime
	for _, n := range r.stats.Failed {
		s.Rounds += int(n)
	}
	for i, h := range r.took {
		us := func(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
		s.P50[i], s.P99[i], s.Max[i] = us(h.ValueAtQuantile(50)), us(h.ValueAtQuantile(99)), us(h.Max())
	}
	return s
}
