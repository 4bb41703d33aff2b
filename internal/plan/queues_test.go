package plan

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// within fails unless a simulated figure is close to its formula.
func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*math.Abs(want) {
		t.Errorf("%s is %.6g, the formula says %.6g", what, got, want)
	}
}

// gap is between two looks at a queue; each look is a message, so the stream has
// as many fewer.
const gap = 0.1

// looks asks a queue at random moments how long a message stays.
func looks(rng *rand.Rand, n int, gap float64, pass func(t float64) float64) (mean, p99 float64) {
	var all []float64
	now, sum := 0.0, 0.0
	for range n {
		now += rng.ExpFloat64() * gap
		v := pass(now)
		all = append(all, v)
		sum += v
	}
	slices.Sort(all)
	return sum / float64(n), quantile(all, 0.99)
}

// TestStationIsMM1 holds a station with exponential service against M/M/1: the
// stay is exponential with mean 1/(μ−λ).
func TestStationIsMM1(t *testing.T) {
	for _, load := range []float64{0.3, 0.7, 0.9} {
		const mean = 0.001
		s := newStation(rand.New(rand.NewPCG(1, 2)), service{mean, 1}, load/mean-1/gap)
		got, p99 := looks(rand.New(rand.NewPCG(3, 4)), 40_000, gap, s.pass)
		within(t, "M/M/1: mean stay", got, mean/(1-load), 0.04)
		within(t, "M/M/1: p99", p99, math.Log(100)*mean/(1-load), 0.06)
	}
}

// TestStationIsMD1 holds one with fixed service against Pollaczek and Khinchine:
// mean wait ρ·s/(2(1−ρ)).
func TestStationIsMD1(t *testing.T) {
	for _, load := range []float64{0.3, 0.7, 0.9} {
		const mean = 0.001
		s := newStation(rand.New(rand.NewPCG(1, 2)), service{mean, 0}, load/mean-1/gap)
		got, _ := looks(rand.New(rand.NewPCG(3, 4)), 40_000, gap, s.pass)
		within(t, "M/D/1: mean stay", got, mean+load*mean/(2*(1-load)), 0.04)
	}
}

// TestSpeed: a station with half of its core is one with half the speed.
func TestSpeed(t *testing.T) {
	const mean = 0.001
	s := newStation(rand.New(rand.NewPCG(1, 2)), service{mean, 1}, 0)
	s.change(0, 0.35/mean-1/gap, 0.5)
	got, _ := looks(rand.New(rand.NewPCG(3, 4)), 40_000, gap, s.pass)
	within(t, "mean stay at half speed", got, 2*mean/(1-0.7), 0.04)
}

// TestPoolIsErlangC holds several servers against Erlang's formula: the mean
// wait is C·s/(c·(1−ρ)), and C is the share that waits.
func TestPoolIsErlangC(t *testing.T) {
	for _, servers := range []int{2, 16} {
		const mean, load = 0.001, 0.8
		p := newPool(rand.New(rand.NewPCG(1, 2)), servers, service{mean, 1}, load*float64(servers)/mean)
		got, p99 := looks(rand.New(rand.NewPCG(3, 4)), 40_000, 0.01, func(at float64) float64 {
			p.advance(at)
			return p.backlog(at)
		})
		c := erlangC(servers, load)
		within(t, "Erlang C: mean wait", got, c*mean/(float64(servers)*(1-load)), 0.06)
		within(t, "Erlang C: p99 of the wait", p99, waitQuantile(0.99, servers, load, mean), 0.06)
	}
}

// TestErlangC holds the formula against values of its tables.
func TestErlangC(t *testing.T) {
	for _, c := range []struct {
		servers int
		load    float64
		want    float64
	}{{1, 0.5, 0.5}, {2, 0.5, 1.0 / 3}, {2, 0.8, 0.711111}, {10, 0.8, 0.409180}, {5, 1, 1}, {3, 0, 0}} {
		if got := erlangC(c.servers, c.load); math.Abs(got-c.want) > 1e-5 {
			t.Errorf("Erlang C of %d servers at %v is %v, not %v", c.servers, c.load, got, c.want)
		}
	}
	if waitQuantile(0.5, 1, 0.4, 1) != 0 {
		t.Error("the median of M/M/1 at 0.4 waits")
	}
}

// TestOwnerCycles holds an owner against the length of its cycles: a write and
// what gathers during a cycle, D + λ·T·s = T, so T = D/(1−λ·s). Under a steady
// stream a message stays half a cycle until it is taken, and its whole cycle.
func TestOwnerCycles(t *testing.T) {
	const write, mean, rate = 0.003, 0.0002, 3000.0
	var e events
	cycles := 0
	o := newOwner(&e, rand.New(rand.NewPCG(1, 2)), service{mean, 0}, ownersBatch, rate, func(float64) float64 { cycles++; return write })
	rng := rand.New(rand.NewPCG(3, 4))
	sum, n := 0.0, 0
	var look func()
	look = func() {
		from := e.now
		o.join(from, func() { sum += e.now - from; n++ })
		e.at(from+rng.ExpFloat64()*0.1, look)
	}
	e.at(0.1, look)
	const seconds = 2000
	e.until(seconds)
	cycle := write / (1 - rate*mean)
	within(t, "a cycle", seconds/float64(cycles), cycle, 0.01)
	within(t, "the mean stay of a message", sum/float64(n), 1.5*cycle, 0.05)
}

// TestOwnerStops: what comes while nobody owns the partition, or nothing can be
// appended, is handed on after it, and the backlog at the rate of the owner.
func TestOwnerStops(t *testing.T) {
	for name, stop := range map[string]func(o *owner, t float64){
		"no owner":   func(o *owner, _ float64) { o.stop(20) },
		"no appends": func(o *owner, t float64) { o.hold(t, 20) },
	} {
		const write, mean, rate = 0.003, 0.0002, 2500.0
		var e events
		o := newOwner(&e, rand.New(rand.NewPCG(1, 2)), service{mean, 0}, ownersBatch, rate, func(float64) float64 { return write })
		e.until(10)
		stop(o, 10)
		var last float64
		e.at(20.0001, func() { o.join(e.now, func() { last = e.now }) })
		e.until(60)
		// 25,000 messages stand before it: seven cycles of the most that one takes.
		within(t, name+": what came at 20 s is handed on at", last, 20+7*(write+ownersBatch*mean), 0.005)
		if o.gathered > 200 {
			t.Errorf("%s: %d messages wait at 60 s", name, o.gathered)
		}
	}
}

// TestEventsInOrder: by time, and those of one time as they were planned.
func TestEventsInOrder(t *testing.T) {
	var e events
	var got []int
	for i, at := range []float64{3, 1, 2, 1, 1} {
		e.at(at, func() { got = append(got, i) })
	}
	e.at(1, func() { e.at(0, func() { got = append(got, 9) }) })
	e.until(2)
	if !slices.Equal(got, []int{1, 3, 4, 9, 2}) || e.now != 2 {
		t.Errorf("at %v they came as %v", e.now, got)
	}
}
