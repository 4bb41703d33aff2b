// Package admin is what operators see: health, readiness, metrics, profiles and
// the log. It alone imports the Prometheus client; other packages export plain
// counters, which the files here name and document.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTimeout bounds one readiness check.
const checkTimeout = 2 * time.Second

// Server answers on the admin address. Everything but Serve may be called at
// any time from any goroutine.
type Server struct {
	registry *prometheus.Registry
	level    *slog.LevelVar
	http     *http.Server
	listener net.Listener

	started  atomic.Bool
	draining atomic.Bool

	mu     sync.Mutex
	checks []check
}

// check is one condition of readiness.
type check struct {
	graceful bool // it does not make the server unready
	name     string
	run      func(context.Context) error
}

// Options are a Server's settings.
type Options struct {
	Listen  string         // host:port
	Version string         // for rookery_build_info
	Level   *slog.LevelVar // what /debug/loglevel shows and sets
	Logger  *slog.Logger   // of the HTTP server's own faults
}

// Listen returns a Server that listens, and answers once Serve runs.
func Listen(o Options) (*Server, error) {
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	s := &Server{level: o.Level, listener: l}
	s.registry = newRegistry(o.Version, s.ready)
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	if o.Logger != nil {
		s.http.ErrorLog = slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn)
	}
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until Stop; then it returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Stop ends Serve when the requests under way are answered, or at once when
// ctx ends.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.listener.Close() // Serve may never have run
	return err
}

// Check adds a condition of readiness. run gets two seconds, and says in its
// error what is missing.
func (s *Server) Check(name string, run func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name: name, run: run})
}

// Tell adds something that readiness tells of without depending on it: what all
// servers lack alike is no reason to send clients away.
func (s *Server) Tell(name string, run func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name: name, run: run, graceful: true})
}

// Started says that the server has come up; before, it is not ready.
func (s *Server) Started() { s.started.Store(true) }

// Drain says that the server is going away; from now on it is not ready.
func (s *Server) Drain() { s.draining.Store(true) }

// Register adds metrics. It panics when a name is taken.
func (s *Server) Register(metrics ...Metrics) {
	for _, m := range metrics {
		s.registry.MustRegister(m.collector)
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		Timeout: 10 * time.Second, MaxRequestsInFlight: 4,
	}))
	mux.HandleFunc("GET /debug/loglevel", s.showLevel)
	mux.HandleFunc("PUT /debug/loglevel", s.setLevel)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, `Rookery, for its operators
/healthz         200 while the process answers
/readyz          200 when clients may be sent here; else 503 (?unready=404: 404) and why
/metrics         Prometheus
/debug/loglevel  GET, or PUT debug, info, warn or error
/debug/pprof/    profiles
`)
}

// condition is the outcome of a check; its err is nil when it holds.
type condition struct {
	name     string
	err      error
	graceful bool
}

// conditions runs all checks at once.
func (s *Server) conditions(ctx context.Context) []condition {
	s.mu.Lock()
	checks := s.checks[:len(s.checks):len(s.checks)]
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	list := make([]condition, len(checks), len(checks)+2)
	var wait sync.WaitGroup
	for i, c := range checks {
		wait.Go(func() { list[i] = condition{c.name, c.run(ctx), c.graceful} })
	}
	wait.Wait()
	if !s.started.Load() {
		list = append(list, condition{name: "start", err: errors.New("still coming up")})
	}
	if s.draining.Load() {
		list = append(list, condition{name: "drain", err: errors.New("going away")})
	}
	return list
}

// ready reports whether all conditions hold.
func (s *Server) ready() bool {
	for _, c := range s.conditions(context.Background()) {
		if c.err != nil && !c.graceful {
			return false
		}
	}
	return true
}

// readyz answers 200 or, with what is missing, 503. A balancer that tells
// "nobody new, but who is connected stays" from "dead" by a 404, as HAProxy
// does, asks for that with ?unready=404.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	unready := http.StatusServiceUnavailable
	if r.URL.Query().Get("unready") == "404" {
		unready = http.StatusNotFound
	}
	status, body := http.StatusOK, strings.Builder{}
	for _, c := range s.conditions(r.Context()) {
		if c.err != nil {
			if !c.graceful {
				status = unready
			}
			fmt.Fprintf(&body, "%s: %s\n", c.name, c.err)
			continue
		}
		fmt.Fprintf(&body, "%s: ok\n", c.name)
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		io.WriteString(w, "ready\n")
	} else {
		io.WriteString(w, "not ready\n")
	}
	io.WriteString(w, body.String())
}

func (s *Server) showLevel(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, strings.ToLower(s.level.Level().String()))
}

func (s *Server) setLevel(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(io.LimitReader(r.Body, 64))
	level, err := parseLevel(strings.TrimSpace(string(b)))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.level.Set(level)
	s.showLevel(w, r)
}
