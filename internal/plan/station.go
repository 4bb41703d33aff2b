package plan

import (
	"math"
	"math/rand/v2"
)

// service draws service times of a mean and a coefficient of variation from 0
// to 1: a fixed part and an exponential one.
type service struct{ mean, cv float64 }

func (s service) draw(rng *rand.Rand) float64 {
	return s.mean * (1 - s.cv + s.cv*rng.ExpFloat64())
}

// arrivals is a Poisson stream. A change of its rate forgets nothing, as the
// stream has no memory.
type arrivals struct {
	rate, next float64
}

func (a *arrivals) set(t, rate float64, rng *rand.Rand) {
	a.rate, a.next = rate, math.Inf(1)
	if rate > 0 {
		a.next = t + rng.ExpFloat64()/rate
	}
}

func (a *arrivals) step(rng *rand.Rand) { a.next += rng.ExpFloat64() / a.rate }

// station is one server and its queue, first come first served. What comes
// besides the messages that are followed is a Poisson stream, played up to the
// moment that somebody looks: exact, without an event for each.
type station struct {
	rng     *rand.Rand
	service service
	stream  arrivals
	speed   float64 // of 1: what others leave of the server
	work    float64 // seconds of service that wait
	served  float64 // seconds of service since the beginning
	at      float64 // the moment that work is of
}

func newStation(rng *rand.Rand, s service, rate float64) *station {
	st := &station{rng: rng, service: s, speed: 1}
	st.stream.set(0, rate, rng)
	return st
}

// change sets the stream's rate and the server's speed from t on.
func (s *station) change(t, rate, speed float64) {
	s.advance(t)
	s.speed = speed
	s.stream.set(t, rate, s.rng)
}

func (s *station) advance(t float64) {
	for s.stream.next <= t {
		s.drain(s.stream.next)
		s.work += s.service.draw(s.rng)
		s.stream.step(s.rng)
	}
	s.drain(t)
}

func (s *station) drain(t float64) {
	if t > s.at {
		done := min(s.work, (t-s.at)*s.speed)
		s.work, s.served = s.work-done, s.served+done
		s.at = t
	}
}

// pass takes a message in at t and returns how long it stays. Calls come in
// order of time.
func (s *station) pass(t float64) float64 {
	s.advance(t)
	s.work += s.service.draw(s.rng)
	return s.work / s.speed
}

// pool is several servers with one queue, first come first served.
type pool struct {
	rng     *rand.Rand
	service service
	stream  arrivals
	free    []float64 // when each server is done with what it has
}

func newPool(rng *rand.Rand, servers int, s service, rate float64) *pool {
	p := &pool{rng: rng, service: s, free: make([]float64, servers)}
	p.stream.set(0, rate, rng)
	return p
}

// change sets the stream's rate from t on.
func (p *pool) change(t, rate float64) {
	p.advance(t)
	p.stream.set(t, rate, p.rng)
}

func (p *pool) advance(t float64) {
	for p.stream.next <= t {
		p.take(p.stream.next)
		p.stream.step(p.rng)
	}
}

// take gives a request to the server that is free first, and returns how long
// it waits and how long it is served.
func (p *pool) take(t float64) (wait, served float64) {
	first := 0
	for i, f := range p.free {
		if f < p.free[first] {
			first = i
		}
	}
	wait, served = max(0, p.free[first]-t), p.service.draw(p.rng)
	p.free[first] = t + wait + served
	return wait, served
}

// pass takes a request in at t and returns how long it stays.
func (p *pool) pass(t float64) float64 {
	p.advance(t)
	wait, served := p.take(t)
	return wait + served
}

// backlog is how long the next request would wait.
func (p *pool) backlog(t float64) float64 {
	least := math.Inf(1)
	for _, f := range p.free {
		least = min(least, f)
	}
	return max(0, least-t)
}
