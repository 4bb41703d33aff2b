package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/storage/cql"
)

// smallCluster runs a gateway and a processor on the real servers, in this
// process, and returns a folder that says so, as scripts/cluster.sh makes one.
func smallCluster(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s, name := services.Get(t), fmt.Sprintf("bench_%d", time.Now().UnixNano())
	write("password", s.CassandraPassword)
	settings := func(role string) *config.Config {
		c := config.Default()
		c.Role, c.ID, c.Data = role, role+"-1", filepath.Join(dir, "data")
		c.Listen, c.Admin, c.Web.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		c.Pipeline.URL, c.Store.URL = "kafka://"+services.Kafka(t)+"/"+name, "cql://"+services.Cassandra(t)+"/"+name
		c.Presence.URL, c.Redis.Prefix = "redis://"+services.Redis(t), name
		c.CQL.User, c.CQL.PasswordFile = s.CassandraUser, filepath.Join(dir, "password")
		c.RPC.Plaintext, c.RPC.Listen = true, "127.0.0.1:0"
		c.Session.UnauthenticatedPerAddress, c.Drain.Grace = 1000, time.Second
		return c
	}
	k, err := backend.Kafka(settings("all"), nil)
	if err != nil {
		t.Fatal(err)
	}
	q, err := backend.CQL(settings("all"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := kafka.CreateTopics(t.Context(), k, kafka.Spec{Partitions: 2, Replicas: 1})
	_, err2 := cql.Migrate(t.Context(), q, "1")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	env := "DATA=" + filepath.Join(dir, "data") + "\n"
	for _, role := range []string{"processor", "gateway"} {
		up, err := server.Start(t.Context(), settings(role), server.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { up.Stop(context.Background()) })
		if role == "gateway" {
			env += "PLAIN=" + up.Addr().String() + "\n"
		} else {
			env += "PROCESSOR_1_ADMIN=" + up.AdminAddr().String() + "\n"
		}
		write(role+"-1/pid", fmt.Sprintf("%d 1\n", os.Getpid()))
	}
	write("gateway-1/log", "")
	write("env", env)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return dir
}

// What goes through a real cluster is counted by sessions and by the processor
// alike; how long it took is no matter here.
func TestRealOnASmallCluster(t *testing.T) {
	dir := smallCluster(t)
	res, err := Run(t.Context(), Options{
		Profile: "real", Cluster: dir, Connections: 12, Contacts: 4, Rate: 40, Warmup: time.Second, Duration: 3 * time.Second, Processes: 1,
	})
	if err != nil && !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	for _, why := range res.Invalid {
		if !strings.Contains(why, "fell behind") && !strings.Contains(why, " s instead of ") {
			t.Errorf("invalid: %s", why)
		}
	}
	if res.Sent == 0 || res.Refused != 0 || res.Accepted == 0 || res.Delivered == 0 || res.Stored == 0 || res.Receipts == 0 || res.Delivery.Count == 0 || res.Ack.Count == 0 {
		t.Errorf("%+v", res)
	}
	if at, err := openCluster(dir); err != nil {
		t.Error(err)
	} else if err := at.allStored(t.Context(), time.Minute); err != nil { // the next load waits for it
		t.Error(err)
	}
	if res.Contacts != 4 || res.Connections != 12 || len(res.ProcessCores) != 2 || res.MarkEveryMs != 200 {
		t.Errorf("contacts %d, connections %d, processes %v, a mark in %v ms", res.Contacts, res.Connections, res.ProcessCores, res.MarkEveryMs)
	}
}

// A load waits for an owner, and for what one before it left in the log, and not
// for ever.
func TestRealWaitsForWhatTheLogHas(t *testing.T) {
	looks, pages := 0, []string{"", lagGauge + "{partition=\"0\"} 512\n" + lagGauge + "{partition=\"1\"} 0\n", lagGauge + "{partition=\"0\"} 0\n"}
	owner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, pages[min(looks, len(pages)-1)])
		looks++
	}))
	defer owner.Close()
	idle := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // owns nothing
	defer idle.Close()
	defer http.DefaultClient.CloseIdleConnections()
	at := &target{admins: []string{idle.URL, owner.URL}}
	if err := at.allStored(t.Context(), time.Hour); err != nil || looks != len(pages) {
		t.Errorf("it went on after %d looks: %v", looks, err)
	}
	looks, pages = 0, pages[1:2]
	if err := at.allStored(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "512 positions") {
		t.Errorf("owners that never store: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := at.allStored(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("it was told to end: %v", err)
	}
}

// A folder that says of no cluster is said so, each time by what is missing.
func TestRealNeedsACluster(t *testing.T) {
	dir := t.TempDir()
	refused := func(words string) {
		t.Helper()
		_, err := Run(t.Context(), Options{Profile: "real", Cluster: dir})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused("no cluster is up in " + dir)
	write("env", "DATA=x\n")
	refused("no port without TLS")
	write("env", "PLAIN=127.0.0.1:1\n")
	refused("no processor")
	if err := os.Mkdir(filepath.Join(dir, "processor-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("processor-1/pid", "?")
	refused("no pid in " + filepath.Join(dir, "processor-1/pid"))
}
