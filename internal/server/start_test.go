package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/doctor"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/pipeline/local"
	"github.com/rookery-chat/rookery/shard"
)

// appendAhead puts messages for bob into the log of a server that is down, as
// they are there after a power cut which the store was not synced before.
func appendAhead(t *testing.T, dir string, batches, each int) {
	t.Helper()
	log, err := local.Open(local.Options{Dir: filepath.Join(dir, "log"), Partitions: config.Default().Pipeline.Partitions, SegmentBytes: 4 << 20, BlockBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	part := shard.NewRing(log.Partitions(), log.Identity()).Partition([]byte("bob"))
	clock := chat.NewClock(chat.Node{1}, 1, chat.ID{})
	for range batches {
		var batch []byte
		for range each {
			batch = record.AppendFramed(batch, &record.Record{
				Kind: record.Message, At: chat.MillisNow(), User: []byte("bob"), Peer: []byte("alice"), Device: []byte("phone"),
				ID: clock.Next(time.Now()), Content: []byte("before the power went"),
			})
		}
		durable := make(chan error, 1)
		if err := log.Append(part, batch, each, func(_ chat.Position, err error) { durable <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-durable; err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// What was in the log may have been shown before it ended, so nobody is let in
// before it is stored again.
func TestTheLogsEndIsAppliedBeforeReady(t *testing.T) {
	dir := t.TempDir()
	stopServer(t, startServer(t, dir, nil))
	const batches, each = 20, 2000
	appendAhead(t, dir, batches, each)
	s := startServer(t, dir, nil)
	for p, st := range s.shards.Stats() {
		if st.Applied < st.End {
			t.Errorf("partition %d is ready at %v, its log ends at %v", p, st.Applied, st.End)
		}
	}
	if bob := dial(t, s, "bob", "phone", packet.ResumeCursor); bob.welcome.Waiting != 10_000 { // it counts no further
		t.Errorf("%d of %d messages wait", bob.welcome.Waiting, batches*each)
	}
}

// The doctor looks at a lock, by its name.
func TestTheDoctorKnowsTheLock(t *testing.T) {
	dir := t.TempDir()
	startServer(t, dir, nil)
	if _, err := os.Stat(filepath.Join(dir, doctor.LockFile)); err != nil {
		t.Error(err)
	}
}

func TestWaitingForTheLogsEndHeedsItsContext(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.awaitApplied(ctx, []chat.Position{1 << 40}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A start is held up by a key set that does not come. Meanwhile the server is
// alive and not ready; then the start fails and leaves nothing running.
func TestWhileItComesUpTheAdminAddressAnswers(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := unix.Mkfifo(keys, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Web.Listen = "127.0.0.1:0"
	c.Listen, c.Admin, c.Data, c.Auth.Keys = "127.0.0.1:0", freeAddress(t), filepath.Join(dir, "data"), keys
	failed := make(chan error, 1)
	go func() {
		_, err := Start(t.Context(), c, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
		failed <- err
	}()
	fifo, err := os.OpenFile(keys, os.O_WRONLY, 0) // waits for its reader
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "start: still coming up"} {
		r, err := client.Get("http://" + c.Admin + path)
		if err != nil {
			t.Error(err)
			continue
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if !strings.Contains(string(body), want) || r.StatusCode == http.StatusOK == (path == "/readyz") {
			t.Errorf("%s: %s %q", path, r.Status, body)
		}
	}
	fifo.WriteString("no key set")
	fifo.Close()
	if err := <-failed; err == nil {
		t.Error("it started without keys")
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
