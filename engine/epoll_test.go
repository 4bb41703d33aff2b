//go:build linux && !gnet

package engine

import (
	"errors"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const allocationsPerTurn = 0.5 // of the test's own client

// Without a descriptor to accept with, connections wait and the others go on.
func TestAcceptWaitsForDescriptors(t *testing.T) {
	opened, ticks := make(chan link, 2), atomic.Int64{}
	e := start(t, Options{MaxConns: 10}, hooks{open: into(opened), data: echo, turn: func(*Loop) { ticks.Add(1) }})
	c, _ := openOne(t, e, opened)
	release := starve(t, e)
	for before := ticks.Load(); ticks.Load() < before+20; {
		send(t, c, []byte("x"))
		receive(t, c, 1)
	}
	if len(opened) != 0 || e.Stats().Open != 1 {
		t.Fatal("a connection was accepted without a descriptor")
	}
	release()
	take(t, opened)
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
	if n := unsafe.Sizeof(Conn{}); n > 88 {
		t.Errorf("a connection takes %d bytes", n)
	}
}
