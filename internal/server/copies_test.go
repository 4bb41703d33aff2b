package server

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/config"
)

// Who has another device gets a copy of each message of this one too. Who sends
// more of them than the server sends ahead of marks, and receives nothing, learns
// all the same that they were delivered.
func TestTicksOfWhoOnlySends(t *testing.T) {
	const window, messages = 8, 50
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Window = window })
	user := func(name, device string) *client.Client {
		c, err := client.Dial(t.Context(), client.Options{
			URL: "ws://" + s.Addr().String(), User: name, Device: device,
			Token: func(context.Context) (string, error) { return token(t, s, name, device, time.Hour), nil },
		})
		must(t, err)
		t.Cleanup(func() { c.Close(context.Background()) })
		return c
	}
	user("alice", "web")
	bob, alice := user("bob", "phone"), user("alice", "phone")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		for {
			if _, err := bob.Receive(ctx); err != nil {
				return
			}
		}
	}()
	for i := range messages {
		sent, err := alice.Send(ctx, "bob", []byte(strconv.Itoa(i)))
		must(t, err)
		for status := chat.Status(0); status < chat.Delivered; {
			if _, err := alice.Receive(ctx); err != nil {
				t.Fatalf("of message %d: %v", i, err)
			}
			status, err = sent.Status()
			must(t, err)
		}
	}
}
