// Package engine runs event loops over TCP sockets. It knows bytes, connections,
// deadlines and mailboxes, and has no idea what the bytes mean.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
)

// Options configures Start.
type Options struct {
	Listen           string // host:port; port 0 takes a free one
	Loops            int    // event loops; 0: GOMAXPROCS
	ReusePort        bool   // share the port with other processes
	MaxConns         int
	MaxOutBytes      int
	MaxOutTotalBytes int64
	AcceptPerSecond  int // 0: no limit
	TickMs           int // 0: 100
	Logger           *slog.Logger
}

// Handler is called by the loops, always on the loop that owns the connection.
type Handler interface {
	Open(c *Conn)
	Data(c *Conn, in []byte)
	Deadline(c *Conn)
	Drained(c *Conn)
	Closed(c *Conn, err error)
	Turn(l *Loop)
}

// ErrSlow closes a connection whose peer does not read.
var ErrSlow = errors.New("engine: the peer reads too slowly")

var errTodo = errors.New("engine: not yet")

// Engine is a set of running loops.
type Engine struct{}

func Start(o Options, h Handler) (*Engine, error) { return nil, errTodo }
func (*Engine) Addr() net.Addr                    { return nil }
func (*Engine) Loops() int                        { return 0 }
func (*Engine) Loop(i int) *Loop                  { return nil }
func (*Engine) Stats() Stats                      { return Stats{} }
func (*Engine) StopAccepting()                    {}
func (*Engine) Stop(ctx context.Context) error    { return errTodo }

// Stats is a snapshot of the engine's counters.
type Stats struct {
	Accepted, Rejected, Closed, Reads, Writes, BytesIn, BytesOut, Panics, Slow, Turns, Posts uint64
	Open, Blocked, UnsentBytes                                                               int64
}

// Loop is one event loop.
type Loop struct {
	Data any // the handler's
}

func (*Loop) Index() int              { return 0 }
func (*Loop) NowMs() int64            { return 0 }
func (*Loop) Conn(id ID) *Conn        { return nil }
func (*Loop) Conns() int              { return 0 }
func (*Loop) Post(f func(*Loop)) bool { return false }
func (*Loop) Each(f func(*Conn))      {}

// ID names a connection, safe against reuse.
type ID uint64

func (ID) Loop() int { return 0 }

// Conn is one connection, touched on its loop only.
type Conn struct {
	Data any // the handler's
}

func (*Conn) ID() ID                 { return 0 }
func (*Conn) Loop() *Loop            { return nil }
func (*Conn) Remote() netip.AddrPort { return netip.AddrPort{} }
func (*Conn) Local() netip.AddrPort  { return netip.AddrPort{} }
func (*Conn) Pending() *[]byte       { return nil }
func (*Conn) OutBytes() int          { return 0 }
func (*Conn) Blocked() bool          { return false }
func (*Conn) SetDeadline(ms int64)   {}
func (*Conn) Close()                 {}
