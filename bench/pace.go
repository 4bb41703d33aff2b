package bench

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	markEvery     = 5 * time.Millisecond // how often receivers mark
	mostLookEvery = time.Second          // between two looks: no other goroutine of the load runs meanwhile
	burstsAtOnce  = 64                   // bursts sent before the sockets are looked at again
	leastShare    = 0.05                 // of the rate that a rise begins with
)

// pace sends one burst after another when it is due.
type pace struct {
	run      *run
	rate     float64 // bursts a second
	perWrite int
	size     int
	rng      *rand.Rand
	nextNs   int64
	fromNs   int64 // the rate rises from here on
	riseNs   int64 // for so long; 0: it is what it is
	pick     func(rng *rand.Rand) (from *conn, to int)
	every    int64 // ns between two looks at least
	marking  int64 // ns between two marks of a receiver
	markNs   int64
}

// until runs the load until a time of the loop. Bursts have Poisson arrivals.
func (p *pace) until(ctx context.Context, endNs int64) error {
	r := p.run
	for {
		now := r.loop.clock()
		for n := 0; p.nextNs <= now && p.nextNs < endNs && n < burstsAtOnce; n++ {
			from, to := p.pick(p.rng)
			r.burst(from, to, p.perWrite, p.size, p.nextNs)
			p.advance()
		}
		if now >= endNs {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if now-p.markNs > p.marking && !r.holdMarks {
			p.markNs = now
			r.markAll()
		}
		until := min(p.nextNs, endNs, now+p.marking)
		if p.every > 0 {
			r.loop.rest(now + p.every)
			until = 0
		}
		if err := r.loop.poll(until); err != nil {
			return err
		}
	}
}

// advance draws when the next burst is due.
func (p *pace) advance() {
	rate := p.rate
	if past := p.nextNs - p.fromNs; past < p.riseNs {
		rate *= max(float64(past)/float64(p.riseNs), leastShare)
	}
	p.nextNs += int64(p.rng.ExpFloat64() / rate * 1e9)
}

// anyTwo picks a random sender of this process and a random receiver of the
// whole load, on the same server where servers know nothing of each other.
func (r *run) anyTwo(rng *rand.Rand) (from *conn, to int) {
	from = r.conns[rng.IntN(len(r.conns))]
	return from, rng.IntN(r.total/r.apart)*r.apart + int(from.index)%r.apart
}

// circle picks a random sender of this process and one of its contacts: those
// next to it, as many on either side, so that who is written to writes back.
func (r *run) circle(contacts int) func(rng *rand.Rand) (from *conn, to int) {
	return func(rng *rand.Rand) (from *conn, to int) {
		from = r.conns[rng.IntN(len(r.conns))]
		step := rng.IntN(contacts) - contacts/2
		if step >= 0 {
			step++
		}
		return from, (int(from.index) + step + r.total) % r.total
	}
}

// toSlow picks one of the readers that stop for every other message, which send
// none themselves.
func (r *run) toSlow(rng *rand.Rand) (from *conn, to int) {
	others := r.conns[len(r.slow()):]
	from = others[rng.IntN(len(others))]
	if rng.IntN(2) == 0 {
		return from, rng.IntN(r.stopping)
	}
	return from, r.stopping + rng.IntN(r.total-r.stopping)
}

// firstToOne picks the load's first session and the user after it, who has many
// devices.
func (r *run) firstToOne(*rand.Rand) (from *conn, to int) { return r.conns[0], 1 }
