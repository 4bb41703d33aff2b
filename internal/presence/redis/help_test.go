package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/presence/presencetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var phone = chat.Node{1}

// backend makes directories on one server, under a prefix of the test's own.
type backend struct {
	url, prefix string
	change      func(o *Options)
	raw         rueidis.Client
}

func newBackend(t testing.TB, address string) *backend {
	t.Helper()
	b := &backend{url: "redis://" + address, prefix: "test-" + rand.Text() + ":"}
	raw, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true, AlwaysPipelining: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	b.raw = raw
	return b
}

func (b *backend) options(id string, h presence.Handler) Options {
	o := Options{
		URL: b.url, Prefix: b.prefix, Handler: h, Lease: time.Second, Timeout: 10 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
	if id != "" {
		o.Gateway, o.Address = id, presencetest.Address(id)
	}
	if b.change != nil {
		b.change(&o)
	}
	return o
}

func (b *backend) Join(t testing.TB, id string, h presence.Handler) presence.Directory {
	t.Helper()
	return b.join(t, id, h)
}

func (b *backend) join(t testing.TB, id string, h presence.Handler) *Directory {
	t.Helper()
	d, err := Open(b.options(id, h))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	healthy(t, d)
	return d
}

func healthy(t testing.TB, d *Directory) {
	t.Helper()
	presencetest.Eventually(t, "health", func() bool { return d.Health() == nil })
}

func (b *backend) Lose(t testing.TB, d presence.Directory) {
	t.Helper()
	b.do(t, "DEL", d.(*Directory).keys.lease(d.(*Directory).opt.Gateway))
}

func (b *backend) Vanish(t testing.TB, dir presence.Directory) {
	t.Helper()
	d := dir.(*Directory)
	d.lease.mu.Lock()
	d.lease.held = false // so that Close does not give it back
	d.lease.mu.Unlock()
	d.Close()
	key := d.keys.lease(d.opt.Gateway)
	presencetest.Eventually(t, "the lease's end", func() bool { return b.do(t, "EXISTS", key) == "0" })
}

// do runs a command beside the directories.
func (b *backend) do(t testing.TB, args ...string) string {
	t.Helper()
	cmd := b.raw.B().Arbitrary(args[0])
	if len(args) > 1 {
		cmd = cmd.Keys(args[1])
		cmd = cmd.Args(args[2:]...)
	}
	return b.result(t, cmd.Build(), args)
}

// admin runs a command that has no key.
func (b *backend) admin(t testing.TB, args ...string) string {
	t.Helper()
	return b.result(t, b.raw.B().Arbitrary(args...).Build(), args)
}

func (b *backend) result(t testing.TB, cmd rueidis.Completed, args []string) string {
	t.Helper()
	v, err := b.raw.Do(context.Background(), cmd).ToAny()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%q: %v", args, err)
	}
	return fmt.Sprint(v)
}

func file(t testing.TB, content string) string {
	t.Helper()
	name := t.TempDir() + "/file"
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func session(user chat.User, node chat.Node, n uint64) presence.Session {
	return presence.Session{User: user, Node: node, Number: n}
}

func register(t testing.TB, d *Directory, user chat.User, n uint64) {
	t.Helper()
	if _, err := d.Register(t.Context(), session(user, phone, n)); err != nil {
		t.Fatal(err)
	}
}

// at says how many gateways have a user.
func at(t testing.TB, d *Directory, user chat.User) int {
	t.Helper()
	found, err := d.Where(t.Context(), []chat.User{user})
	if err != nil {
		t.Fatal(err)
	}
	return len(found[0])
}
