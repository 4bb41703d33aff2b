//go:build linux && !gnet

package engine

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const allocationsPerTurn = 0.5 // of the test's own client

// lines counts what is written to it, a log's lines.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) { l.n.Add(1); return len(p), nil }

// Without a descriptor to accept with, connections wait and the others go on;
// that is said once.
func TestAcceptWaitsForDescriptors(t *testing.T) {
	opened, ticked, said := make(chan link, 2), make(chan struct{}, 1), &lines{}
	e := start(t, Options{MaxConns: 10, Logger: slog.New(slog.NewTextHandler(said, nil))}, hooks{
		open: into(opened), data: echo, deadline: func(*Conn) { ticked <- struct{}{} }})
	c, conn := openOne(t, e, opened)
	release := starve(t, e)
	for range 5 { // each tick tries again
		onLoop(t, e.Loop(0), func(l *Loop) { conn.conn.SetDeadline(l.NowMs() + 1) })
		take(t, ticked)
		send(t, c, []byte("x"))
		receive(t, c, 1)
	}
	if len(opened) != 0 || e.Stats().Open != 1 {
		t.Fatal("a connection was accepted without a descriptor")
	}
	release()
	take(t, opened)
	if n := said.n.Load(); n != 1 {
		t.Errorf("it was said %d times", n)
	}
}

// Two engines that ask for a free port never get the same one, and a port that
// is shared among the loops of one is not shared with another's.
func TestPortsAreNotShared(t *testing.T) {
	first := start(t, Options{Loops: 2}, hooks{data: echo})
	if fd, err := listenBeside(first.addr); err != nil {
		t.Errorf("a loop's listener beside the others: %v", err)
	} else {
		unix.Close(fd)
	}
	if ln, err := net.Listen("tcp", first.addr.String()); err == nil {
		ln.Close()
		t.Error("somebody else has the port, too")
	}
	// Before there is a second loop's listener, and after.
	for loops := range 2 {
		e := &Engine{loops: []*Loop{newLoop(first, 0)}}
		addr, err := e.listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(e.loops[0].poller.listener)
		if loops == 1 {
			fd, err := listenBeside(addr)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
		}
		other := &Engine{loops: []*Loop{newLoop(first, 0)}}
		if _, err := other.listen(addr.String()); err == nil {
			unix.Close(other.loops[0].poller.listener)
			t.Error("another engine has the port")
		}
	}
}

// An engine of which one loop cannot listen does not run at all.
func TestServeFails(t *testing.T) {
	e := &Engine{addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}, handler: hooks{}}
	e.loops = []*Loop{newLoop(e, 0)}
	if err := e.serve(); err == nil {
		t.Error("listens on an address that is not this machine's")
	}
	if e.Loop(0).Post(func(*Loop) {}) {
		t.Error("the mailbox is still open")
	}
}

// A loop that can wait no more ends the engine, and its owner hears.
func TestDoneWhenWaitingFails(t *testing.T) {
	opened, closed := make(chan link, 1), make(chan error, 1)
	e := start(t, Options{Loops: 2}, hooks{open: into(opened), closed: func(_ *Conn, err error) { closed <- err }})
	_, conn := openOne(t, e, opened)
	e.Loop(conn.id.Loop()).Post(func(l *Loop) {
		if err := unix.Dup3(l.poller.eventfd, l.poller.epoll, unix.O_CLOEXEC); err != nil { // no epoll any more
			t.Error(err)
		}
	})
	take(t, e.Done())
	if err := take(t, closed); err == nil || errors.Is(err, ErrSlow) {
		t.Errorf("Closed says %v", err)
	}
	if e.Loop(0).Post(func(*Loop) {}) || e.Loop(1).Post(func(*Loop) {}) {
		t.Error("a mailbox is still open")
	}
}

// What a connection costs beside its handler's.
func TestConnIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 48 {
		t.Errorf("a connection takes %d bytes", n)
	}
}

// A turn ends when it has taken much in, although more sockets are ready.
func TestTurnsAreShort(t *testing.T) {
	const conns = 6
	turns, taken := map[uint64]int{}, 0
	opened, all := make(chan link, conns), make(chan struct{})
	e := start(t, Options{TickMs: 1000}, hooks{open: into(opened), data: func(c *Conn, in []byte) {
		turns[c.Loop().stats.turns.Load()] += len(in)
		if taken += len(in); taken == conns*bytesPerTurn {
			close(all)
		}
	}})
	var clients []*net.TCPConn
	for range conns {
		c, _ := openOne(t, e, opened)
		clients = append(clients, c)
	}
	release := hold(t, e.Loop(0))
	for _, c := range clients {
		send(t, c, make([]byte, bytesPerTurn))
	}
	release()
	take(t, all)
	onLoop(t, e.Loop(0), func(*Loop) {
		for turn, n := range turns {
			if n > bytesPerTurn+readBufferBytes {
				t.Errorf("turn %d took %d bytes in", turn, n)
			}
		}
		if len(turns) < conns/2 {
			t.Errorf("%d turns for %d sockets with %d bytes each", len(turns), conns, bytesPerTurn)
		}
	})
}

// A peer that is always behind, and always reads on, costs about its unsent
// output and not all that it ever got.
func TestUnsentIsGivenBack(t *testing.T) {
	const unsent, step, steps = 8 << 20, 1 << 20, 64
	opened := make(chan link, 1)
	e := start(t, Options{MaxOutBytes: 2 * unsent}, hooks{open: into(opened)})
	client, conn := openOne(t, e, opened)
	chunk, most := pattern(step), 0
	for range steps {
		onLoop(t, e.Loop(0), func(*Loop) {
			if q := conn.conn.unsent(); q != nil {
				most = max(most, cap(*q.buffer))
			}
			for n := conn.conn.unsentBytes(); n < unsent; n += step {
				echo(conn.conn, chunk)
			}
		})
		receive(t, client, step)
	}
	if most > 4*unsent {
		t.Errorf("%d bytes are kept for %d", most, unsent)
	}
}
