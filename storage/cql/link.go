package cql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"
)

// link is the way to the cluster: the driver's session, made anew when it does
// not find back, and the bound of requests under way.
type link struct {
	opt *Options
	log *slog.Logger

	session atomic.Pointer[gocql.Session]
	lost    chan struct{} // holds one when a request found no node
	hosts   atomic.Int32  // that are up, where requests go

	// A request holds a token. There are InFlight of them for each node.
	tokens  chan struct{}
	mu      sync.Mutex
	granted int // guarded by mu: tokens there are

	requests, errors, reconnects atomic.Uint64
}

// maxNodes is how many nodes' requests are told apart; more share.
const maxNodes = 256

// connect makes a link, or says what was tried.
func connect(o *Options) (*link, error) {
	l := &link{opt: o, log: o.Logger, lost: make(chan struct{}, 1), tokens: make(chan struct{}, maxNodes*o.InFlight)}
	session, err := l.open()
	if err != nil {
		return nil, noKeyspace(o, err)
	}
	l.session.Store(session)
	l.countHosts()
	return l, nil
}

func (l *link) open() (*gocql.Session, error) {
	c, err := l.opt.cluster()
	if err != nil {
		return nil, err
	}
	session, err := newSession(c)
	if err != nil {
		return nil, explain(l.opt, err)
	}
	return session, nil
}

// newSession is the driver's, which would leave goroutines behind where it
// fails.
func newSession(c *gocql.ClusterConfig) (*gocql.Session, error) {
	session, err := gocql.NewSessionNonBlocking(*c)
	if err != nil {
		return nil, err
	}
	if err := session.WaitUntilReady(); err != nil {
		session.Close()
		return nil, err
	}
	return session, nil
}

// explain says what a failure to connect comes from, as far as can be told.
func explain(o *Options, err error) error {
	at := strings.Join(o.Hosts, ", ")
	text := strings.ToLower(err.Error())
	switch {
	case strings.Contains(text, "authenticat") || strings.Contains(text, "password") || strings.Contains(text, "credentials"):
		return fmt.Errorf("storage/cql: %s refuses the log-in of user %q: check user and password (%w)", at, o.User, err)
	case strings.Contains(text, "x509") || strings.Contains(text, "tls"):
		return fmt.Errorf("storage/cql: %s and this process do not agree on TLS: check the CA, certificate and key (%w)", at, err)
	}
	return fmt.Errorf("storage/cql: no node answers at %s: check that the database runs and can be reached (%w)", at, err)
}

// noKeyspace says so where that is why: the driver tells only its log.
func noKeyspace(o *Options, err error) error {
	c, _ := o.cluster()
	c.Keyspace = ""
	c.PoolConfig.HostSelectionPolicy = o.hostPolicy()
	session, other := newSession(c)
	if other != nil {
		return err
	}
	session.Close()
	return fmt.Errorf("storage/cql: keyspace %s cannot be used at %s: run 'rookery admin schema' (%w)", o.Keyspace, strings.Join(o.Hosts, ", "), err)
}

func (l *link) close() { l.session.Load().Close() }

// do makes a request under the bound. Where the session has no node, or loses
// the one it asked, it tries again for a moment: nodes come back, and sessions
// are replaced.
func (l *link) do(ctx context.Context, request func(*gocql.Session) error) error {
	select {
	case <-l.tokens:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { l.tokens <- struct{}{} }()
	wait := firstWait
	for {
		l.requests.Add(1)
		err := request(l.session.Load())
		if err == nil {
			return nil
		}
		l.errors.Add(1)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !noNode(err) {
			return err
		}
		select {
		case l.lost <- struct{}{}:
		default:
		}
		if wait > lastWait {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

// The waits of do for a node, which double.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 200 * time.Millisecond
)

// noNode reports whether the session knows no node that it is connected to.
func noNode(err error) bool {
	for _, e := range []error{
		gocql.ErrNoConnections, gocql.ErrNoConnectionsInPool, gocql.ErrNoPool, gocql.ErrHostDown,
		gocql.ErrConnectionClosed, gocql.ErrSessionClosed, gocql.ErrNoConnectionsStarted,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (l *link) ping(ctx context.Context) error {
	err := l.do(ctx, func(s *gocql.Session) error {
		return s.QueryWithContext(ctx, "SELECT key FROM system.local").Consistency(gocql.One).Exec()
	})
	if err != nil && ctx.Err() == nil {
		return explain(l.opt, err)
	}
	return err
}

// Of watch.
const (
	hostsEvery   = 2 * time.Second // nodes are counted
	patience     = 5 * time.Second // the driver has to find back by itself
	pingEvery    = 250 * time.Millisecond
	pingPatience = 2 * time.Second
)

// watch keeps the session alive until ctx ends.
func (l *link) watch(ctx context.Context) {
	count := time.NewTicker(hostsEvery)
	defer count.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-count.C:
			l.countHosts()
		case <-l.lost:
			l.recover(ctx)
		}
	}
}

// recover waits until requests go through again. A driver's session may stay
// without nodes for ever: when it does for too long, another one takes its place.
func (l *link) recover(ctx context.Context) {
	since, loud := time.Now(), true
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, pingPatience)
		err := l.ping(try)
		cancel()
		if err == nil {
			if !loud {
				l.log.Info("store: the database answers again", "after", time.Since(since).Round(time.Millisecond))
			}
			l.countHosts()
			return
		}
		if loud && ctx.Err() == nil {
			l.log.Warn("store: the database does not answer, trying again", "err", err)
			loud = false
		}
		if time.Since(since) > patience && l.replace() == nil {
			continue
		}
		select {
		case <-time.After(pingEvery):
		case <-ctx.Done():
		}
	}
}

// replace puts a new session in the place of the old one, whose requests fail
// and are tried again by who asked.
func (l *link) replace() error {
	session, err := l.open()
	if err != nil {
		return err
	}
	l.reconnects.Add(1)
	l.session.Swap(session).Close()
	return nil
}

// countHosts gives as many tokens as the nodes that are up may have requests.
func (l *link) countHosts() {
	up := 0
	for _, h := range l.session.Load().GetHosts() {
		if h.IsUp() && (l.opt.DC == "" || h.DataCenter() == l.opt.DC) {
			up++
		}
	}
	l.hosts.Store(int32(up))
	l.mu.Lock()
	defer l.mu.Unlock()
	want := l.opt.InFlight * min(max(up, 1), maxNodes)
	for ; l.granted < want; l.granted++ {
		l.tokens <- struct{}{}
	}
	for l.granted > want {
		select {
		case <-l.tokens:
			l.granted--
		default: // all in use: next time
			return
		}
	}
}

// speculation is nil where there is no other node to ask: the driver would
// take that for the answer.
func (l *link) speculation() gocql.SpeculativeExecutionPolicy {
	n := min(l.opt.Speculations, int(l.hosts.Load())-1)
	if n < 1 {
		return nil
	}
	return &gocql.SimpleSpeculativeExecution{NumAttempts: n, TimeoutDelay: l.opt.SpeculateAfter}
}

func (l *link) stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{
		NodesUp: int(l.hosts.Load()), InFlight: l.granted - len(l.tokens), InFlightMax: l.granted,
		RequestsTotal: l.requests.Load(), ErrorsTotal: l.errors.Load(), ReconnectsTotal: l.reconnects.Load(),
	}
}
