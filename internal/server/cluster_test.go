package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/shard"
	"github.com/rookery-chat/rookery/storage/cql"
)

var clusters atomic.Int64

// testCluster is gateways and processors of this test's own topic, keyspace and
// prefix on the real servers.
type testCluster struct {
	t     *testing.T
	name  string
	dir   string // with the development key that all take
	kafka string
	n     int

	secured func(*config.Config) // how its processes log in, where they have to
	logger  *slog.Logger         // of its processes, nil for the test's
}

func newCluster(t *testing.T) *testCluster {
	t.Helper()
	return newClusterOn(t, services.Kafka(t))
}

// newClusterOn is newCluster with another Kafka.
func newClusterOn(t *testing.T, broker string) *testCluster {
	t.Helper()
	cl := &testCluster{t: t, kafka: broker, name: fmt.Sprintf("cluster_%d_%d", time.Now().UnixNano(), clusters.Add(1)), dir: t.TempDir()}
	cl.prepare()
	return cl
}

// prepare makes the cluster's topic and keyspace.
func (cl *testCluster) prepare() {
	t := cl.t
	t.Helper()
	if err := os.WriteFile(filepath.Join(cl.dir, "cassandra"), []byte(services.Get(t).CassandraPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	c := cl.config()
	k, err := backend.Kafka(c, nil)
	must(t, err)
	_, err = kafka.CreateTopics(t.Context(), k, kafka.Spec{Partitions: 4, Replicas: 1})
	must(t, err)
	q, err := backend.CQL(c, nil)
	must(t, err)
	_, err = cql.Migrate(t.Context(), q, "1")
	must(t, err)
}

// log opens the log as a process of the cluster does.
func (cl *testCluster) log() *kafka.Log {
	cl.t.Helper()
	c := cl.config()
	o, err := backend.Kafka(c, nil)
	must(cl.t, err)
	l, err := kafka.Open(cl.t.Context(), o)
	must(cl.t, err)
	return l
}

func (cl *testCluster) store() *cql.Store {
	cl.t.Helper()
	c := cl.config()
	o, err := backend.CQL(c, nil)
	must(cl.t, err)
	s, err := cql.Open(o)
	must(cl.t, err)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// config is that of a process which is a gateway and a processor.
func (cl *testCluster) config() *config.Config {
	c := config.Default()
	cl.settings(c, "all")
	return c
}

func (cl *testCluster) settings(c *config.Config, role string) {
	s := services.Get(cl.t)
	c.Role = role
	c.Pipeline.URL = "kafka://" + cl.kafka + "/" + cl.name
	c.Store.URL = "cql://" + services.Cassandra(cl.t) + "/" + cl.name
	c.Presence.URL = "redis://" + services.Redis(cl.t)
	c.Redis.Prefix = cl.name
	c.CQL.User, c.CQL.PasswordFile = s.CassandraUser, filepath.Join(cl.dir, "cassandra")
	c.RPC.Plaintext, c.RPC.Listen = true, "127.0.0.1:0"
	if cl.secured != nil {
		cl.secured(c)
	}
}

// start starts a process of the cluster.
func (cl *testCluster) start(role string, change func(*config.Config)) *Server {
	cl.t.Helper()
	cl.n++
	all := func(c *config.Config) {
		cl.settings(c, role)
		c.ID = fmt.Sprintf("%s-%d", role, cl.n)
		if change != nil {
			change(c)
		}
	}
	if cl.logger != nil {
		return startLogged(cl.t, cl.dir, cl.logger, all)
	}
	return startServer(cl.t, cl.dir, all)
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

// What lies in the log, the store and the directory on the way of a message.
func TestWhatAMessageLeavesBehind(t *testing.T) {
	cl := newCluster(t)
	cl.start("processor", nil)
	first, second := cl.start("gateway", nil), cl.start("gateway", nil)
	bob := dial(t, second, "bob", "phone", packet.ResumeCursor)
	expect[*packet.CaughtUp](bob)
	alice := dial(t, first, "alice", "phone", packet.ResumeCursor)
	id := alice.send("bob", "hi")
	accepted := expect[*packet.Accepted](alice)
	expect[*packet.Message](bob)

	l := cl.log()
	defer l.Close()
	part := shard.NewRing(l.Partitions(), l.Key()).PartitionOf("bob")
	b, err := l.Read(t.Context(), part, 0, 1<<20)
	must(t, err)
	raw, _, err := record.NextFramed(b.Records)
	must(t, err)
	var r record.Record
	if err := r.Decode(raw); err != nil || r.ID != id || string(r.Content) != "hi" || b.First != accepted.Pos {
		t.Errorf("the log has %+v at %v, %v; accepted at %v", r, b.First, err, accepted.Pos)
	}

	st := cl.store()
	defer st.Close()
	m, found, err := st.Message(t.Context(), chat.DirectChat("alice", "bob"), id, 0)
	if err != nil || !found || m.Place != accepted.Pos || string(m.Content) != "hi" || m.To != "bob" {
		t.Errorf("the store has %+v, %v, %v", m, found, err)
	}

	at, err := first.cluster.directory.Where(t.Context(), []chat.User{"alice", "bob", "carol"})
	must(t, err)
	if len(at[0]) != 1 || at[0][0].ID != first.cluster.id || len(at[1]) != 1 || at[1][0].ID != second.cluster.id || len(at[2]) != 0 {
		t.Errorf("the directory says %v", at)
	}
}

// With brokers that wrote what they say they did not, a sender's retries yield
// neither two messages nor two pushes.
func TestAmbiguousAppendsYieldOneMessage(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	must(t, err)
	t.Cleanup(broker.Close)
	cl := newClusterOn(t, broker.ListenAddrs()[0])
	s := cl.start("all", func(c *config.Config) { c.Push.Delay = time.Hour }) // it counts, and tells nobody
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	expect[*packet.CaughtUp](bob)
	line := newLine(t, s.Addr().String())
	alice, err := client.Dial(t.Context(), client.Options{
		URL: "ws://" + line.Addr().String(), User: "alice", Device: "phone", State: filepath.Join(t.TempDir(), "state"),
		Token: func(context.Context) (string, error) { return token(t, s, "alice", "phone", time.Hour), nil },
	})
	must(t, err)
	t.Cleanup(func() { alice.Close(context.Background()) })

	const rounds = 12
	for i := range rounds {
		answer := []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend}[i%2]
		broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: answer, Count: 1 + i%3})
		var waits []*client.Sent
		for _, to := range []string{"bob", "carol"} { // carol is nowhere
			sent, err := alice.Send(t.Context(), to, []byte(fmt.Sprint(i)))
			must(t, err)
			waits = append(waits, sent)
		}
		if i%4 == 3 { // what is not acknowledged comes again
			line.cut()
		}
		for _, sent := range waits {
			must(t, sent.Durable(t.Context()))
		}
	}
	for i := range rounds {
		if m := expect[*packet.Message](bob); string(m.Content) != fmt.Sprint(i) {
			t.Fatalf("bob's message %d is %q", i, m.Content)
		}
	}
	l := cl.log()
	defer l.Close()
	ends := make([]chat.Position, l.Partitions())
	for p := range ends {
		ends[p] = l.End(p)
	}
	must(t, s.awaitApplied(t.Context(), ends))
	carol := dial(t, s, "carol", "phone", packet.ResumeCursor)
	if carol.welcome.Waiting != rounds || s.push.Stats.Offered.Load() != rounds {
		t.Errorf("%d messages wait for carol, %d pushes were thought of, %d were sent", carol.welcome.Waiting, s.push.Stats.Offered.Load(), rounds)
	}
}

// line passes connections on to a server until it is cut.
type line struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l := &line{Listener: listener}
	var running sync.WaitGroup
	pipe := func(dst, src net.Conn) {
		io.Copy(dst, src)
		dst.Close()
		src.Close()
	}
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			l.mu.Lock()
			l.conns = append(l.conns, in, out)
			l.mu.Unlock()
			running.Go(func() { pipe(in, out) })
			running.Go(func() { pipe(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		l.cut()
		running.Wait()
	})
	return l
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

// With Kafka gone nothing is acknowledged, and who sends is told to wait.
func TestKafkaGone(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	must(t, err)
	t.Cleanup(broker.Close)
	cl := newClusterOn(t, broker.ListenAddrs()[0])
	s := cl.start("all", nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	alice.send("bob", "before")
	if a := expect[*packet.Accepted](alice); a.N != 1 {
		t.Fatalf("accepted %+v", a)
	}
	broker.Close()
	alice.send("bob", "on its way when it goes")
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for s.log.(*kafka.Log).Err() == nil { // the brokers are silent for too long
		<-look.C
	}
	alice.send("bob", "waits with the gateway")
	alice.put(&packet.Ping{})
	for pong := false; !pong; { // the gateway has offered it to the log
		_, pong = alice.next().(*packet.Pong)
	}
	alice.send("bob", "refused")
	for {
		switch p := alice.next().(type) {
		case *packet.Accepted:
			t.Fatalf("accepted %+v", p)
		case *packet.Refused:
			if p.N != 4 || p.Code != chat.CodeOverloaded || p.Retry == 0 {
				t.Errorf("refused %+v", p)
			}
			return
		}
	}
}
