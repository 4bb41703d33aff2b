//go:build !linux || gnet

package engine

import (
	"io"
	"testing"
)

// What ends a turn is a task of gnet's: two small objects, however many
// connections were served.
const allocationsPerTurn = 3

// gnet ends a loop that cannot accept for want of a descriptor, and with it
// the engine. Limits keep that from happening; if it does, the owner hears.
func TestDoneWithoutDescriptors(t *testing.T) {
	opened, closed := make(chan link, 1), make(chan error, 1)
	e := start(t, Options{MaxConns: 10}, hooks{open: into(opened), closed: func(_ *Conn, err error) { closed <- err }})
	openOne(t, e, opened)
	starve(t, e)
	take(t, e.Done())
	take(t, closed)
	if e.Loop(0).Post(func(*Loop) {}) {
		t.Error("the mailbox is still open")
	}
}

// What is pending when a closing connection is found to be no longer blocked
// goes out before the write side is shut down.
func TestClosePendingWhenUnblocked(t *testing.T) {
	opened := make(chan link, 1)
	e := start(t, Options{}, hooks{open: into(opened)})
	client, conn := openOne(t, e, opened)
	onLoop(t, e.Loop(0), func(l *Loop) {
		// As when the socket took the rest a moment ago and nobody has looked
		// since: the turn looks before it flushes.
		conn.conn.setUnsent(1)
		echo(conn.conn, []byte("goodbye"))
		conn.conn.Close()
	})
	if got, err := io.ReadAll(client); string(got) != "goodbye" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}
