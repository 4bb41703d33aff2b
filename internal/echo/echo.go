// Package echo is a WebSocket server that sends back what it gets: the engine
// and the parser with nothing above them. Autobahn and comparisons with other
// servers talk to it. It serves any path and any origin.
package echo

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/frame"
)

// The limits. They are wider than the chat server's: Autobahn sends messages
// of 16 MiB (9.1.6) and of 65,536 fragments (9.3.1).
const (
	MessageBytes = 17 << 20
	Fragments    = 1 << 17

	handshakeMs   = 10_000   // for a whole handshake
	maxOutBytes   = 64 << 20 // an echo of several such messages, to a slow reader
	maxTotalBytes = 1 << 30
	stopTimeout   = 5 * time.Second
)

// Options of Run.
type Options struct {
	Listen string              // host:port
	Loops  int                 // event loops; 0: GOMAXPROCS
	Logger *slog.Logger        // nil: slog.Default()
	Ready  func(addr net.Addr) // called once it listens; nil: nobody
}

// Run serves until ctx is done, then closes every connection. The error is the
// engine's: it could not listen, or connections did not end in time.
func Run(ctx context.Context, o Options) error {
	e, err := engine.Start(engine.Options{
		Listen: o.Listen, Loops: o.Loops, Logger: o.Logger,
		MaxOutBytes: maxOutBytes, MaxOutTotalBytes: maxTotalBytes,
	}, handler{handshakeMs})
	if err != nil {
		return err
	}
	if o.Ready != nil {
		o.Ready(e.Addr())
	}
	select {
	case <-ctx.Done():
	case <-e.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return e.Stop(stopping)
}

// Limits of every connection, by whether it has permessage-deflate.
var (
	plain      = frame.Limits{MessageBytes: MessageBytes, Fragments: Fragments}
	compressed = frame.Limits{MessageBytes: MessageBytes, Fragments: Fragments, Deflate: true}
)

// peer is what a connection carries.
type peer struct {
	reader  frame.Reader
	limits  *frame.Limits // nil before the handshake
	head    []byte        // of a handshake that has not all come
	deflate frame.DeflateParams
}

type handler struct{ handshakeMs int64 }

// peers are a loop's.
type peers = engine.Slab[peer]

func peerOf(c *engine.Conn) *peer { return c.Loop().Data.(*peers).At(c.Slot()) }

// Turn is a loop's first call.
func (handler) Turn(l *engine.Loop) {
	if l.Data == nil {
		l.Data = new(peers)
	}
}

func (h handler) Open(c *engine.Conn) {
	*c.Loop().Data.(*peers).Reach(c.Slot()) = peer{}
	c.SetDeadline(c.Loop().NowMs() + h.handshakeMs)
}

func (handler) Data(c *engine.Conn, in []byte) {
	p := peerOf(c)
	if p.limits == nil {
		in = p.handshake(c, in)
	}
	if p.limits != nil {
		p.frames(c, in)
	}
}

func (handler) Deadline(c *engine.Conn) { c.Close() }
func (handler) Drained(*engine.Conn)    {}

func (handler) Closed(c *engine.Conn, _ error) { peerOf(c).reader.Release() }

func accept(*frame.Request) frame.Decision { return frame.Decision{Status: 101, Deflate: true} }

// handshake takes what has come of the handshake, and returns the frames that
// came behind it.
func (p *peer) handshake(c *engine.Conn, in []byte) []byte {
	if len(p.head) > 0 {
		p.head = append(p.head, in...)
		in = p.head
	}
	n, out, hs, done, err := frame.Upgrade(in, frame.HandshakeLimits{}, accept)
	if !done && err == nil {
		p.head = append(p.head[:0], in...)
		return nil
	}
	pending := c.Pending()
	*pending = append(*pending, out...)
	p.head = nil
	if err != nil {
		c.Close()
		return nil
	}
	c.SetDeadline(0)
	p.deflate, p.limits = hs.Deflate, &plain
	if hs.Deflate != (frame.DeflateParams{}) {
		p.limits = &compressed
	}
	return in[n:]
}

// frames answers every frame in in, and all of them with one write.
func (p *peer) frames(c *engine.Conn, in []byte) {
	pending := c.Pending()
	out := *pending
	for {
		n, ev, ok, err := p.reader.Next(in, p.limits)
		in = in[n:]
		if err != nil {
			bad := err.(*frame.Error)
			out = frame.AppendClose(out, bad.Code, bad.Reason)
			c.Close()
		}
		if !ok {
			break
		}
		switch ev.Op {
		case frame.OpPing:
			out = frame.AppendMessage(out, frame.OpPong, ev.Payload)
		case frame.OpPong: // of a ping nobody sent: RFC 6455 section 5.5.3 allows it
		case frame.OpClose:
			out = frame.AppendClose(out, ev.Code, string(ev.Payload))
			c.Close()
		default:
			out = frame.AppendDeflated(out, ev.Op, ev.Payload, p.deflate)
		}
	}
	*pending = out
}
