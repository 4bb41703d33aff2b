package server

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/storage/cql"
)

var clusters atomic.Int64

// testCluster is gateways and processors of this test's own topic, keyspace and
// prefix on the real servers.
type testCluster struct {
	t    *testing.T
	name string
	dir  string // with the development key that all take
	n    int
}

func newCluster(t *testing.T) *testCluster {
	t.Helper()
	cl := &testCluster{t: t, name: fmt.Sprintf("cluster_%d_%d", time.Now().UnixNano(), clusters.Add(1)), dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(cl.dir, "cassandra"), []byte(services.Get(t).CassandraPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	cl.settings(c, "all")
	k, err := backend.Kafka(c, nil)
	must(t, err)
	_, err = kafka.CreateTopics(t.Context(), k, kafka.Spec{Partitions: 4, Replicas: 1})
	must(t, err)
	q, err := backend.CQL(c, nil)
	must(t, err)
	_, err = cql.Migrate(t.Context(), q, "1")
	must(t, err)
	return cl
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (cl *testCluster) settings(c *config.Config, role string) {
	s := services.Get(cl.t)
	c.Role = role
	c.Pipeline.URL = "kafka://" + services.Kafka(cl.t) + "/" + cl.name
	c.Store.URL = "cql://" + services.Cassandra(cl.t) + "/" + cl.name
	c.Presence.URL = "redis://" + services.Redis(cl.t)
	c.Redis.Prefix = cl.name
	c.CQL.User, c.CQL.PasswordFile = s.CassandraUser, filepath.Join(cl.dir, "cassandra")
	c.RPC.Plaintext, c.RPC.Listen = true, "127.0.0.1:0"
}

// start starts a process of the cluster.
func (cl *testCluster) start(role string, change func(*config.Config)) *Server {
	cl.t.Helper()
	cl.n++
	return startServer(cl.t, cl.dir, func(c *config.Config) {
		cl.settings(c, role)
		c.ID = fmt.Sprintf("%s-%d", role, cl.n)
		if change != nil {
			change(c)
		}
	})
}

// A message crosses everything: from a session at one gateway through the log to
// a processor, the store, and a session at another gateway; the ticks come back.
func TestAMessageCrossesTheCluster(t *testing.T) {
	cl := newCluster(t)
	cl.start("processor", nil)
	first, second := cl.start("gateway", nil), cl.start("gateway", nil)
	bob := dial(t, second, "bob", "phone", packet.ResumeCursor)
	expect[*packet.CaughtUp](bob)
	alice := dial(t, first, "alice", "phone", packet.ResumeCursor)
	id := alice.send("bob", "hi")
	accepted := expect[*packet.Accepted](alice)
	m := expect[*packet.Message](bob)
	if m.ID != id || string(m.From) != "alice" || string(m.Content) != "hi" || m.Pos != accepted.Pos {
		t.Errorf("bob got %+v, accepted at %v", m, accepted.Pos)
	}
	bob.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); string(r.Peer) != "bob" || r.Delivered != m.Pos || r.Read != 0 {
		t.Errorf("after mark: %+v", r)
	}
	bob.put(&packet.Read{Peer: []byte("alice"), Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Read != m.Pos || r.Delivered != m.Pos {
		t.Errorf("after read: %+v", r)
	}
}
