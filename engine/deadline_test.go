package engine

import (
	"math/rand/v2"
	"testing"
	"time"
)

// wheelOf returns a wheel of n connections that nobody serves.
func wheelOf(n int, tickMs int64) (*wheel, []*Conn) {
	l := &Loop{}
	l.conns.loop = l
	l.wheel = wheel{tickMs: tickMs, conns: &l.conns}
	var conns []*Conn
	for range n {
		conns = append(conns, l.conns.take())
	}
	return &l.wheel, conns
}

// The wheel against a map of deadlines, with moves, clears, removals and
// stalls of the loop, over several rounds.
func TestWheelFiresWhatIsDue(t *testing.T) {
	const tickMs = 10
	r := rand.New(rand.NewPCG(1, 2))
	w, conns := wheelOf(200, tickMs)
	want := map[*Conn]int64{}
	now, fired := int64(0), 0
	for range 20_000 {
		for range r.IntN(4) {
			c := conns[r.IntN(len(conns))]
			switch r.IntN(10) {
			case 0:
				w.at(c, 0)
				delete(want, c)
			case 1:
				w.remove(c)
				c.deadline = 0
				delete(want, c)
			default:
				at := now + r.Int64N(3*wheelSlots*tickMs)
				w.at(c, max(at, 1))
				want[c] = max(at, 1)
			}
		}
		now += r.Int64N(3 * tickMs)
		if r.IntN(500) == 0 {
			now += r.Int64N(3 * wheelSlots * tickMs)
		}
		w.advance(now, func(c *Conn) {
			if at, ok := want[c]; !ok || at > now {
				t.Fatalf("at %d fired one of %d (%v)", now, at, ok)
			}
			delete(want, c)
			fired++
		})
		for _, at := range want {
			if at <= now-tickMs {
				t.Fatalf("at %d one of %d has not fired", now, at)
			}
		}
	}
	if fired < 1000 {
		t.Errorf("only %d fired", fired)
	}
}

// Moving a deadline on costs a store and nothing else: the entry stays.
func TestWheelMovesLazily(t *testing.T) {
	w, conns := wheelOf(1, 10)
	c := conns[0]
	w.at(c, 100)
	slot := c.wheelSlot
	for at := int64(100); at < 5000; at += 10 {
		w.at(c, at)
	}
	if c.wheelSlot != slot {
		t.Errorf("the entry moved from %d to %d", slot, c.wheelSlot)
	}
	w.at(c, 50)
	if c.wheelSlot != 5 {
		t.Errorf("an earlier deadline stands at tick %d", c.wheelSlot)
	}
}

// A handler sets the next deadline in Deadline and ends others meanwhile.
func TestWheelChangedWhileItFires(t *testing.T) {
	w, conns := wheelOf(3, 10)
	for _, c := range conns {
		w.at(c, 20)
	}
	fired := 0
	w.advance(25, func(c *Conn) {
		fired++
		w.at(c, 5) // is past: next tick
		for _, other := range conns {
			if other != c {
				w.remove(other)
			}
		}
	})
	if fired != 1 {
		t.Errorf("%d fired", fired)
	}
	w.advance(35, func(*Conn) { fired++ })
	if fired != 2 {
		t.Errorf("%d fired", fired)
	}
}

func TestDeadline(t *testing.T) {
	type call struct{ set, at int64 }
	opened, passed := make(chan link, 3), make(chan call, 10)
	var dueMs int64 // of the loop
	e := start(t, Options{}, hooks{
		open: into(opened),
		deadline: func(c *Conn) {
			passed <- call{dueMs, c.Loop().NowMs()}
			c.Close()
		},
		closed: func(_ *Conn, err error) {
			if err != nil && t.Context().Err() == nil {
				t.Errorf("Closed says %v", err)
			}
		},
	})
	moved, conn := openOne(t, e, opened)
	_, cleared := openOne(t, e, opened)
	onLoop(t, e.Loop(0), func(l *Loop) {
		conn.conn.SetDeadline(l.NowMs() + 1)
		dueMs = l.NowMs() + 60
		conn.conn.SetDeadline(dueMs)
		cleared.conn.SetDeadline(l.NowMs() + 1)
		cleared.conn.SetDeadline(0)
	})
	if c := take(t, passed); c.at < c.set {
		t.Errorf("a deadline at %d passed at %d", c.set, c.at)
	}
	_ = moved.Close()
	if len(passed) != 0 {
		t.Error("more than one deadline passed")
	}
}

// A deadline ends with its connection, whoever has the slot by then.
func TestDeadlineOfAClosedConnection(t *testing.T) {
	opened, passed, closed := make(chan link, 1), make(chan ID, 10), make(chan ID, 1)
	e := start(t, Options{}, hooks{
		open:     into(opened),
		deadline: func(c *Conn) { passed <- c.ID() },
		closed:   func(c *Conn, _ error) { closed <- c.ID() },
	})
	client, first := openOne(t, e, opened)
	release := hold(t, e.Loop(0)) // so that the deadline is set just before the end
	_ = client.Close()
	e.Loop(0).Post(func(l *Loop) { first.conn.SetDeadline(l.NowMs() + 200) })
	release()
	take(t, closed)
	_, second := openOne(t, e, opened)
	onLoop(t, e.Loop(0), func(l *Loop) { second.conn.SetDeadline(l.NowMs() + 300) })
	if id := take(t, passed); id != second.id || second.conn != first.conn {
		t.Errorf("%x passed, not %x", id, second.id)
	}
}

// The coarse clock is that of the turn, and near the real one.
func TestNowMs(t *testing.T) {
	e := start(t, Options{}, hooks{})
	before := time.Now().UnixMilli()
	var now int64
	onLoop(t, e.Loop(0), func(l *Loop) { now = l.NowMs() })
	if after := time.Now().UnixMilli(); now < before || now > after {
		t.Errorf("%d is not within %d and %d", now, before, after)
	}
}
