package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

// gnet starts a pool of its own when it is imported, for the whole process.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// start serves on a free port until the test ends.
func start(t *testing.T) (*Server, string) {
	t.Helper()
	s, err := Listen(Options{Listen: "127.0.0.1:0", Version: "v1", Level: new(slog.LevelVar)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, "http://" + s.Addr().String()
}

func request(t *testing.T, method, url, body string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestReadiness walks a server's life: coming up, up, a dependency gone and
// back, going away. It is healthy all along.
func TestReadiness(t *testing.T) {
	s, url := start(t)
	var missing error
	s.Check("log", func(context.Context) error { return nil })
	s.Check("store", func(context.Context) error { return missing })
	expect := func(step string, status int, words ...string) {
		t.Helper()
		got, text := request(t, "GET", url+"/readyz", "")
		if got != status {
			t.Errorf("%s: %d, want %d\n%s", step, got, status, text)
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in\n%s", step, w, text)
			}
		}
		if got, _ := request(t, "GET", url+"/readyz?unready=404", ""); (got == 200) != (status == 200) || got != 200 && got != 404 {
			t.Errorf("%s: %d for a balancer that asked for 404", step, got)
		}
		if s.ready() != (status == 200) {
			t.Errorf("%s: the metric says %v", step, s.ready())
		}
		if health, _ := request(t, "GET", url+"/healthz", ""); health != 200 {
			t.Errorf("%s: health %d", step, health)
		}
	}
	expect("coming up", 503, "not ready", "start: still coming up", "log: ok")
	s.Started()
	expect("up", 200, "ready\n", "log: ok", "store: ok")
	missing = errors.New("writes are stalled")
	expect("store stalls", 503, "store: writes are stalled", "log: ok")
	missing = nil
	expect("store is back", 200)
	s.Drain()
	expect("draining", 503, "drain: going away")
}

// TestSlowCheck holds that a check that hangs is cut off.
func TestSlowCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		s.Started()
		s.Check("hangs", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if s.ready() {
			t.Error("ready without an answer")
		}
	})
}

func TestRoutes(t *testing.T) {
	_, url := start(t)
	for path, want := range map[string]string{
		"/":                         "/readyz",
		"/debug/pprof/":             "goroutine",
		"/debug/pprof/heap?debug=1": "heap profile",
		"/debug/pprof/cmdline":      "admin",
		"/metrics":                  "go_goroutines",
	} {
		if status, text := request(t, "GET", url+path, ""); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d, no %q", path, status, want)
		}
	}
	if status, _ := request(t, "GET", url+"/nowhere", ""); status != 404 {
		t.Errorf("/nowhere: %d", status)
	}
	if status, _ := request(t, "POST", url+"/healthz", ""); status != 405 {
		t.Errorf("POST /healthz: %d", status)
	}
}

func TestLogLevel(t *testing.T) {
	s, url := start(t)
	if _, text := request(t, "GET", url+"/debug/loglevel", ""); text != "info\n" {
		t.Errorf("at first %q", text)
	}
	if status, text := request(t, "PUT", url+"/debug/loglevel", "debug\n"); status != 200 || text != "debug\n" || s.level.Level() != slog.LevelDebug {
		t.Errorf("%d %q, level %v", status, text, s.level.Level())
	}
	if status, text := request(t, "PUT", url+"/debug/loglevel", "loud"); status != 400 || !strings.Contains(text, "none of") {
		t.Errorf("%d %q", status, text)
	}
	if status, _ := request(t, "POST", url+"/debug/loglevel", "warn"); status != 405 || s.level.Level() != slog.LevelDebug {
		t.Errorf("POST: %d, level %v", status, s.level.Level())
	}
}

func TestAddressTaken(t *testing.T) {
	s, _ := start(t)
	if _, err := Listen(Options{Listen: s.Addr().String()}); err == nil {
		t.Error("two servers on one address")
	}
}

func TestStopWithoutServe(t *testing.T) {
	s, err := Listen(Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(Options{Listen: s.Addr().String()})
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	again.Stop(context.Background())
}

func TestLogger(t *testing.T) {
	for format, want := range map[string]string{"json": `"users":3`, "text": "users=3"} {
		var b bytes.Buffer
		l, level, err := NewLogger(&b, format, "warn")
		if err != nil {
			t.Fatal(err)
		}
		l.Info("unseen")
		l.Warn("seen", "users", 3)
		level.Set(slog.LevelDebug)
		l.Debug("later")
		if s := b.String(); strings.Contains(s, "unseen") || !strings.Contains(s, want) || !strings.Contains(s, "later") {
			t.Errorf("%s:\n%s", format, s)
		}
	}
	if _, _, err := NewLogger(io.Discard, "xml", "info"); err == nil {
		t.Error("format xml was taken")
	}
	if _, _, err := NewLogger(io.Discard, "json", "loud"); err == nil {
		t.Error("level loud was taken")
	}
}

// TestLoggerKeepsSecrets passes what must never be written under all its names.
func TestLoggerKeepsSecrets(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var b bytes.Buffer
		l, _, err := NewLogger(&b, format, "debug")
		if err != nil {
			t.Fatal(err)
		}
		for name := range secretNames {
			l.Info("m", strings.ToUpper(name), "H1DDEN")
			l.With(name, "H1DDEN").WithGroup("g").Info("m", slog.Group("h", name, "H1DDEN"))
		}
		l.Info("m", "anything", []byte("H1DDEN"), "nested", slog.GroupValue(slog.Any("raw", []byte("H1DDEN"))))
		if strings.Contains(b.String(), "H1DDEN") || strings.Contains(b.String(), "SDFEREVO") {
			t.Errorf("%s:\n%s", format, b.String())
		}
		if !strings.Contains(b.String(), "[6 bytes]") {
			t.Errorf("%s: no size of bytes", format)
		}
	}
}
