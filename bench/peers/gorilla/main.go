// An echo with gorilla/websocket: a goroutine for each connection, ReadMessage
// and WriteMessage as in its own echo example.
package main

import (
	"net/http"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

func main() {
	// reuse: buffer sizes of 0, with which the upgrader keeps the buffers that
	//   net/http has made already; no second allocation for a connection.
	// small: buffers of 1,024 bytes, as its documentation says for messages that
	//   are smaller; less memory, but a longer burst takes more reads.
	// pooled: a pool of write buffers, as it says for many connections that
	//   write now and then.
	p := peer.Start("reuse", "small", "pooled")
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	switch p.Variant {
	case "small":
		upgrader.ReadBufferSize, upgrader.WriteBufferSize = 1024, 1024
	case "pooled":
		upgrader.ReadBufferSize, upgrader.WriteBufferPool = 1024, &sync.Pool{}
	}
	peer.Check(http.Serve(p.Listen(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, message, err := c.ReadMessage()
			if err != nil {
				return
			}
			if err := c.WriteMessage(kind, message); err != nil {
				return
			}
		}
	})))
}
