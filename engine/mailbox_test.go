package engine

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// hold keeps the loop busy until the returned function is called.
func hold(t testing.TB, l *Loop) (release func()) {
	t.Helper()
	held, free := make(chan struct{}), make(chan struct{})
	l.Post(func(*Loop) { close(held); <-free })
	take(t, held)
	return func() { close(free) }
}

// What is posted while the loop is busy runs in one turn, in order, and what
// it writes to a connection goes out in one system call.
func TestPostsOfATurnAreJoined(t *testing.T) {
	const posts = 1000
	opened := make(chan link, 1)
	var turnsSeen atomic.Int64
	e := start(t, Options{TickMs: 1000}, hooks{open: into(opened), turn: func(*Loop) { turnsSeen.Add(1) }})
	client, conn := openOne(t, e, opened)
	l, id := e.Loop(0), conn.id

	release := hold(t, l)
	before := e.Stats()
	turns := map[uint64]bool{}
	for i := range posts {
		l.Post(func(l *Loop) {
			turns[l.stats.turns.Load()] = true
			out := l.Conn(id).Pending()
			*out = append(*out, byte(i), byte(i>>8))
		})
	}
	done := make(chan int64, 1)
	l.Post(func(*Loop) { done <- turnsSeen.Load() })
	release()
	for i, got := 0, receive(t, client, 2*posts); i < posts; i++ {
		if n := int(got[2*i]) | int(got[2*i+1])<<8; n != i {
			t.Fatalf("post %d ran in place of %d", n, i)
		}
	}
	take(t, done)
	onLoop(t, l, func(*Loop) {
		after := e.Stats()
		if ran := after.Posts - before.Posts; ran != posts+2 { // hold's and the one for done
			t.Errorf("%d posts counted", ran)
		}
		if len(turns) != 1 || after.Writes-before.Writes != 1 || after.BytesOut-before.BytesOut != 2*posts {
			t.Errorf("%d turns, %d writes of %d bytes", len(turns), after.Writes-before.Writes, after.BytesOut-before.BytesOut)
		}
	})
}

// All that Data and Turn write in a turn goes out in one system call.
func TestWritesOfATurnAreJoined(t *testing.T) {
	var conn *Conn
	e := start(t, Options{TickMs: 1000}, hooks{
		data: func(c *Conn, in []byte) {
			conn = c
			for range 100 {
				echo(c, in)
			}
		},
		turn: func(*Loop) {
			if conn != nil {
				echo(conn, []byte("."))
				conn = nil
			}
		},
	})
	c := dial(t, e)
	send(t, c, []byte("x"))
	got := receive(t, c, 101)
	if got[99] != 'x' || got[100] != '.' {
		t.Errorf("got %q", got)
	}
	onLoop(t, e.Loop(0), func(*Loop) {
		if s := e.Stats(); s.Writes != 1 || s.Reads != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// What the loop posts itself runs without waiting for a socket or a tick: this
// would take minutes.
func TestPostFromTheLoopItself(t *testing.T) {
	e := start(t, Options{TickMs: 1000}, hooks{})
	done, left := make(chan struct{}), 200
	var again func(*Loop)
	again = func(l *Loop) {
		if left--; left == 0 {
			close(done)
			return
		}
		l.Post(again)
	}
	e.Loop(0).Post(again)
	take(t, done)
}

// Every post that was accepted is run, however Stop falls among them.
func TestNoAcceptedPostIsLost(t *testing.T) {
	e := start(t, Options{Loops: 2}, hooks{})
	var accepted, run atomic.Int64
	started := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l := e.Loop(i % 2)
			for n := 0; l.Post(func(*Loop) { run.Add(1) }); n++ {
				accepted.Add(1)
				if n == 100 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		take(t, started)
	}
	stop(t, e)
	wg.Wait()
	if run.Load() != accepted.Load() {
		t.Errorf("%d of %d were run", run.Load(), accepted.Load())
	}
}

// A panic costs the connection it happened for, and nobody else.
func TestPanics(t *testing.T) {
	boom := func(*Conn) { panic("boom") }
	onByte := func(b byte, f func(*Conn)) func(*Conn, []byte) {
		return func(c *Conn, in []byte) {
			if in[0] == b {
				f(c)
			} else {
				echo(c, in)
			}
		}
	}
	closed := make(chan error, 1)
	note := func(_ *Conn, err error) {
		if err == ErrPanic {
			closed <- err
		}
	}
	var armed atomic.Bool
	once := func(*Conn) {
		if armed.CompareAndSwap(true, false) {
			panic("boom")
		}
	}
	for name, h := range map[string]hooks{
		"Open":     {open: once, data: echo, closed: note},
		"Data":     {data: onByte('!', boom), closed: note},
		"Deadline": {data: onByte('!', func(c *Conn) { c.SetDeadline(1) }), deadline: boom, closed: note},
		"Drained": {data: onByte('!', func(c *Conn) {
			out := c.Pending()
			*out = append(*out, make([]byte, 32<<20)...)
		}), drained: boom, closed: note},
		"Closed": {data: onByte('!', (*Conn).Close), closed: func(_ *Conn, err error) {
			if err == nil {
				closed <- ErrPanic
				panic("boom")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, Options{MaxOutBytes: 64 << 20}, h)
			neighbour := dial(t, e)
			send(t, neighbour, []byte("a"))
			receive(t, neighbour, 1)
			armed.Store(name == "Open")
			c := dial(t, e)
			send(t, c, []byte("!"))
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
			take(t, closed)
			send(t, neighbour, []byte("b"))
			receive(t, neighbour, 1)
			onLoop(t, e.Loop(0), func(l *Loop) {
				if s := e.Stats(); s.Panics != 1 || s.Open != 1 || l.Conns() != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestPanicsWithoutAConnection(t *testing.T) {
	var armed atomic.Bool
	e := start(t, Options{TickMs: 1000}, hooks{data: echo, turn: func(*Loop) {
		if armed.CompareAndSwap(true, false) {
			panic("boom")
		}
	}})
	c := dial(t, e)
	ran := make(chan struct{})
	release := hold(t, e.Loop(0))
	armed.Store(true)
	e.Loop(0).Post(func(*Loop) { panic("boom") })
	e.Loop(0).Post(func(*Loop) { close(ran) })
	release()
	take(t, ran)
	send(t, c, []byte("x"))
	receive(t, c, 1)
	if n := e.Stats().Panics; n != 2 {
		t.Errorf("%d panics counted", n)
	}
}
