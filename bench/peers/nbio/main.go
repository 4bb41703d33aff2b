// An echo with nbio's WebSocket.
package main

import (
	"net"
	"net/http"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

func main() {
	// inline: its event loop for every connection (IOModNonBlocking), one loop
	//   for the one processor, callbacks on the loop instead of on a pool, since
	//   an echo never blocks; payloads go back to its pool.
	// pool: the same with its pool of goroutines, the default.
	// blocking: a goroutine for each connection (IOModBlocking), which its
	//   documentation says is faster for few connections, writing itself.
	// mixed: the mode that its documentation recommends where both may come.
	p := peer.Start("inline", "pool", "blocking", "mixed")
	logging.SetLevel(logging.LevelError)

	u := websocket.NewUpgrader()
	u.CheckOrigin = func(*http.Request) bool { return true }
	u.BlockingModAsyncWrite = false
	u.KeepaliveTime = 0 // no deadline to move for each message
	u.OnMessage(func(c *websocket.Conn, kind websocket.MessageType, b []byte) { c.WriteMessage(kind, b) })

	config := nbhttp.Config{
		Network: "tcp", Addrs: []string{"127.0.0.1:0"},
		Listen:  func(string, string) (net.Listener, error) { return p.Listen(), nil },
		NPoller: 1, MaxLoad: 1 << 20, ReleaseWebsocketPayload: true, ReadBufferSize: 64 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { u.Upgrade(w, r, nil) }),
	}
	switch p.Variant {
	case "inline":
		config.ServerExecutor = func(f func()) { f() }
	case "blocking":
		config.IOMod = nbhttp.IOModBlocking
	case "mixed":
		config.IOMod, config.MaxBlockingOnline = nbhttp.IOModMixed, nbhttp.DefaultMaxBlockingOnline
	}
	e := nbhttp.NewEngine(config)
	u.Engine = e
	peer.Check(e.Start())
	select {}
}
