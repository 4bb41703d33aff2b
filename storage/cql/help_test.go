package cql

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests are all of them, and then the keyspace they shared goes.
type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if shared.drop != nil {
		if err := shared.drop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// shared is the keyspace of the tests that need none of their own: to make the
// tables takes longer than most tests do.
var shared struct {
	options Options
	drop    func() error
}

// fresh are options for the shared keyspace, which is emptied. What is in it
// need not survive anything.
func fresh(t testing.TB) Options {
	t.Helper()
	first := shared.drop == nil
	if first {
		o := bare(services.Cassandra(t), services.Get(t))
		_, err := Migrate(t.Context(), o, "1")
		must(t, err)
		shared.options, shared.drop = o, func() error { return dropKeyspace(o) }
	}
	s := session(t, shared.options, shared.options.Keyspace)
	defer s.Close()
	if first {
		must(t, s.Query("ALTER KEYSPACE "+shared.options.Keyspace+" WITH durable_writes = false").Exec())
	}
	for _, table := range tables {
		must(t, s.Query("TRUNCATE "+table).Exec())
	}
	return shared.options
}

// day0 is when the tests' ids begin, ms since 1970.
const day0 = 1_750_000_000_000

var keyspaces atomic.Int64

// bare are options for a server, with a keyspace that is nobody else's. By the
// clock of the store it is some time before day0, so that no row of a test dies
// while it runs.
func bare(address string, s services.Servers) Options {
	return Options{
		Hosts: []string{address}, User: s.CassandraUser, Password: s.CassandraPassword,
		Keyspace: fmt.Sprintf("test_%d_%d", time.Now().UnixNano(), keyspaces.Add(1)), Connections: 1,
		Logger: slog.New(slog.DiscardHandler), Now: func() int64 { return day0 - 60*dayMs },
	}
}

// own are options for a keyspace that goes when the test ends.
func own(t testing.TB, address string, s services.Servers) Options {
	t.Helper()
	o := bare(address, s)
	t.Cleanup(func() {
		if err := dropKeyspace(o); err != nil {
			t.Error(err)
		}
	})
	return o
}

// session is the driver's, beside the store's.
func session(t testing.TB, o Options, keyspace string) *gocql.Session {
	t.Helper()
	s, err := sessionOf(o, keyspace)
	must(t, err)
	return s
}

func sessionOf(o Options, keyspace string) (*gocql.Session, error) {
	o.setDefaults()
	c, err := o.cluster()
	if err != nil {
		return nil, err
	}
	c.Keyspace = keyspace
	c.PoolConfig.HostSelectionPolicy = gocql.RoundRobinHostPolicy()
	return newSession(c)
}

func dropKeyspace(o Options) error {
	s, err := sessionOf(o, "")
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Query("DROP KEYSPACE IF EXISTS " + o.Keyspace).Exec()
}

// open migrates and opens.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	_, err := Migrate(t.Context(), o, "1")
	must(t, err)
	s, err := Open(o)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// idAt makes an id of a time; node tells apart what is of one time.
func idAt(ms int64, node byte) chat.ID {
	return chat.NewID(chat.Ticks(time.UnixMilli(ms)), 7, chat.Node{1, 2, 3, 4, 5, node})
}

func text(from, to chat.User, ms int64, place chat.Position) chat.Message {
	return chat.Message{
		ID: idAt(ms, 0), From: from, To: to, Place: place, At: ms + 3,
		Content: fmt.Appendf(nil, "%s to %s at %d", from, to, ms),
	}
}

func entryOf(m chat.Message) chat.Entry {
	return chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: m.Place, Message: m}
}

// eventually tries until it works, or the test's time is over.
func eventually(t testing.TB, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("never: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tables are those that hold what is stored.
var tables = []string{"messages", "chat_buckets", "inbox", "users", "peers", "devices", "partitions", "sweeps", "user_keys", "group_members"}
