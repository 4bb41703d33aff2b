package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/presence/presencetest"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/packet"
)

// transcript collects what a server says.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// with returns the lines that have all these parts.
func (l *transcript) with(parts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for line := range strings.Lines(l.text.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// TestServersThatComeUpLater: a process whose log, store and directory are not
// there says so in a line each, with what it tried, names them in /readyz, and
// serves once they have come, one after the other. The directory is waited for
// by nobody.
func TestServersThatComeUpLater(t *testing.T) {
	broker, store, directory := services.Start(t, "kafka"), services.Start(t, "cassandra"), services.Start(t, "redis")
	cl := &testCluster{t: t, kafka: broker.Address, name: fmt.Sprintf("late_%d", clusters.Add(1)), dir: t.TempDir()}
	cl.secured = func(c *config.Config) {
		c.Store.URL = "cql://" + store.Address + "/" + cl.name
		c.Presence.URL = "redis://" + directory.Address
	}
	cl.prepare()
	for _, s := range []*services.Server{broker, store, directory} {
		s.Kill()
	}

	c := cl.config()
	c.ID, c.Data, c.Listen, c.Web.Listen, c.Admin = "late", cl.dir, "127.0.0.1:0", "127.0.0.1:0", freeAddress(t)
	said := &transcript{}
	type outcome struct {
		s   *Server
		err error
	}
	started := make(chan outcome, 1)
	go func() {
		s, err := Start(t.Context(), c, Options{Version: "test", Logger: slog.New(slog.NewTextHandler(said, nil))})
		started <- outcome{s, err}
	}()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	ready := func() (status int, body string) {
		r, err := client.Get("http://" + c.Admin + "/readyz")
		if err != nil {
			return 0, ""
		}
		defer r.Body.Close()
		all, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(all)
	}
	misses := func(log, store bool) func() bool {
		return func() bool {
			status, body := ready()
			return status == http.StatusServiceUnavailable && strings.Contains(body, "log at the start: ok") == !log && strings.Contains(body, "store at the start: ok") == !store
		}
	}
	presencetest.Eventually(t, "both are missed", misses(true, true))
	presencetest.Eventually(t, "it says so", func() bool {
		return len(said.with("log not reached", c.Pipeline.URL, "tries=1")) == 1 && len(said.with("store not reached", c.Store.URL, "tries=1")) == 1
	})
	presencetest.Eventually(t, "it tries again", func() bool {
		return len(said.with("log not reached", "tries=2")) == 1 && len(said.with("store not reached", "tries=2")) == 1
	})
	broker.Restart()
	presencetest.Eventually(t, "the store alone is missed", misses(false, true))
	store.Restart()
	var s *Server
	select {
	case o := <-started:
		must(t, o.err)
		s = o.s
	case <-time.After(4 * patience):
		_, body := ready()
		t.Fatalf("it did not start: %s", body)
	}
	t.Cleanup(func() { stopServer(t, s) })
	if status, body := ready(); status != http.StatusOK || !strings.Contains(body, "presence") {
		t.Errorf("without a directory: %d %s", status, body)
	}
	ann := dial(t, s, "ann", "phone", packet.ResumeCursor)
	ann.send("ben", "before the directory")
	expect[*packet.Accepted](ann)

	directory.Restart()
	presencetest.Eventually(t, "the directory is there", func() bool { return s.cluster.directory.Health() == nil })
	ben := dial(t, s, "ben", "phone", 0)
	if m := expect[*packet.Message](ben); string(m.Content) != "before the directory" {
		t.Errorf("ben got %+v", m)
	}
}
