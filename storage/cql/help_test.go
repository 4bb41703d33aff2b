package cql

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// day0 is when the tests' ids begin, ms since 1970.
const day0 = 1_750_000_000_000

var keyspaces atomic.Int64

// at are options for a server, with a keyspace that goes when the test ends. By
// the clock of the store it is some time before day0, so that no row of a test
// dies while it runs.
func at(t testing.TB, address, user, password string) Options {
	t.Helper()
	o := Options{
		Hosts: []string{address}, User: user, Password: password,
		Keyspace: fmt.Sprintf("test_%d_%d", time.Now().UnixNano(), keyspaces.Add(1)),
		Logger:   slog.New(slog.DiscardHandler), Now: func() int64 { return day0 - 60*dayMs },
	}
	t.Cleanup(func() { dropKeyspace(t, o) })
	return o
}

func options(t testing.TB) Options {
	t.Helper()
	s := services.Get(t)
	return at(t, services.Cassandra(t), s.CassandraUser, s.CassandraPassword)
}

// session is the driver's, beside the store's.
func session(t testing.TB, o Options, keyspace string) *gocql.Session {
	t.Helper()
	o.setDefaults()
	c, err := o.cluster()
	must(t, err)
	c.Keyspace = keyspace
	c.PoolConfig.HostSelectionPolicy = gocql.RoundRobinHostPolicy()
	s, err := c.CreateSession()
	must(t, err)
	return s
}

func dropKeyspace(t testing.TB, o Options) {
	s := session(t, o, "")
	defer s.Close()
	if err := s.Query("DROP KEYSPACE IF EXISTS " + o.Keyspace).Exec(); err != nil {
		t.Error(err)
	}
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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
var tables = []string{"messages", "chat_buckets", "inbox", "users", "peers", "devices", "partitions", "sweeps"}

// empty empties the keyspace of a session.
func empty(t testing.TB, s *gocql.Session) {
	t.Helper()
	for _, table := range tables {
		must(t, s.Query("TRUNCATE "+table).Exec())
	}
}
