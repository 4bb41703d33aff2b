package engine

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// pattern returns n bytes that show where they belong in a stream.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	return p
}

// fill writes to c, turn after turn, until its socket is full, and returns how
// much it wrote.
func fill(t testing.TB, l *Loop, id ID, chunk []byte) int {
	t.Helper()
	for n := 0; ; {
		var blocked bool
		onLoop(t, l, func(l *Loop) {
			c := l.Conn(id)
			if blocked = c.Blocked(); !blocked {
				echo(c, chunk)
				n += len(chunk)
			}
		})
		if blocked {
			return n
		}
	}
}

// A peer that stops reading blocks its connection, and gets everything when
// it reads again.
func TestBlockedThenDrained(t *testing.T) {
	opened, drained := make(chan link, 1), make(chan int, 1)
	e := start(t, Options{}, hooks{open: into(opened), drained: func(c *Conn) {
		drained <- c.OutBytes()
		echo(c, []byte("end"))
	}})
	client, conn := openOne(t, e, opened)
	chunk := pattern(1 << 16)
	n := fill(t, e.Loop(0), conn.id, chunk)
	s := e.Stats()
	onLoop(t, e.Loop(0), func(*Loop) {
		if s.Blocked != 1 || s.UnsentBytes <= 0 || int(s.UnsentBytes) != conn.conn.OutBytes() {
			t.Errorf("%d bytes are unsent, %+v", conn.conn.OutBytes(), s)
		}
	})
	for range n / len(chunk) {
		if !bytes.Equal(receive(t, client, len(chunk)), chunk) {
			t.Fatal("bytes are lost or out of order")
		}
	}
	if left := take(t, drained); left != 0 {
		t.Errorf("%d bytes are left", left)
	}
	if got := receive(t, client, 3); string(got) != "end" {
		t.Errorf("read %q", got)
	}
	onLoop(t, e.Loop(0), func(*Loop) {
		if s := e.Stats(); s.Blocked != 0 || s.UnsentBytes != 0 || int(s.BytesOut) != n+3 {
			t.Errorf("%+v after %d bytes", s, n)
		}
	})
}

// A closing connection that is blocked is closed when its output has gone.
func TestCloseOfABlockedConnection(t *testing.T) {
	opened, closed, closing := make(chan link, 1), make(chan error, 1), false
	e := start(t, Options{}, hooks{
		open:   into(opened),
		closed: func(_ *Conn, err error) { closed <- err },
		drained: func(*Conn) {
			if closing {
				t.Error("Drained after Close")
			}
		},
	})
	client, conn := openOne(t, e, opened)
	n := fill(t, e.Loop(0), conn.id, pattern(1<<16))
	e.Loop(0).Post(func(*Loop) { closing = true; conn.conn.Close() })
	if got, err := io.ReadAll(client); len(got) != n || err != nil {
		t.Errorf("read %d of %d bytes, %v", len(got), n, err)
	}
	_ = client.Close()
	if err := take(t, closed); err != nil {
		t.Errorf("Closed says %v", err)
	}
	if s := e.Stats(); s.Blocked != 0 || s.UnsentBytes != 0 {
		t.Errorf("%+v", s)
	}
}

// The frozen peer: it does not read, and is closed when its unsent output
// passes the bound, while its neighbour goes on.
//
//	handler ── 64 KiB a turn ──▶ frozen (never reads)    ErrSlow
//	        ◀── echo ──▶ neighbour                       notices nothing
func TestMaxOutBytes(t *testing.T) {
	opened, closed := make(chan link, 1), make(chan error, 1)
	var most atomic.Int64
	e := start(t, Options{MaxOutBytes: 1 << 20}, hooks{
		open: into(opened), data: echo, closed: func(_ *Conn, err error) { closed <- err }})
	neighbour, _ := openOne(t, e, opened)
	_, frozen := openOne(t, e, opened)
	id, chunk := frozen.id, pattern(1<<16)
	for alive := true; alive; {
		onLoop(t, e.Loop(0), func(l *Loop) {
			c := l.Conn(id)
			if alive = c != nil; alive {
				most.Store(max(most.Load(), int64(c.OutBytes())))
				echo(c, chunk)
			}
		})
		send(t, neighbour, []byte("x"))
		receive(t, neighbour, 1)
	}
	if err := take(t, closed); !errors.Is(err, ErrSlow) {
		t.Errorf("Closed says %v", err)
	}
	if s := e.Stats(); s.Slow != 1 || s.Open != 1 || s.UnsentBytes != 0 || most.Load() > 1<<20 {
		t.Errorf("%+v, %d bytes were unsent at most", s, most.Load())
	}
}

// One write beyond the bound and what the kernel takes is over it, too.
func TestMaxOutBytesInOneWrite(t *testing.T) {
	closed := make(chan error, 1)
	e := start(t, Options{MaxOutBytes: 1 << 20}, hooks{
		open:   func(c *Conn) { echo(c, make([]byte, 64<<20)) },
		closed: func(_ *Conn, err error) { closed <- err },
	})
	if c, err := net.Dial("tcp", e.Addr().String()); err == nil { // or it is reset before Dial has looked
		defer c.Close()
	}
	if err := take(t, closed); !errors.Is(err, ErrSlow) {
		t.Errorf("Closed says %v", err)
	}
}

// Many connections within their own bound are held to the bound of all.
func TestMaxOutTotalBytes(t *testing.T) {
	const total = 2 << 20
	opened, closed := make(chan link, 1), make(chan error, 4)
	e := start(t, Options{MaxOutBytes: total, MaxOutTotalBytes: total}, hooks{
		open: into(opened), closed: func(_ *Conn, err error) { closed <- err }})
	chunk := pattern(1 << 16)
	var ids []ID
	for range 4 {
		_, c := openOne(t, e, opened)
		ids = append(ids, c.id)
		fill(t, e.Loop(0), c.id, chunk)
	}
	for i := 0; e.Stats().Slow == 0; i++ {
		onLoop(t, e.Loop(0), func(l *Loop) {
			if c := l.Conn(ids[i%len(ids)]); c != nil {
				echo(c, chunk)
			}
		})
		if n := e.Stats().UnsentBytes; n > total {
			t.Fatalf("%d bytes are unsent", n)
		}
	}
	if err := take(t, closed); !errors.Is(err, ErrSlow) {
		t.Errorf("Closed says %v", err)
	}
	if s := e.Stats(); s.Open != 3 || s.UnsentBytes == 0 {
		t.Errorf("%+v", s)
	}
}

// A Conn whose slot is used again has another ID, and the old one names
// nobody; what a handler still does to the old Conn while it is unused does
// no harm.
func TestIDsAreNotReused(t *testing.T) {
	opened, closed := make(chan link, 1), make(chan *Conn, 1)
	e := start(t, Options{}, hooks{open: into(opened), data: echo, closed: func(c *Conn, _ error) {
		echo(c, []byte("too late"))
		c.Close()
		c.SetDeadline(1)
		if c.Loop().Conn(c.ID()) != nil || c.OutBytes() != 0 {
			t.Error("a closed connection can be found or written to")
		}
		closed <- c
	}})
	l := e.Loop(0)
	client, first := openOne(t, e, opened)
	_ = client.Close()
	take(t, closed)
	onLoop(t, l, func(*Loop) {
		c := first.conn
		echo(c, []byte("too late"))
		c.Close()
		c.SetDeadline(1)
		if l.Conn(first.id) != nil || c.OutBytes() != 0 || c.Blocked() {
			t.Error("the connection is still there")
		}
	})
	client, second := openOne(t, e, opened)
	if second.conn != first.conn || second.id == first.id || second.id == 0 {
		t.Fatalf("first %v, second %v", first, second)
	}
	onLoop(t, l, func(*Loop) {
		if l.Conn(first.id) != nil || l.Conn(second.id) != second.conn {
			t.Error("the old id finds the new connection, or the new one does not")
		}
	})
	send(t, client, []byte("x"))
	if got := receive(t, client, 1); got[0] != 'x' {
		t.Errorf("got %q", got)
	}
}
