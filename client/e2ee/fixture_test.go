package e2ee

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}

// world is a server, and devices that talk over it.
type world struct {
	*testing.T
	server *server.Server
	dir    string // the devices'
	data   string // the server's
	wire   tap
}

// tap keeps every byte that devices write.
type tap struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

type tapped struct {
	net.Conn
	to *tap
}

func (c tapped) Write(b []byte) (int, error) {
	c.to.mu.Lock()
	plain := bytes.Clone(b)
	unmask(plain)
	c.to.bytes.Write(plain)
	c.to.mu.Unlock()
	return c.Conn.Write(b)
}

// unmask undoes the masking of one client's frame; other bytes stay as they are.
func unmask(b []byte) {
	if len(b) < 6 || b[0] != 0x82 {
		return
	}
	at := 2
	switch b[1] & 0x7f {
	case 126:
		at = 4
	case 127:
		at = 10
	}
	if len(b) < at+4 {
		return
	}
	key := [4]byte(b[at:])
	for i := range b[at+4:] {
		b[at+4+i] ^= key[i%4]
	}
}

func newWorld(t *testing.T, change ...func(*config.Config)) *world {
	t.Helper()
	c := config.Default()
	c.Listen, c.Admin, c.Web.Listen, c.Data = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	c.Pipeline.SegmentBytes, c.Store.MemtableBytes, c.Store.CacheBytes = 4<<20, 4<<20, 8<<20
	c.Drain.Grace, c.Keys.Rate = time.Second, 100_000
	for _, f := range change {
		f(c)
	}
	s, err := server.Start(t.Context(), c, server.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return &world{T: t, server: s, dir: t.TempDir(), data: c.Data}
}

// device is one installation; its files stay when it is closed.
func (w *world) device(user, name string, change ...func(*Options)) *Client {
	w.Helper()
	c, err := w.dial(user, name, change...)
	w.must(err)
	w.must(c.Published(w.ctx()))
	return c
}

func (w *world) dial(user, name string, change ...func(*Options)) (*Client, error) {
	o := Options{Keys: filepath.Join(w.dir, user+"."+name+".keys"), Identity: filepath.Join(w.dir, user+".identity"), Refresh: time.Nanosecond}
	for _, f := range change {
		f(&o)
	}
	co := client.Options{
		URL: "ws://" + w.server.Addr().String(), User: user, Device: name, State: filepath.Join(w.dir, user+"."+name+".state"),
		Token: func(context.Context) (string, error) {
			return w.server.DevKey().Sign(auth.NewClaims("", user, name, time.Hour))
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return tapped{c, &w.wire}, err
		},
	}
	c, err := Dial(w.ctx(), co, o)
	if err == nil {
		w.Cleanup(func() { c.Close(context.Background()) })
	}
	return c, err
}

// wireBytes is how much devices have written.
func (w *world) wireBytes() int {
	w.wire.mu.Lock()
	defer w.wire.mu.Unlock()
	return w.wire.bytes.Len()
}

// ctx has no time of its own: what hangs ends with the time of all tests, and
// nothing depends on how fast a machine is.
func (w *world) ctx() context.Context { return w.Context() }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) send(c *Client, to, text string) chat.ID {
	w.Helper()
	s, err := c.Send(w.ctx(), to, []byte(text))
	w.must(err)
	w.must(s.Durable(w.ctx()))
	return s.ID()
}

// next returns the next event that is a message, copy or of this package.
func (w *world) next(c *Client) client.Event {
	w.Helper()
	for {
		e, err := c.Receive(w.ctx())
		w.must(err)
		switch e.(type) {
		case client.Message, client.Copy, Failed, Typed, IdentityChanged, BadKeys, client.Problem, GroupNamed, Unannounced, LeftOut:
			return e
		}
	}
}

// reads wants the next event to be a message with a text.
func (w *world) reads(c *Client, text string) client.Message {
	w.Helper()
	e := w.next(c)
	m, ok := e.(client.Message)
	if !ok || string(m.Content) != text || m.Suite != chat.SuiteMegolm {
		w.Fatalf("%s of %s: %T %+v, want %q", c.device, c.user, e, e, text)
	}
	return m
}

// raw returns the next message of the chain as the server gave it, of a suite.
func (w *world) raw(c *Client, suite uint8) chat.Message {
	w.Helper()
	for {
		e, err := c.Client.Receive(w.ctx())
		w.must(err)
		if m, ok := e.(client.Message); ok && m.Suite == suite {
			return m.Message
		}
	}
}
