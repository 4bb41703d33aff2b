// An echo with gws: a goroutine for each connection, which reads and calls back.
package main

import (
	"net"

	"github.com/lxzan/gws"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

type handler struct{ gws.BuiltinEventHandler }

func (handler) OnMessage(c *gws.Conn, m *gws.Message) {
	c.WriteMessage(m.Opcode, m.Bytes())
	m.Close() // gives its buffer back to the pool
}

type async struct{ gws.BuiltinEventHandler }

func (async) OnMessage(c *gws.Conn, m *gws.Message) {
	c.WriteAsync(m.Opcode, m.Bytes(), func(error) { m.Close() })
}

func main() {
	// direct: its defaults, 4 KiB to read into, no parallel handlers, no
	//   compression; the callback writes itself. Its own server does the
	//   handshake: net/http's buffers are not kept.
	// small: 1 KiB to read into.
	// async: writing by its queue, as its documentation says for broadcasts.
	p := peer.Start("direct", "small", "async")
	var h gws.Event = handler{}
	o := &gws.ServerOption{}
	switch p.Variant {
	case "small":
		o.ReadBufferSize = 1024
	case "async":
		h = async{}
	}
	s := gws.NewServer(h, o)
	s.OnError = func(_ net.Conn, _ error) {} // a client that went is no news
	peer.Check(s.RunListener(p.Listen()))
}
