package plan

import "math"

// crowd is the sessions that have lost their gateway, on their way back. They
// are a fluid: numbers that flow in steps of time between back-off, the accept
// limit, the handshake's processor time, and the workers that read the store,
// on gateways that are all alike. A fluid of fewer than some hundred sessions
// says little; a test holds it against sessions one by one.
type crowd struct {
	rules    rules
	gateways float64 // that take sessions

	waiting [][]float64 // by failures in a row, by step: who comes when (a ring)
	step    int
	tokens  float64 // of the accept limit, all gateways together
	hands   queue   // admitted, waiting for the handshake
	jobs    queue   // hellos and pages that wait for workers
	hellos  float64 // of jobs
	pages   float64 // of jobs

	away     float64 // sessions without a welcome
	lost     float64 // in all
	live     float64 // that have caught up, in all
	refused  float64 // attempts over the accept limit
	busy     float64 // hellos that found no room
	timedOut float64 // attempts that the client gave up
	cores    float64 // that handshakes took in the newest step, all gateways
	welcomed float64 // in the newest step
}

// rules of coming back, in seconds.
type rules struct {
	step                   float64
	backoffMin, backoffMax float64
	busy, dial             float64
	acceptPerSecond        float64 // of a gateway; 0: no limit
	cores, connect         float64 // of a gateway; of a connection
	readers, jobs          float64 // of a gateway
	hello, page            float64 // of a worker
}

const classes = 16 // of failures in a row; longer rows wait as long

func newCrowd(r rules, gateways float64) *crowd {
	ring := int(math.Ceil((max(r.backoffMax, r.busy)+60)/r.step)) + 2
	c := &crowd{rules: r, gateways: gateways, tokens: gateways * r.acceptPerSecond}
	for range classes {
		c.waiting = append(c.waiting, make([]float64, ring))
	}
	return c
}

// ceiling of the wait after so many failures in a row.
func (r rules) ceiling(failures int) float64 {
	return min(r.backoffMax, math.Ldexp(r.backoffMin, failures))
}

// lose takes n sessions away now. Each notices after at least delay, spread
// over spread more, and waits at least a random part of told.
func (c *crowd) lose(n, delay, spread, told float64) {
	c.away += n
	c.lost += n
	parts := max(1, int(math.Ceil(spread/c.rules.step)))
	for i := range parts {
		c.wait(0, n/float64(parts), delay+spread*float64(i)/float64(parts), told)
	}
}

// wait plans n sessions that have failed so often in a row: their wait is random
// up to the ceiling, or up to told if that is longer.
func (c *crowd) wait(failures int, n, delay, told float64) {
	if n <= 0 {
		return
	}
	ceiling := c.rules.ceiling(failures)
	longest := max(ceiling, told)
	steps := max(1, int(math.Ceil(longest/c.rules.step)))
	first := c.step + 1 + int(math.Round(delay/c.rules.step))
	class := c.waiting[min(failures+1, classes-1)]
	before := 0.0
	for i := 1; i <= steps; i++ {
		t := float64(i) * c.rules.step
		upTo := min(1, t/ceiling)
		if told > 0 {
			upTo *= min(1, t/told)
		}
		class[(first+i-1)%len(class)] += n * (upTo - before)
		before = upTo
	}
}

// resize sets how many gateways take sessions.
func (c *crowd) resize(gateways float64) {
	c.tokens *= gateways / c.gateways
	c.gateways = gateways
}

// back reports whether everybody is.
func (c *crowd) back() bool { return c.away < 0.5 && c.lost-c.live < 0.5 }

// tick moves one step on. free is the share of the gateways' cores that messages
// leave.
func (c *crowd) tick(free float64) {
	c.step++
	c.cores, c.welcomed = 0, 0
	if c.back() {
		return
	}
	c.admit()
	c.shake(free)
	c.work()
}

// admit lets in as many as the accept limit does.
func (c *crowd) admit() {
	r := &c.rules
	now := c.step % len(c.waiting[0])
	total := 0.0
	for _, class := range c.waiting {
		total += class[now]
	}
	admitted := 1.0
	if r.acceptPerSecond > 0 {
		c.tokens = min(c.gateways*r.acceptPerSecond, c.tokens+c.gateways*r.acceptPerSecond*r.step)
		if total > c.tokens {
			admitted = c.tokens / total
		}
		c.tokens -= total * admitted
	}
	for failures, class := range c.waiting {
		n := class[now]
		class[now] = 0
		if n == 0 {
			continue
		}
		c.hands.push(batch{c.step, failures, n * admitted, false})
		c.refused += n * (1 - admitted)
		c.wait(failures, n*(1-admitted), 0, 0)
	}
}

// shake works off handshakes, and queues the hellos behind them.
func (c *crowd) shake(free float64) {
	r := &c.rules
	c.giveUp(&c.hands)
	room := math.Inf(1)
	if r.connect > 0 {
		room = c.gateways * r.cores * free * r.step / r.connect
	}
	for room > 0 {
		b, ok := c.hands.take(room)
		if !ok {
			return
		}
		room -= b.n
		c.cores += b.n * r.connect / r.step
		fits := min(b.n, max(0, c.gateways*r.jobs-c.hellos-c.pages))
		c.jobs.push(batch{b.began, b.failures, fits, false})
		c.hellos += fits
		c.busy += b.n - fits
		c.wait(b.failures, b.n-fits, 0, r.busy)
	}
}

// work lets the workers read: a hello, and later a page.
func (c *crowd) work() {
	r := &c.rules
	c.hellos -= c.giveUp(&c.jobs)
	time := c.gateways * r.readers * r.step
	for time > 1e-12 {
		b, ok := c.jobs.peek()
		if !ok {
			return
		}
		each := r.hello
		if b.page {
			each = r.page
		}
		b, _ = c.jobs.take(time / each)
		time -= b.n * each
		if b.page {
			c.pages -= b.n
			c.live += b.n
			continue
		}
		c.hellos -= b.n
		c.away -= b.n
		c.welcomed += b.n
		c.pages += b.n
		c.jobs.push(batch{c.step, 0, b.n, true})
	}
}

// giveUp removes attempts that are older than the client waits.
func (c *crowd) giveUp(q *queue) (hellos float64) {
	oldest := c.step - int(c.rules.dial/c.rules.step)
	q.remove(func(b batch) bool {
		if b.page || b.began >= oldest {
			return false
		}
		hellos += b.n
		c.timedOut += b.n
		c.wait(b.failures, b.n, 0, 0)
		return true
	})
	return hellos
}

// batch is sessions that go together.
type batch struct {
	began    int // the step in which the attempt began
	failures int // in a row
	n        float64
	page     bool
}

// queue of batches, first come first served.
type queue struct{ batches []batch }

func (q *queue) push(b batch) {
	if b.n > 0 {
		q.batches = append(q.batches, b)
	}
}

func (q *queue) peek() (batch, bool) {
	if len(q.batches) == 0 {
		return batch{}, false
	}
	return q.batches[0], true
}

// take returns up to n sessions of the first batch.
func (q *queue) take(n float64) (batch, bool) {
	b, ok := q.peek()
	if !ok {
		return b, false
	}
	if b.n <= n {
		q.batches = q.batches[1:]
		return b, true
	}
	q.batches[0].n -= n
	b.n = n
	return b, true
}

func (q *queue) remove(gone func(batch) bool) {
	kept := q.batches[:0]
	for _, b := range q.batches {
		if !gone(b) {
			kept = append(kept, b)
		}
	}
	q.batches = kept
}
