package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/internal/presence"
)

// Bounds of the guard.
const (
	// maxCalls is how many calls may be under way. It is less than the driver's
	// ring holds: one that finds the ring full waits whatever its context says.
	maxCalls = 256
	// maxFailures in a row open the breaker.
	maxFailures = 3
)

// guard stands between callers and the driver: a call that is not answered in
// time is left alone, and after some failures none is made until a probe has
// been answered. So a dead server costs a caller next to nothing.
type guard struct {
	timeout  time.Duration
	stats    *Stats
	client   atomic.Pointer[rueidis.Client]
	slots    chan struct{}
	failures atomic.Int32
	open     atomic.Bool
	opened   chan struct{} // wakes the probe
	why      atomic.Pointer[error]
}

func newGuard(timeout time.Duration, stats *Stats) *guard {
	g := &guard{timeout: timeout, stats: stats, slots: make(chan struct{}, maxCalls), opened: make(chan struct{}, 1)}
	why := errors.New("not connected yet")
	g.why.Store(&why)
	g.open.Store(true)
	signal(g.opened)
	return g
}

func unavailable(why error) error {
	if errors.Is(why, presence.ErrUnavailable) {
		return why
	}
	return fmt.Errorf("%w: %w", presence.ErrUnavailable, why)
}

var (
	errTimeout = errors.New("no answer in time")
	errBusy    = errors.New("too many calls are under way")
)

// call runs f, which may take as long as the driver likes, and waits for it no
// longer than the guard's time limit.
func call[T any](ctx context.Context, g *guard, f func(c rueidis.Client) (T, error)) (T, error) {
	var none T
	g.stats.Calls.Add(1)
	if err := g.enter(); err != nil {
		g.stats.Rejected.Add(1)
		return none, err
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-g.slots }()
		v, err := f(*g.client.Load())
		done <- result{v, err}
	}()
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case r := <-done:
		if r.err != nil {
			return none, g.failed(r.err)
		}
		g.failures.Store(0)
		return r.value, nil
	case <-timer.C:
		g.stats.Timeouts.Add(1)
		return none, g.failed(errTimeout)
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (g *guard) enter() error {
	if g.open.Load() {
		return unavailable(*g.why.Load())
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
		return unavailable(errBusy)
	}
}

func (g *guard) failed(err error) error {
	g.stats.Errors.Add(1)
	if g.failures.Add(1) >= maxFailures {
		g.trip(err)
	}
	return unavailable(err)
}

// trip opens the breaker.
func (g *guard) trip(err error) {
	g.why.Store(&err)
	if g.open.CompareAndSwap(false, true) {
		g.stats.Opened.Add(1)
		signal(g.opened)
	}
}

// mend closes it.
func (g *guard) mend() {
	g.failures.Store(0)
	g.open.Store(false)
}

// health is nil while the breaker is closed.
func (g *guard) health() error {
	if g.open.Load() {
		return unavailable(*g.why.Load())
	}
	return nil
}

// drain waits until no call is under way and lets none begin.
func (g *guard) drain() {
	g.trip(errors.New("closed"))
	for range maxCalls {
		g.slots <- struct{}{}
	}
}

// signal wakes whoever waits for a channel of one place.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
