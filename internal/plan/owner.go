package plan

import "math/rand/v2"

// owner is the single writer of a partition. It works in cycles: it takes what
// has gathered, stores it with one write, and hands it on when that is done.
type owner struct {
	events  *events
	rng     *rand.Rand
	service service                 // processor time of a message
	write   func(t float64) float64 // how long the rows of a cycle take that begins at t
	most    int                     // messages of a cycle

	stream   arrivals
	gathered int        // messages that wait for the next cycle
	taken    int        // messages taken before them
	followed []followed // among those that wait, in order
	busy     bool       // a cycle is under way
	plan     int        // of the newest planned cycle; an older one does not begin

	stoppedUntil float64 // nobody owns the partition until then
	heldUntil    float64 // nothing can be appended until then
	held         int     // messages that wait for that
}

// followed is a message whose stay is measured. It stands at a place of the
// partition's log, and is handed on with the cycle that takes that place.
type followed struct {
	place int
	done  func()
}

func newOwner(e *events, rng *rand.Rand, s service, most int, rate float64, write func(t float64) float64) *owner {
	o := &owner{events: e, rng: rng, service: s, most: most, write: write}
	o.change(e.now, rate)
	return o
}

// change sets the stream's rate from now on.
func (o *owner) change(t, rate float64) {
	o.gather(t)
	o.stream.set(t, rate, o.rng)
	o.wake(t)
}

// stop leaves the partition without an owner until a time; what arrives gathers.
func (o *owner) stop(until float64) { o.stoppedUntil = max(o.stoppedUntil, until) }

// hold keeps the stream out of the log until a time, when it comes at once.
func (o *owner) hold(t, until float64) {
	o.gather(t)
	o.heldUntil = max(o.heldUntil, until)
	o.events.at(until, func() { o.wake(o.events.now) })
}

// gather counts what has arrived up to t.
func (o *owner) gather(t float64) {
	for o.stream.next <= t {
		if o.stream.next < o.heldUntil {
			o.held++
		} else {
			o.gathered++
		}
		o.stream.step(o.rng)
	}
	if t >= o.heldUntil {
		o.gathered, o.held = o.gathered+o.held, 0
	}
}

// join adds a message that is followed; done is called when it is handed on.
func (o *owner) join(t float64, done func()) {
	o.gather(t)
	o.gathered++
	o.followed = append(o.followed, followed{o.taken + o.gathered, done})
	o.wake(t)
}

// joinHeld adds one that cannot be appended before hold's end, in its order.
func (o *owner) joinHeld(t float64, done func()) {
	o.gather(t)
	o.held++
	o.followed = append(o.followed, followed{o.taken + o.gathered + o.held, done})
}

// wake plans a cycle when none is under way: now, or when the next message
// arrives.
func (o *owner) wake(t float64) {
	if o.busy {
		return
	}
	o.gather(t)
	begin := t
	if o.gathered == 0 {
		if o.stream.rate == 0 {
			return
		}
		begin = max(o.stream.next, o.heldUntil)
	}
	o.plan++
	mine := o.plan
	o.events.at(max(begin, o.stoppedUntil), func() {
		switch {
		case o.busy || mine != o.plan:
		case o.events.now < o.stoppedUntil:
			o.wake(o.events.now)
		default:
			o.cycle(o.events.now)
		}
	})
}

// cycle takes what has gathered, and hands it on when it is stored.
func (o *owner) cycle(t float64) {
	o.gather(t)
	n := min(o.gathered, o.most)
	o.gathered -= n
	o.taken += n
	took := o.write(t)
	for range n {
		took += o.service.draw(o.rng)
	}
	o.busy = true
	taken := o.taken
	o.events.at(t+took, func() {
		for len(o.followed) > 0 && o.followed[0].place <= taken {
			o.followed[0].done()
			o.followed = o.followed[1:]
		}
		o.busy = false
		o.wake(o.events.now)
	})
}
