package push

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// lane is notices in the order in which they are due, and a pool that works on
// them. heap and size are guarded by Queue.mu.
type lane struct {
	q      *Queue
	heap   dueHeap
	size   int // notices, those at work too
	wakeUp chan struct{}
	work   chan *notice
	do     func(context.Context, *notice, snapshot) verdict
}

// snapshot is what a notice said when the work on it began; it may rise
// meanwhile.
type snapshot struct {
	pos   chat.Position
	count int
	since time.Time
}

// verdict is what becomes of a notice: it was dealt with (the zero verdict), it
// is dropped, it waits, or it failed and is tried again.
type verdict struct {
	drop    Reason
	dropped bool
	wait    time.Duration // look again after
	err     error         // try again
}

func dropped(r Reason) verdict { return verdict{drop: r, dropped: true} }

func (q *Queue) startLane(workers int, do func(context.Context, *notice, snapshot) verdict) *lane {
	l := &lane{q: q, wakeUp: make(chan struct{}, 1), work: make(chan *notice), do: do}
	q.running.Go(l.dispatch)
	for range workers {
		q.running.Go(l.worker)
	}
	return l
}

// push enters a notice. q.mu is held.
func (l *lane) push(n *notice) {
	heap.Push(&l.heap, n)
	if l.heap[0] == n {
		l.signal()
	}
}

func (l *lane) signal() {
	select {
	case l.wakeUp <- struct{}{}:
	default:
	}
}

// dispatch hands each notice to a worker when it is due.
func (l *lane) dispatch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		n, wait := l.next()
		if n != nil {
			select {
			case l.work <- n:
				continue
			case <-l.q.ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.wakeUp:
		case <-l.q.ctx.Done():
			return
		}
	}
}

// next takes out a notice that is due, or says how long that will be. When the
// queue is stopping all are.
func (l *lane) next() (*notice, time.Duration) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	if len(l.heap) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(l.heap[0].due); wait > 0 && !l.q.stopping {
		return nil, wait
	}
	return heap.Pop(&l.heap).(*notice), 0
}

func (l *lane) worker() {
	for {
		select {
		case n := <-l.work:
			l.once(n)
		case <-l.q.ctx.Done():
			return
		}
	}
}

func (l *lane) once(n *notice) {
	q := l.q
	ctx, cancel := context.WithTimeout(q.ctx, q.o.Timeout)
	defer cancel()
	q.mu.Lock()
	at := snapshot{n.pos, n.count, n.since}
	q.mu.Unlock()
	v := l.do(ctx, n, at)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(n, at, v)
}

// settle does what was found right for a notice. q.mu is held.
func (q *Queue) settle(n *notice, at snapshot, v verdict) {
	now := time.Now()
	switch {
	case v.err != nil:
		q.again(n, now, v.err)
		return
	case v.wait > 0:
		q.later(n, now.Add(v.wait))
		return
	case v.dropped:
		q.drop(v.drop)
	}
	if n.pos <= at.pos {
		q.remove(n.key)
		return
	}
	// It rose meanwhile, and what was found holds for the position before.
	*n = notice{key: n.key, lane: n.lane, pos: n.pos, count: max(1, n.count-at.count), since: now, due: now}
	n.lane.push(n)
}

// again has a notice tried again, with back-off, and not before the provider
// wants it.
func (q *Queue) again(n *notice, now time.Time, err error) {
	q.faults.log(err)
	if n.tries++; n.tries >= q.o.Tries {
		q.end(n.key, GaveUp)
		return
	}
	wait := backoff(q.o.RetryMin, q.o.RetryMax, n.tries)
	if after := retryAfter(err); after > wait {
		wait = after + rand.N(wait)
	}
	if q.later(n, now.Add(wait)) {
		q.Stats.Retries.Add(1)
	}
}

// later has a notice wait, unless it would be too old by then.
func (q *Queue) later(n *notice, due time.Time) bool {
	switch {
	case q.stopping:
		q.end(n.key, Stopped)
	case due.Sub(n.since) > q.o.MaxAge:
		q.end(n.key, GaveUp)
	default:
		n.due = due
		n.lane.push(n)
		return true
	}
	return false
}

// backoff doubles with each try, half of it by chance.
func backoff(least, most time.Duration, tries int) time.Duration {
	d := least
	for i := 1; i < tries && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d/2 + rand.N(d/2+1)
}

// dueHeap is a heap.Interface.
type dueHeap []*notice

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].pos < h[j].pos
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(*notice)) }

func (h *dueHeap) Pop() any {
	old := *h
	n := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return n
}
