package bench

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// backReport is how sessions came back that were all closed at once.
type backReport struct {
	Attempts  uint64    `json:"attempts"`
	Retried   uint64    `json:"retried"`
	AppErrors uint64    `json:"app_errors"`
	Unsettled int       `json:"unsettled"`
	Steps     []float64 `json:"steps"` // how many were, at the end of each step and in the end
}

// refusedLogins is after how many refused tokens in a row an SDK gives up.
const refusedLogins = 2

// comeback is a session on its way back.
type comeback struct {
	c        *conn
	failures int // attempts in a row that did not hold, which the back-off grows with
	logins   int // refused tokens in a row
	dialedNs int64
	atNs     int64 // of the next attempt
}

// waiting are sessions by when they try next.
type waiting []*comeback

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].atNs < w[j].atNs }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)        { *w = append(*w, x.(*comeback)) }
func (w *waiting) Pop() any {
	old := *w
	x := old[len(old)-1]
	*w = old[:len(old)-1]
	return x
}

// storm is everybody coming back at once.
type storm struct {
	run   *run
	rng   *rand.Rand
	by    map[*conn]*comeback
	due   waiting
	greet map[*conn][]byte
	rep   backReport
}

// reconnect closes all sessions abruptly and brings each back as an SDK does:
// behind a back-off with full jitter, from the place where its chain ended.
func (a *agent) reconnect(ctx context.Context, o *order, rep *report) error {
	r := a.run
	if len(r.conns) == 0 || r.bare || o.WithinMs <= 0 {
		return errors.New("bench: agent: there is no session to come back, or no time")
	}
	s := &storm{run: r, rng: rand.New(rand.NewPCG(7, o.Seed)), by: map[*conn]*comeback{}, greet: map[*conn][]byte{}}
	for _, c := range r.conns {
		token, err := a.token(c.user)
		if err != nil {
			return err
		}
		s.by[c], s.greet[c] = &comeback{c: c}, c.greeting(token, int64(c.mine))
	}
	r.clear()
	r.loop.lost = s.lost
	defer func() { r.loop.lost = nil }()
	began, cpu := r.loop.clock(), selfCPU()
	for _, c := range r.conns {
		c.beganNs = began
		r.loop.cut(c)
		c.anew(nil)
		s.later(s.by[c], 0)
	}
	r.done, r.live, r.marks = 0, 0, nil
	err := s.bringBack(ctx, began, time.Duration(o.WithinMs)*time.Millisecond)
	rep.Seconds, rep.CPUNs = float64(r.loop.clock()-began)/1e9, int64(selfCPU()-cpu)
	s.rep.Steps = append(s.rep.Steps, float64(r.live))
	s.rep.Unsettled = len(r.conns) - r.live
	rep.Back = &s.rep
	return err
}

// bringBack dials who is due until all are settled, have given up, or it is too late.
func (s *storm) bringBack(ctx context.Context, beganNs int64, within time.Duration) error {
	r, step := s.run, int64(stepOf(within))
	stepNs := beganNs + step
	for r.live+int(s.rep.AppErrors) < len(r.conns) && r.loop.clock() < beganNs+int64(within) {
		now := r.loop.nowNs
		for ; stepNs <= now; stepNs += step {
			s.rep.Steps = append(s.rep.Steps, float64(r.live))
		}
		for n := 0; len(s.due) > 0 && s.due[0].atNs <= now && n < burstsAtOnce; n++ {
			b := heap.Pop(&s.due).(*comeback)
			b.dialedNs = now
			b.c.anew(append([]byte(nil), s.greet[b.c]...))
			s.rep.Attempts++
			if err := r.dial(b.c); err != nil {
				return err
			}
			r.lag.RecordValue(max((r.loop.clock()-b.atNs)/1000, 1))
		}
		wait := now + int64(10*time.Millisecond)
		if len(s.due) > 0 {
			wait = min(wait, s.due[0].atNs)
		}
		if err := r.loop.poll(wait); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// ceiling is the most that an SDK waits after so many failures.
func ceiling(failures int) time.Duration {
	if failures >= 30 {
		return client.DefaultBackoffMax
	}
	return min(client.DefaultBackoffMin<<failures, client.DefaultBackoffMax)
}

// later makes a session try again, as an SDK would, not before least.
func (s *storm) later(b *comeback, least time.Duration) {
	wait := max(time.Duration(s.rng.Int64N(int64(ceiling(b.failures))+1)), least)
	b.failures++
	b.atNs = s.run.loop.nowNs + int64(wait)
	heap.Push(&s.due, b)
}

// lost is told of a connection that ended: what an SDK gives up for is an error
// that its app sees, everything else is tried again.
func (s *storm) lost(c *conn, err error) bool {
	b := s.by[c]
	if c.live { // it had settled, and is lost again
		s.run.live--
		s.run.done--
		c.live = false
	}
	var e *chat.Error
	var least time.Duration
	if errors.As(err, &e) {
		least = e.RetryAfter
		if e.Code.Action() == chat.ActionLogin {
			b.logins++
		} else {
			b.logins = 0
		}
		if e.Code.Action() == chat.ActionStop || b.logins == refusedLogins {
			s.rep.AppErrors++
			return true
		}
	}
	s.rep.Retried++
	if c.ready_ && s.run.loop.nowNs-b.dialedNs > int64(ceiling(b.failures)) {
		b.failures = 0
	}
	s.later(b, least)
	return true
}
