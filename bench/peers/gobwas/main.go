// An echo with gobwas/ws the usual way: a goroutine for each connection, its
// zero-copy upgrade on the bare connection.
package main

import (
	"bufio"
	"io"
	"net"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

func main() {
	// buffered: headers and payloads through a buffered reader, a frame as one
	//   write: else each of both would be a system call.
	// frames: the loop of its own README, ReadHeader and WriteHeader on the
	//   connection: four system calls a message, the least memory.
	// wsutil: ReadClientData and WriteServerMessage, its README's first example.
	p := peer.Start("buffered", "frames", "wsutil")
	serve := map[string]func(net.Conn){"buffered": buffered, "frames": frames, "wsutil": messages}[p.Variant]
	ln := p.Listen()
	for {
		c, err := ln.Accept()
		peer.Check(err)
		go func() {
			defer c.Close()
			if _, err := ws.Upgrade(c); err == nil {
				serve(c)
			}
		}()
	}
}

func buffered(c net.Conn) {
	r := bufio.NewReaderSize(c, 4096)
	w := bufio.NewWriterSize(c, 4096)
	echo(r, w, w.Flush)
}

func frames(c net.Conn) { echo(c, c, func() error { return nil }) }

// echo sends back data and pongs, until there is a fault or a close frame.
func echo(r io.Reader, w io.Writer, flush func() error) {
	var payload []byte
	for {
		h, err := ws.ReadHeader(r)
		if err != nil || h.Length > 1<<20 {
			return
		}
		if int64(cap(payload)) < h.Length {
			payload = make([]byte, h.Length)
		}
		payload = payload[:h.Length]
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		if h.Masked {
			ws.Cipher(payload, h.Mask, 0)
		}
		h.Masked = false
		switch h.OpCode {
		case ws.OpPong:
			continue
		case ws.OpPing:
			h.OpCode = ws.OpPong
		}
		if ws.WriteHeader(w, h) != nil {
			return
		}
		if _, err := w.Write(payload); err != nil || flush() != nil || h.OpCode == ws.OpClose {
			return
		}
	}
}

func messages(c net.Conn) {
	for {
		message, op, err := wsutil.ReadClientData(c)
		if err != nil {
			return
		}
		if err := wsutil.WriteServerMessage(c, op, message); err != nil {
			return
		}
	}
}
