package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/redis/rueidis"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/certs"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/packet"
)

// newSecuredCluster is a cluster in which nothing is said in the clear, and
// everybody shows who he is: Kafka by SASL over TLS, Cassandra by a password and
// a certificate, Redis by a user with a password and a certificate, processes
// to each other by certificates.
func newSecuredCluster(t *testing.T) *testCluster {
	t.Helper()
	s := services.Get(t)
	cl := &testCluster{t: t, kafka: s.KafkaSASL, name: fmt.Sprintf("secured_%d", time.Now().UnixNano()), dir: t.TempDir()}
	made, err := certs.Make(certs.Request{Dir: filepath.Join(cl.dir, "links"), Name: "process"})
	must(t, err)
	password := func(name, secret string) string {
		path := filepath.Join(cl.dir, name)
		must(t, os.WriteFile(path, []byte(secret), 0o600))
		return path
	}
	kafkaFile, redisFile := password("kafka", s.KafkaPassword), password("redis", s.RedisPassword)
	mine := config.TLS{On: true, Certs: config.Certs{CA: s.TLSCA, Cert: s.TLSCert, Key: s.TLSKey}}
	cl.secured = func(c *config.Config) {
		c.Kafka.SASL, c.Kafka.User, c.Kafka.PasswordFile = "scram-sha-512", s.KafkaUser, kafkaFile
		c.Kafka.TLS = mine
		c.Store.URL, c.CQL.TLS = "cql://"+s.CassandraTLS+"/"+cl.name, mine
		c.Presence.URL = "rediss://" + s.RedisUser + "@" + s.RedisTLS
		c.Redis.PasswordFile, c.Redis.Certs = redisFile, mine.Certs
		c.RPC.Plaintext = false
		c.RPC.Certs = config.Certs{CA: made.Files.CA, Cert: made.Files.Cert, Key: made.Files.Key}
	}
	_, _, err = auth.LoadOrCreateDevKey(cl.dir)
	must(t, err)
	cl.prepare()
	return cl
}

// startBehind starts gateways that a balancer with TLS stands before.
func (cl *testCluster) startBehind(n int) *haproxy {
	cl.t.Helper()
	var behind []*gatewayProcess
	for i := range n {
		s := cl.start("gateway", func(c *config.Config) {
			c.Auth.DevKey = "true"
			c.ListenProxy, c.ListenTrusted = "proxy", []string{"127.0.0.1"}
			c.Session.Watches = numberBase + i + 1
		})
		behind = append(behind, &gatewayProcess{addr: s.Addr().String(), admin: s.AdminAddr().String()})
	}
	return startBalancer(cl.t, filepath.Join(cl.dir, auth.DevKeyFile), nil, behind...)
}

// at connects somebody whom the balancer sends to a gateway.
func (h *haproxy) at(number int, who string) *wire {
	h.t.Helper()
	for i := range 1000 {
		user := fmt.Sprint(who, i)
		w, at := h.dial(user, "/ws/"+user)
		if at == number {
			return w
		}
		w.net.Close()
	}
	h.t.Fatalf("of 1000 users none is at gateway %d", number)
	return nil
}

// A message crosses everything, all of it over TLS and logged in: from alice
// through HAProxy at gateway 1 to bob at gateway 3. The log, the store and the
// directory are read by drivers that know nothing of ours.
func TestAMessageCrossesEverythingSecured(t *testing.T) {
	cl := newSecuredCluster(t)
	cl.start("processor", nil)
	h := cl.startBehind(3)
	alice, bob := h.at(1, "alice"), h.at(3, "bob")
	id := alice.send(bob.user, "through everything")
	accepted := expect[*packet.Accepted](alice)
	m := expect[*packet.Message](bob)
	if m.ID != id || string(m.From) != alice.user || string(m.Content) != "through everything" || m.Pos != accepted.Pos {
		t.Errorf("bob got %+v, accepted at %v", m, accepted.Pos)
	}
	bob.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); string(r.Peer) != bob.user || r.Delivered != m.Pos || r.Read != 0 {
		t.Errorf("after mark: %+v", r)
	}
	bob.put(&packet.Read{Peer: []byte(alice.user), Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Read != m.Pos || r.Delivered != m.Pos {
		t.Errorf("after read: %+v", r)
	}
	cl.inKafka("through everything", accepted.Pos)
	cl.inCassandra(id, alice.user, bob.user, "through everything", accepted.Pos)
	cl.inRedis(alice.user, "gateway-2") // the processor is the first that was started
	cl.inRedis(bob.user, "gateway-4")
}

// serversTLS is how a client that is not ours reaches the servers.
func serversTLS(t *testing.T) *tls.Config {
	t.Helper()
	s := services.Get(t)
	pem, err := os.ReadFile(s.TLSCA)
	must(t, err)
	cert, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, ServerName: "localhost"}
}

// inKafka holds that the log's topic has one record with a content, at a place:
// the last of c messages in the record at offset o is at (o+1)*256.
func (cl *testCluster) inKafka(content string, at chat.Position) {
	cl.t.Helper()
	s := services.Get(cl.t)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.KafkaSASL), kgo.DialTLSConfig(serversTLS(cl.t)), kgo.ConsumeTopics(cl.name+".0"),
		kgo.SASL(scram.Auth{User: s.KafkaUser, Pass: s.KafkaPassword}.AsSha512Mechanism()))
	must(cl.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(cl.t.Context(), patience)
	defer cancel()
	for {
		fetches := client.PollFetches(ctx)
		must(cl.t, fetches.Err())
		for r := range fetches.RecordsAll() {
			if !bytes.Contains(r.Value, []byte(content)) {
				continue
			}
			if place := chat.Position(r.Offset+1) * 256; place != at {
				cl.t.Errorf("the record at offset %d is the place %d, accepted at %d", r.Offset, place, at)
			}
			return
		}
	}
}

// inCassandra holds that the table has one message, which is this.
func (cl *testCluster) inCassandra(id chat.ID, from, to, content string, at chat.Position) {
	cl.t.Helper()
	s := services.Get(cl.t)
	c := gocql.NewCluster(s.CassandraTLS)
	c.Authenticator = gocql.PasswordAuthenticator{Username: s.CassandraUser, Password: s.CassandraPassword}
	c.SslOpts = &gocql.SslOptions{Config: serversTLS(cl.t), EnableHostVerification: true}
	c.Keyspace, c.Timeout = cl.name, patience
	session, err := c.CreateSession()
	must(cl.t, err)
	defer session.Close()
	rows := session.Query("SELECT id, sender, receiver, content, place FROM messages").Iter()
	var (
		gotID            gocql.UUID
		sender, receiver string
		bytes            []byte
		place            int64
	)
	if n := rows.NumRows(); n != 1 || !rows.Scan(&gotID, &sender, &receiver, &bytes, &place) {
		cl.t.Fatalf("the table has %d rows, %v", n, rows.Close())
	}
	if gotID != gocql.UUID(id) || sender != from || receiver != to || string(bytes) != content || place != int64(at) {
		cl.t.Errorf("the row is %v from %s to %s %q at %d", gotID, sender, receiver, bytes, place)
	}
}

// inRedis holds that a user's key says at which gateway the one session is.
func (cl *testCluster) inRedis(user, gateway string) {
	cl.t.Helper()
	s := services.Get(cl.t)
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.RedisTLS}, Username: s.RedisUser, Password: s.RedisPassword, TLSConfig: serversTLS(cl.t), DisableCache: true,
	})
	must(cl.t, err)
	defer client.Close()
	found, err := client.Do(cl.t.Context(), client.B().Scan().Cursor(0).Match(cl.name+":u:*}"+user).Count(1<<20).Build()).AsScanEntry()
	must(cl.t, err)
	if len(found.Elements) != 1 {
		cl.t.Fatalf("%s has the keys %q", user, found.Elements)
	}
	entries, err := client.Do(cl.t.Context(), client.B().Hvals().Key(found.Elements[0]).Build()).AsStrSlice()
	must(cl.t, err)
	if len(entries) != 1 || !bytes.HasSuffix([]byte(entries[0]), []byte(" "+gateway)) {
		cl.t.Errorf("%s is at %q, not at %s", user, entries, gateway)
	}
}
