// An echo with coder/websocket: a goroutine for each connection.
package main

import (
	"context"
	"io"
	"net/http"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

func main() {
	// stream: Reader and Writer with one buffer for a connection, as in its own
	//   echo example; no allocation for a message, but a call more, and each
	//   message comes back in several frames.
	// message: Read and Write of whole messages.
	p := peer.Start("stream", "message")
	serve := message
	if p.Variant == "stream" {
		serve = stream
		p.Speaks("fragments")
	}
	// Compression is off unless asked for. A context that never ends is the
	// cheapest: one with a deadline costs a timer for each message.
	ctx := context.Background()
	peer.Check(http.Serve(p.Listen(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for serve(ctx, c) == nil {
		}
	})))
}

func message(ctx context.Context, c *websocket.Conn) error {
	kind, b, err := c.Read(ctx)
	if err != nil {
		return err
	}
	return c.Write(ctx, kind, b)
}

func stream(ctx context.Context, c *websocket.Conn) error {
	buf := make([]byte, 1024)
	for {
		if err := one(ctx, c, buf); err != nil {
			return err
		}
	}
}

func one(ctx context.Context, c *websocket.Conn, buf []byte) error {
	kind, r, err := c.Reader(ctx)
	if err != nil {
		return err
	}
	w, err := c.Writer(ctx, kind)
	if err != nil {
		return err
	}
	// Not io.CopyBuffer: it would take the writer's own ways and their buffers.
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return w.Close()
		}
		if err != nil {
			return err
		}
	}
}
