// An echo with gobwas/ws on gnet the naive way: on the event loop, messages
// read and written one by one through wsutil.
package main

import (
	"bytes"
	"io"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

func main() {
	// message: WriteServerMessage on the connection, as in gnet's examples.
	// whole: the same, but a frame is put together first: one write a message.
	// coalesced: no longer naive; the answers to all that one read has brought
	//   are one write.
	p := peer.Start("message", "whole", "coalesced")
	address := p.Address()
	h := &handler{ready: func() { p.Ready(address) }, variant: p.Variant}
	// One loop for the one processor. Its read buffer holds 64 messages in
	// flight many times over; TCPNoDelay is its default and said here.
	peer.Check(gnet.Run(h, "tcp://"+address, gnet.WithNumEventLoop(1), gnet.WithReadBufferCap(64<<10),
		gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithReuseAddr(true), gnet.WithLogLevel(logging.ErrorLevel)))
}

type handler struct {
	gnet.BuiltinEventEngine
	ready   func()
	variant string
}

func (h *handler) OnBoot(gnet.Engine) gnet.Action {
	h.ready()
	return gnet.None
}

func (h *handler) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	c.SetContext(false) // whether the handshake is done
	return nil, gnet.None
}

func (h *handler) OnTraffic(c gnet.Conn) gnet.Action {
	if !c.Context().(bool) {
		in, _ := c.Peek(-1)
		end := bytes.Index(in, []byte("\r\n\r\n"))
		if end < 0 {
			return gnet.None
		}
		if _, err := ws.Upgrade(pair{io.LimitReader(c, int64(end+4)), c}); err != nil {
			return gnet.Close
		}
		c.SetContext(true)
	}
	if h.echo(c) != nil {
		return gnet.Close
	}
	return gnet.None
}

// echo answers every message that has come whole.
func (h *handler) echo(c gnet.Conn) error {
	var out bytes.Buffer
	for whole(c) {
		message, op, err := wsutil.ReadClientData(c)
		switch {
		case err != nil:
		case h.variant == "message":
			err = wsutil.WriteServerMessage(c, op, message)
		default:
			err = wsutil.WriteServerMessage(&out, op, message)
		}
		if err != nil {
			return err
		}
		if h.variant == "whole" {
			c.Write(out.Bytes())
			out.Reset()
		}
	}
	if h.variant == "coalesced" {
		c.Write(out.Bytes())
	}
	return nil
}

// whole tells whether the next frame has come, so that reading does not meet
// the end of what is there. Fragments would need more; no client of the bench
// sends any.
func whole(c gnet.Conn) bool {
	in, _ := c.Peek(min(c.InboundBuffered(), ws.MaxHeaderSize))
	h, err := ws.ReadHeader(bytes.NewReader(in))
	if err != nil {
		return false
	}
	h.Masked = true
	return int64(c.InboundBuffered()) >= int64(ws.HeaderSize(h))+h.Length
}

type pair struct {
	io.Reader
	io.Writer
}
