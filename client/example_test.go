package client_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/clienttest"
)

// friendly is a server with somebody behind it who reads and answers everything.
func friendly() (url string, stop func()) {
	server, err := clienttest.Listen()
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			if err := conn.Befriend(); err != nil {
				return
			}
		}
	}()
	return server.URL, func() {
		server.Close()
		<-done
	}
}

func login(context.Context) (string, error) { return "a JWT from your login service", nil }

func Example() {
	url, stop := friendly()
	defer stop()
	ctx := context.Background()

	c, err := client.Dial(ctx, client.Options{URL: url, User: "alice", Device: "phone", Token: login})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)

	sent, err := c.Send(ctx, "bob", []byte("hi"))
	if err != nil {
		log.Fatal(err)
	}
	if err := sent.Durable(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the server has it")
	if err := sent.Read(ctx); err != nil {
		log.Fatal(err)
	}
	status, _ := sent.Status()
	fmt.Println(status)
	// Output:
	// the server has it
	// read
}

// A bot says back what it hears. What it has not handled when it ends comes
// again when it is started next, for that Options.State is a file.
func ExampleClient_Receive() {
	url, stop := friendly()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Options{URL: url, User: "alice", Device: "bot", Token: login})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Send(ctx, "bob", []byte("anybody there?")); err != nil {
		log.Fatal(err)
	}
	for {
		event, err := c.Receive(ctx) // says that the event before was handled
		if err != nil {
			log.Fatal(err)
		}
		switch e := event.(type) {
		case client.Receipt:
			fmt.Printf("%s has read up to %v\n", e.Peer, e.Read)
		case client.Message:
			fmt.Printf("%s: %s\n", e.From, e.Content)
			c.MarkRead(string(e.From), e.Place)
			return
		}
	}
	// Output:
	// bob has read up to 1
	// bob: anybody there?
}

// What to do about an error, its code says.
func ExampleClient_Send_errors() {
	url, stop := friendly()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Options{URL: url, User: "alice", Device: "phone", Token: login})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	_, err = c.Send(ctx, "no such name", nil)
	fmt.Println(chat.CodeOf(err), chat.CodeOf(err).Action() == chat.ActionStop)
	// Output: bad_name true
}
