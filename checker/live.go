package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// client keeps a device connected as the protocol asks for: with back-off, with
// pings when it hears nothing, and away for a while now and then.
type client struct {
	*device
	s     *storm
	token string
	away  atomic.Bool
	back  atomic.Int64  // unix nanoseconds: since when it is not away
	stir  chan struct{} // it may be away, or not any more
	cut   atomic.Int64  // unix nanoseconds: when it lost its connection, not being away; 0 when it has caught up again
	retry time.Duration // that the last bye asked for; guarded by mu
}

func (s *storm) newClient(d *device) *client {
	c := &client{device: d, s: s, token: s.signer.token(d.user), stir: make(chan struct{}, 1)}
	d.http, d.markEvery = s.http, s.o.markEvery
	d.arrived, d.caughtUp, d.parting = c.onArrived, c.onCaughtUp, c.onBye
	return c
}

// onArrived measures a message, unless this device's own absence delayed it.
func (c *client) onArrived(m *message) {
	if m.born.UnixNano() > c.back.Load() {
		c.s.times.arrived(time.Since(m.born))
	}
}

// onCaughtUp measures how long somebody who had been cut off was not served.
func (c *client) onCaughtUp() {
	if at := c.cut.Swap(0); at != 0 {
		c.s.times.recovered(time.Unix(0, at))
	}
}

// Byes that a client has to live with: the server goes away, is busy, is too
// quiet, cannot read its store, or does not know what became of a batch.
var bearable = map[uint64]string{105: "unavailable", 203: "draining", 204: "idle", 208: "internal", 209: "busy", 212: "unknown_outcome"}

func (c *client) onBye(code, retry uint64) bool {
	c.retry = time.Duration(retry) * time.Millisecond
	c.s.times.count("bye " + bearable[code])
	return bearable[code] != ""
}

// live connects again and again until ctx ends.
func (c *client) live(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		for c.away.Load() && ctx.Err() == nil {
			attempt = 0
			wait(ctx, c.stir, time.Hour)
		}
		began := time.Now()
		err := c.session(ctx, min(time.Minute, welcomeWithin<<min(attempt, 3)))
		if ctx.Err() != nil {
			return
		}
		c.refusedForGood(err)
		if c.away.Load() {
			c.cut.Store(0)
			continue
		}
		c.cut.CompareAndSwap(0, time.Now().UnixNano())
		if time.Since(began) > time.Minute {
			attempt = 0
		}
		c.mu.Lock()
		pause := max(c.retry, time.Duration(rand.Int64N(int64(min(30*time.Second, 500*time.Millisecond<<min(attempt, 6))))))
		c.retry = 0
		c.mu.Unlock()
		wait(ctx, c.stir, pause)
	}
}

// welcomeWithin is how long a first try may take to get a welcome. Later ones
// may take longer: when all come back at once, who gives up too early has had a
// handshake for nothing, and asks for another.
const welcomeWithin = 10 * time.Second

// session is one connection, from its handshake on.
func (c *client) session(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.online || !c.welcomed {
			c.s.times.count("no welcome in time")
			cancel()
		}
	})
	defer late.Stop()
	ctx, conn, err := c.greet(ctx, c.s.cl.url, c.token)
	if err == nil {
		c.reader(ctx, conn)
	}
	return err
}

// kindOf is an error of a dial without what differs each time: the address,
// which has the user's name, and the ports of a connection.
func kindOf(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	text := err.Error()
	return strings.TrimLeft(text[strings.LastIndex(text, "\": ")+1:], ": ")
}

// refusedForGood finds handshakes that were refused as if the client were wrong.
func (c *client) refusedForGood(err error) {
	if err == nil {
		return
	}
	c.s.times.count("dial: " + kindOf(err))
	for _, status := range []int{400, 401, 403, 404, 405, 431, 505} {
		if strings.Contains(err.Error(), fmt.Sprintf("got %d", status)) {
			c.ledger.fault("%s: handshake refused: %v", c.who(), err)
		}
	}
}

// leave takes the device away; with crash it forgets what it has not persisted.
func (c *client) leave(crash bool) {
	c.away.Store(true)
	c.hangUp()
	if crash {
		c.mu.Lock()
		ended := c.ended
		c.mu.Unlock()
		if ended != nil {
			<-ended
		}
		c.crash()
	}
}

// comeBack ends an absence.
func (c *client) comeBack() {
	if !c.away.Load() {
		return
	}
	c.back.Store(time.Now().UnixNano())
	c.away.Store(false)
	select {
	case c.stir <- struct{}{}:
	default:
	}
}

// hangUp ends the connection without a word, if there is one.
func (c *client) hangUp() {
	c.mu.Lock()
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// The protocol's advice: a ping when nothing came, dead 10 s later.
const (
	quiet = 10 * time.Second
	dead  = 20 * time.Second
)

// look pings who is quiet and hangs up on who is dead.
func (c *client) look(now time.Time) (online bool, refusals int) {
	c.mu.Lock()
	online, refusals = c.welcomed && c.online, c.refusals
	since := now.Sub(c.heard)
	ask := c.online && since > quiet && since <= dead
	gone := c.online && since > dead
	c.ping = c.ping || ask
	c.mu.Unlock()
	if ask {
		c.wake(0)
	}
	if gone {
		c.s.times.count("connections given up")
		c.hangUp()
	}
	return online, refusals
}

// send composes a message now, whatever state the connection is in.
func (c *client) send() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun || c.away.Load() {
		return false
	}
	c.outbox = append(c.outbox, c.compose())
	c.wake(0)
	return true
}

func wait(ctx context.Context, stir <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-stir:
	case <-t.C:
	}
}
