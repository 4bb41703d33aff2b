package e2ee

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/packet"
)

// breaking is a link whose connection breaks while something is asked.
type breaking struct {
	Link
	asked chan struct{} // set: the next question gets no answer
	ended chan struct{} // the connection's end
}

func (l *breaking) Keys(ctx context.Context, users ...string) ([]packet.UserKeys, error) {
	if l.asked == nil {
		return l.Link.Keys(ctx, users...)
	}
	close(l.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

func (l *breaking) Session() <-chan struct{} { return l.ended }

// A message to devices that are known does not wait for a connection that breaks
// while they are looked up anew.
func TestConnectionBreaksInLookup(t *testing.T) {
	w := newWorld(t)
	w.device("bob", "phone")
	c, err := client.Dial(w.ctx(), client.Options{
		URL: "ws://" + w.server.Addr().String(), User: "alice", Device: "phone",
		Token: func(context.Context) (string, error) {
			return w.server.DevKey().Sign(auth.NewClaims("", "alice", "phone", time.Hour))
		},
	})
	w.must(err)
	t.Cleanup(func() { c.Close(context.Background()) })
	l := &breaking{Link: link{c}, ended: make(chan struct{})}
	m, err := OpenMachine("alice", "phone", l, nil, Options{Keys: filepath.Join(w.dir, "alice.keys"), Refresh: time.Nanosecond})
	w.must(err)
	m.Start()
	t.Cleanup(func() { m.Stop(); m.Close() })
	w.must(m.Published(w.ctx()))
	_, done, err := m.Ready(w.ctx(), "bob", TypeBody, []byte("one"))
	w.must(err)
	done()
	l.asked = make(chan struct{})
	ready := make(chan error, 1)
	go func() {
		_, done, err := m.Ready(w.ctx(), "bob", TypeBody, []byte("two"))
		if err == nil {
			done()
		}
		ready <- err
	}()
	<-l.asked
	close(l.ended)
	w.must(<-ready)
}
