// Package gateway is a session's life: handshake and token, hello and welcome,
// checking and numbering of sends, acknowledgements when the log is durable,
// catch-up from the inbox, live entries by the chain, limits, heartbeat, drain.
//
// Everything of a session is touched on its loop only. Nothing on a loop
// blocks: reads of the store are jobs on a bounded pool of workers, whose
// results come back through the loop's mailbox.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/keydir"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/proxyaddr"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// Log is where sends go; see pipeline.Log.
type Log interface {
	End(partition int) chat.Position
	MaxRecords() int
	TryAppend(partition int, batch []byte, count int, done func(first chat.Position, err error)) error
}

// Owners says who owns a user and how far that partition is stored.
type Owners interface {
	// Users of the same partition are applied together.
	Partition(user []byte) int
	Node(user chat.User, device chat.Device) chat.Node

	// Applied is asked afresh for each page: every entry whose hint went out
	// before the call has to be at or below the answer (law 6).
	Applied(ctx context.Context, user chat.User) (chat.Position, error)
}

// Identity is what a token says.
type Identity struct {
	User    chat.User
	Device  chat.Device // "" when the token is not bound to one
	Expires time.Time
	Issued  time.Time // it was not issued later; zero when it does not say
}

// Options are the gateway's settings. DefaultOptions fills them; limits are
// told to clients in the welcome packet.
type Options struct {
	Verify func(token string) (Identity, error) // errors are *chat.Error

	// CheckPush says what is wrong with a token of a push provider, as a
	// *chat.Error. nil: this server pushes nothing, and says so.
	CheckPush func(provider, token string) error

	Origins []string // allowed Origin values; "*" is any. Requests without Origin pass

	HandshakeTimeout time.Duration // from accept to the end of the handshake
	HelloTimeout     time.Duration // from the handshake to hello
	Heartbeat        time.Duration // silence after which the server pings
	Idle             time.Duration // silence after which it closes
	ExpiryNotice     time.Duration // how long before the token's end the client is warned

	MessageBytes int  // one WebSocket message
	ContentBytes int  // a send's content
	MediaBytes   int  // a send's media URL
	Deflate      bool // offer permessage-deflate

	Rate      int // packets a second and session; sends over it are refused
	RateBurst int // packets at once
	RateBytes int // bytes a second and session, also the burst

	Inflight    int // sends taken but not yet durable, a session
	Window      int // entries delivered but not marked, a session
	WindowBytes int // the same in bytes
	Watches     int // users watched, a session
	Devices     int // of a user; a new one over it is refused
	HistoryRows int // messages a history page
	ChatRows    int // chats a page
	Waiting     int // up to which waiting entries are counted
	Requests    int // requests at work at once, a session

	Keys    keydir.Limits // of public keys
	KeyRate int           // packets about keys a minute and session, also at once

	GroupMembers int // members of a group; 0: this server has no groups
	GroupInfo    int // bytes of a group's name and picture
	Blocks       int // users that one has blocked; 0: nobody blocks here

	FutureLimit time.Duration // how far ahead an id's time may be
	RetryAge    time.Duration // how old an id may be
	MaxTTL      time.Duration // the longest time to live

	Workers           int               // goroutines that read the store
	Jobs              int               // jobs that may wait for them
	BatchBytes        int               // bytes a loop gathers for one partition at most
	PendingPerAddress int               // connections without a session, per client address
	Proxy             proxyaddr.Mode    // how a balancer in front says who the client is
	Trusted           proxyaddr.Trusted // the balancers' addresses; others are clients themselves
	Elsewhere         *Elsewhere        // the other gateways; nil when there are none
	DrainURL          string            // where clients go when this server drains; "" is the same place
	DrainJitter       time.Duration     // clients come back within it
	Logger            *slog.Logger
}

// DefaultOptions returns the documented defaults. Verify has none.
func DefaultOptions() Options {
	return Options{
		HandshakeTimeout: 10 * time.Second, HelloTimeout: 10 * time.Second,
		Heartbeat: 60 * time.Second, Idle: 150 * time.Second, ExpiryNotice: time.Minute,
		MessageBytes: 256 << 10, ContentBytes: 64 << 10, MediaBytes: 2048,
		Rate: 1000, RateBurst: 4096, RateBytes: 4 << 20,
		Inflight: 4096, Window: 1024, WindowBytes: 256 << 10, Watches: 256, Devices: 64,
		HistoryRows: 100, ChatRows: 100, Waiting: 10_000, Requests: 16,
		Keys: keydir.DefaultLimits(), KeyRate: 120,
		GroupMembers: 1024, GroupInfo: 16 << 10, Blocks: 1000,
		FutureLimit: 10 * time.Second, RetryAge: 30 * 24 * time.Hour, MaxTTL: 365 * 24 * time.Hour,
		Workers: 16, Jobs: 16384, BatchBytes: 1 << 20, PendingPerAddress: 4096,
		DrainJitter: 5 * time.Second, Logger: slog.Default(),
	}
}

// Validate reports all faults together.
func (o *Options) Validate() error {
	var errs []error
	bad := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New("gateway: "+text))
		}
	}
	bad(o.Verify != nil, "no token verifier")
	bad(o.Idle > o.Heartbeat && o.Heartbeat > 0, "idle must be longer than heartbeat, and both positive")
	bad(o.HandshakeTimeout > 0 && o.HelloTimeout > 0, "handshake and hello timeouts must be positive")
	bad(o.ContentBytes > 0 && o.ContentBytes < o.MessageBytes, "content bytes must be below message bytes")
	bad(o.Rate > 0 && o.RateBurst > 0 && o.RateBytes > 0, "rates must be positive")
	bad(o.Inflight > 0 && o.Window > 1 && o.WindowBytes > 0, "windows must be positive")
	bad(o.Devices > 0, "devices must be positive")
	bad(o.Watches > 0 && o.HistoryRows > 0 && o.ChatRows > 0 && o.Requests > 0, "request limits must be positive")
	bad(o.Requests <= math.MaxUint8, "requests must be at most 255, what a session counts up to")
	bad(o.KeyRate > 0, "the rate of packets about keys must be positive")
	bad(o.Keys.Validate() == nil, "the limits of keys do not hold")
	bad(o.Workers > 0 && o.Jobs > 0 && o.BatchBytes > 0 && o.PendingPerAddress > 0, "workers, jobs, batch bytes and pending per address must be positive")
	bad(o.Proxy == proxyaddr.None || len(o.Trusted) > 0, "no trusted balancers, and nobody else could say who a client is")
	return errors.Join(errs...)
}

// Gateway is the engine.Handler of all sessions of a process.
type Gateway struct {
	Stats Stats

	opt      Options
	limits   frame.Limits
	told     []byte // limits, encoded for every welcome; not changed any more
	route    atomic.Pointer[Route]
	store    storage.Store
	owners   Owners
	presence *presence.Memory
	keys     *keydir.Directory

	maxRecords int // of one append
	jobs       *workers

	announcements announcements
	life          context.Context // of what settles batches
	stop          context.CancelFunc
	settling      sync.WaitGroup
	draining      atomic.Bool
	loops         [256]atomic.Pointer[engine.Loop] // entered by each loop at its first call

	untold    sync.Once // a balancer that does not name clients was logged
	pendingMu sync.Mutex
	pending   map[netip.Addr]int // connections without a session
}

// New returns a Gateway with its workers running; Close ends them.
func New(opt Options, log Log, store storage.Store, owners Owners, p *presence.Memory) (*Gateway, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		opt: opt, store: store, owners: owners, presence: p, maxRecords: log.MaxRecords(),
		limits:  frame.Limits{MessageBytes: opt.MessageBytes, Deflate: opt.Deflate},
		told:    packet.EncodeLimits(opt.limitsTold()),
		keys:    keydir.New(store, opt.Keys),
		jobs:    startWorkers(opt.Workers, opt.Jobs),
		pending: map[netip.Addr]int{},
	}
	g.life, g.stop = context.WithCancel(context.Background())
	g.route.Store(&Route{Log: log, Partition: owners.Partition})
	return g, nil
}

// Close ends the workers. The engine must have stopped.
func (g *Gateway) Close() {
	g.stop()
	g.settling.Wait()
	g.jobs.stop()
}

// loopState is what the gateway keeps for one loop; touched on that loop only.
type loopState struct {
	g        *Gateway
	loop     *engine.Loop
	sessions engine.Slab[session]
	lives    engine.Slab[atomic.Uint32] // see lease
	working  working
	route    *Route     // of what is appended
	under    int        // batches with the log, or not settled
	batches  []*batch   // by partition, nil while empty
	free     []*batch   // to be used again
	dirty    []*session // with an open frame
	retry    []*session // that found the job queue full
	audits   audited    // of this turn
	send     packetSend // decode target, so that it does not escape per packet
	scratch  []byte
}

func (g *Gateway) state(l *engine.Loop) *loopState {
	if st, ok := l.Data.(*loopState); ok {
		return st
	}
	st := &loopState{g: g, loop: l, route: g.route.Load()}
	l.Data = st
	g.loops[l.Index()].Store(l)
	return st
}

// Open starts a connection's life: it has HandshakeTimeout to become a session.
func (g *Gateway) Open(c *engine.Conn) {
	st := g.state(c.Loop())
	st.lives.Reach(c.Slot()).Add(1)
	s := st.sessions.Reach(c.Slot())
	*s = session{conn: c, work: s.work}
	if s.work == nil {
		st.wake(s)
	} else { // of the slot's last session, which has ended only now
		st.renew(s)
	}
	if !g.arrive(s) {
		s.state = closing
		c.Close()
		return
	}
	c.SetDeadline(st.loop.NowMs() + g.opt.HandshakeTimeout.Milliseconds())
}

// Data takes bytes off a connection.
func (g *Gateway) Data(c *engine.Conn, in []byte) {
	s := sessionAt(c)
	if s.state == handshaking {
		in = g.handshake(s, in)
	}
	if s.state != handshaking && s.state != closing && len(in) > 0 {
		s.hear(s.st().loop.NowMs())
		g.frames(s, in)
	}
}

// Closed ends the session.
func (g *Gateway) Closed(c *engine.Conn, err error) {
	s := sessionAt(c)
	if s.conn != c {
		return // Open did not come so far
	}
	g.leavePending(s)
	g.leave(s)
	s.reader.Release()
	s.state = closing
	s.gone = true
	s.st().lives.At(c.Slot()).Add(1)
	s.named("", "")
	s.rare = nil
}

// Drained goes on with a catch-up that waited for the socket.
func (g *Gateway) Drained(c *engine.Conn) {
	if s := sessionAt(c); s.state == catching {
		g.readOn(s)
	}
}

// Turn hands batches to the log and closes the frames of this turn.
func (g *Gateway) Turn(l *engine.Loop) {
	st := g.state(l)
	for _, b := range st.batches {
		if b != nil {
			st.flush(b)
		}
	}
	if st.moving() {
		st.move()
	}
	if len(st.retry) > 0 {
		waiting := st.retry
		st.retry = nil
		for _, s := range waiting {
			s.queued = false
			if s.state == catching {
				g.readOn(s)
			}
		}
	}
	if len(st.audits.users) > 0 {
		g.auditNow(st)
	}
	for _, s := range st.dirty {
		s.endFrame()
		s.dirty = false
	}
	st.rest(l.NowMs())
	clear(st.dirty)
	st.dirty = st.dirty[:0]
}

// post runs f on the loop of a session with the session, if it is still there.
// It reports whether f will run or the session is known to be gone: false means
// only that the loop has stopped.
func (g *Gateway) post(ref presence.Ref, f func(s *session)) bool {
	id := engine.ID(ref)
	l := g.loops[id.Loop()].Load()
	return l != nil && l.Post(func(l *engine.Loop) {
		if s := sessionOf(l, id); s != nil {
			f(s)
		}
	})
}

func sessionOf(l *engine.Loop, id engine.ID) *session {
	c := l.Conn(id)
	if c == nil {
		return nil
	}
	return sessionAt(c)
}

// restingAt is the session of a connection, which may have no work: those of
// its fields are not there then.
func restingAt(c *engine.Conn) *session {
	return c.Loop().Data.(*loopState).sessions.At(c.Slot())
}

// sessionAt is the session of a connection, with work.
func sessionAt(c *engine.Conn) *session {
	s := restingAt(c)
	if s.work == nil {
		c.Loop().Data.(*loopState).wake(s)
	}
	return s
}
