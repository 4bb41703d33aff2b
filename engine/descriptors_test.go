//go:build linux && !gnet

package engine

import (
	"net"
	"os"
	"testing"
	"time"
)

// descriptors counts those of the process, which are not those of loops that have
// their own.
func descriptors(t *testing.T) int {
	open, err := os.ReadDir("/proc/thread-self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

func TestOwnDescriptors(t *testing.T) {
	const conns = 100
	for _, every := range []time.Duration{0, time.Millisecond} {
		opened := make(chan link, conns)
		e := start(t, Options{Loops: 4, OwnDescriptors: true, TurnEvery: every}, hooks{open: into(opened), data: echo})
		before := descriptors(t)
		var clients []*net.TCPConn
		loops := map[int]int{}
		for range conns {
			c, l := openOne(t, e, opened)
			clients = append(clients, c)
			loops[l.id.Loop()]++
		}
		if n := descriptors(t) - before; n >= conns+conns/2 {
			t.Errorf("the process has %d descriptors more for %d connections, both ends of which are here", n, conns)
		}
		if len(loops) < 2 {
			t.Errorf("connections went to the loops as %v", loops)
		}
		for _, c := range clients {
			send(t, c, []byte("hello"))
			if got := receive(t, c, 5); string(got) != "hello" {
				t.Errorf("%q came back", got)
			}
		}
		// Loops wake each other, and change the runtime's timers, with descriptors
		// that all have.
		done := make(chan struct{})
		e.Loop(0).Post(func(*Loop) {
			time.AfterFunc(time.Millisecond, func() {
				e.Loop(1).Post(func(*Loop) { e.Loop(2).Post(func(*Loop) { close(done) }) })
			})
		})
		take(t, done)
		stop(t, e)
		for _, c := range clients {
			if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
				t.Errorf("a connection is still open: %v", err)
			}
		}
		if c, err := net.Dial("tcp", e.Addr().String()); err == nil {
			c.Close()
			t.Error("the port is still open")
		}
	}
}

// What is sent and posted while a loop rests is of one turn.
func TestTurnEvery(t *testing.T) {
	const conns, every = 8, 50 * time.Millisecond
	opened, came := make(chan link, conns), make(chan uint64, 2*conns)
	e := start(t, Options{TurnEvery: every}, hooks{open: into(opened), data: func(c *Conn, _ []byte) { came <- c.Loop().stats.turns.Load() }})
	var clients []*net.TCPConn
	for range conns {
		c, _ := openOne(t, e, opened)
		clients = append(clients, c)
	}
	other, once := dial(t, start(t, Options{}, hooks{data: echo})), 0
	for range 10 {
		turns := map[uint64]bool{}
		for _, c := range clients {
			send(t, c, []byte("x"))
			send(t, other, []byte("x")) // some time passes
			receive(t, other, 1)
			e.Loop(0).Post(func(l *Loop) { came <- l.stats.turns.Load() - 1 }) // counted already
		}
		for range 2 * conns {
			turns[take(t, came)] = true
		}
		if len(turns) == 1 {
			once++
		}
	}
	if once < 5 { // a rest may end in the middle of what comes at once
		t.Errorf("what came at once was of one turn %d times of 10", once)
	}
}

func TestConnsOfLoops(t *testing.T) {
	for _, c := range []struct{ files, loops, conns int }{{20000, 56, 56 * (20000 - reservedOwn)}, {1000, 2, 1500}} {
		if got := ConnsOfLoops(c.files, c.loops); got != c.conns {
			t.Errorf("%d descriptors for each of %d loops are %d connections, want %d", c.files, c.loops, got, c.conns)
		}
	}
}
