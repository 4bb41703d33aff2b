// An echo with Centrifugo's library. Its WebSocket is internal, so a raw echo
// cannot be had: a message is a `send` command in its Protobuf protocol, the
// echo a `message` push, behind a `connect` command for each connection.
package main

import (
	"context"
	"net/http"

	"github.com/centrifugal/centrifuge"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

func main() {
	// pooled: a pool of write buffers, which its documentation says for many
	//   connections; its writer gathers up to 16 messages for a frame, its default.
	// plain: without the pool.
	// gather: no limit on what a frame gathers.
	// offloop: commands on a goroutine of their own, for smaller stacks.
	p := peer.Start("pooled", "plain", "gather", "offloop")
	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelNone})
	peer.Check(err)
	reply := centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "bench"}}
	if p.Variant == "gather" {
		reply.MaxMessagesInFrame = -1
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) { return reply, nil })
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnMessage(func(e centrifuge.MessageEvent) { c.Send(e.Data) })
	})
	peer.Check(node.Run())

	config := centrifuge.WebsocketConfig{
		CheckOrigin:                func(*http.Request) bool { return true },
		ReadBufferSize:             1024,
		UseWriteBufferPool:         p.Variant != "plain",
		ProcessCommandsOffReadLoop: p.Variant == "offloop",
		MessageSizeLimit:           1 << 20,
		// No pings of its own: nobody else sends any here.
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1},
	}
	p.Speaks("centrifuge")
	peer.Check(http.Serve(p.Listen(), centrifuge.NewWebsocketHandler(node, config)))
}
