// Answers whoever writes, end-to-end encrypted: TOKEN=… go run ./examples/go URL USER
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/e2ee"
)

func main() {
	ctx, url, user := context.Background(), os.Args[1], os.Args[2]
	token := func(context.Context) (string, error) { return os.Getenv("TOKEN"), nil }
	c, err := e2ee.Dial(ctx, client.Options{URL: url, User: user, Device: "go", Token: token, State: user + ".state"}, e2ee.Options{Keys: user + ".keys"})
	for err == nil {
		var event client.Event
		event, err = c.Receive(ctx) // asking for the next says that the one before was handled
		if m, ok := event.(client.Message); ok {
			fmt.Printf("%s: %s\n", m.From, m.Content)
			_, err = c.Send(ctx, string(m.From), append([]byte("you said "), m.Content...))
		}
	}
	log.Fatal(err)
}
