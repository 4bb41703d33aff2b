package e2ee

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/auth"
)

// gate is in a device's connection: while it is locked, the device hears nothing
// of what the server says.
type gate struct{ sync.Mutex }

type gated struct {
	net.Conn
	gate *gate
}

func (c gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.Lock()
	defer c.gate.Unlock()
	return n, err
}

// deafening is a link on which nothing is heard once a key share leaves.
type deafening struct {
	Link
	leaves func()
}

func (l deafening) SendShare(ctx context.Context, to string, content []byte, ttl time.Duration) (func(context.Context) error, error) {
	l.leaves()
	return l.Link.SendShare(ctx, to, content, ttl)
}

// The first message of a session stays where it is until the sender has heard that
// the server has the session's key durably, although what else it sends leaves.
func TestFirstMessageWaitsForKeyShare(t *testing.T) {
	w := newWorld(t)
	bob := w.device("bob", "phone")
	var g gate
	lock, unlock := sync.OnceFunc(g.Lock), sync.OnceFunc(g.Unlock)
	co := client.Options{
		URL: "ws://" + w.server.Addr().String(), User: "alice", Device: "phone",
		Token: func(context.Context) (string, error) {
			return w.server.DevKey().Sign(auth.NewClaims("", "alice", "phone", time.Hour))
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return gated{c, &g}, err
		},
	}
	alice, err := Dial(w.ctx(), co, Options{
		Keys: filepath.Join(w.dir, "alice.keys"), wrap: func(l Link) Link { return deafening{l, lock} },
	})
	w.must(err)
	t.Cleanup(func() { alice.Close(context.Background()) })
	w.must(alice.Published(w.ctx()))

	sent := make(chan error, 1)
	go func() {
		s, err := alice.Send(w.ctx(), "bob", []byte("first"))
		if err == nil {
			err = s.Durable(w.ctx())
		}
		sent <- err
	}()
	arrives := func(want uint8) {
		t.Helper()
		for {
			e, err := bob.Client.Receive(w.ctx())
			w.must(err)
			if m, ok := e.(client.Message); ok {
				if m.Suite != want {
					t.Fatalf("a message of suite %d came, want %d", m.Suite, want)
				}
				return
			}
		}
	}
	arrives(chat.SuiteKeyShare) // the server has it, and has said so
	defer unlock()
	if _, err := alice.Client.Send(w.ctx(), "bob", []byte("another"), client.SendOptions{Suite: chat.SuitePlain}); err != nil {
		t.Fatal(err)
	}
	arrives(chat.SuitePlain)
	unlock()
	arrives(chat.SuiteMegolm)
	w.must(<-sent)
}
