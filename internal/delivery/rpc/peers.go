package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/certs"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/presence"
)

// Options are the settings of Peers.
type Options struct {
	TLS       *certs.Source // whom this side believes, and as whom it comes
	Plaintext bool          // without TLS, to loopback addresses alone

	QueueBytes   int           // of a peer, not sent or not answered; over it what comes is dropped; 0 is 4 MiB
	FrameBytes   int           // over it a frame takes no more; 0 is 64 KiB
	FrameHints   int           // the same in hints and other items; 0 is 256
	Window       int           // frames without an answer; 0 is 16
	IdleAfter    time.Duration // a peer that was not used, or not reached, for so long is closed; 0 is 1 min
	ReconnectMax time.Duration // longest pause between attempts to reach a peer; 0 is 2 s

	// Stale is told when a gateway answers that a user is not there. It must not
	// block. May be nil.
	Stale  func(user chat.User, at presence.Gateway)
	Logger *slog.Logger // nil is slog.Default
}

const (
	reconnectMin = 50 * time.Millisecond
	maxFillBytes = 1 << 20 // the most that FrameBytes may be
)

// Validate reports all that is wrong.
func (o *Options) Validate() error {
	var faults []error
	if _, err := newSecurity(o.TLS, o.Plaintext); err != nil {
		faults = append(faults, err)
	}
	check := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("rpc: "+format, args...))
		}
	}
	check(o.QueueBytes < 0, "QueueBytes is %d: it has to be positive", o.QueueBytes)
	check(o.FrameBytes < 0 || o.FrameBytes > maxFillBytes, "FrameBytes is %d: it has to be 1 to %d", o.FrameBytes, maxFillBytes)
	check(o.FrameHints < 0, "FrameHints is %d: it has to be positive", o.FrameHints)
	check(o.Window < 0, "Window is %d: it has to be positive", o.Window)
	check(o.IdleAfter < 0, "IdleAfter is %v: it has to be positive", o.IdleAfter)
	check(o.ReconnectMax < 0 || o.ReconnectMax > 0 && o.ReconnectMax < reconnectMin, "ReconnectMax is %v: it has to be %v or more", o.ReconnectMax, reconnectMin)
	return errors.Join(faults...)
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.QueueBytes, 4 << 20}, {&o.FrameBytes, 64 << 10}, {&o.FrameHints, 256}, {&o.Window, 16}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.IdleAfter == 0 {
		o.IdleAfter = time.Minute
	}
	if o.ReconnectMax == 0 {
		o.ReconnectMax = 2 * time.Second
	}
	if o.Stale == nil {
		o.Stale = func(chat.User, presence.Gateway) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Stats counts what went out. Items are hints, and what else frames carry.
type Stats struct {
	Peers  atomic.Int64 // known now
	Bytes  atomic.Int64 // queued and not answered, of all
	Frames atomic.Uint64
	Items  atomic.Uint64 // sent
	Stale  atomic.Uint64 // users that were not where they were sought
	Breaks atomic.Uint64 // streams that ended, and attempts that failed

	DroppedFull        atomic.Uint64 // items: the peer's queue was full
	DroppedLarge       atomic.Uint64 // an item larger than a frame may be
	DroppedBroken      atomic.Uint64 // sent and not answered when the stream ended
	DroppedUnreachable atomic.Uint64 // the peer was given up
	DroppedClosed      atomic.Uint64 // Peers was closed
}

// Peers are the processes that this one sends hints to. Its methods are safe
// for concurrent use.
type Peers struct {
	Stats Stats

	opt  Options
	dial []grpc.DialOption

	mu     sync.RWMutex
	peers  map[presence.Gateway]*peer
	closed bool

	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup
}

// NewPeers returns Peers without a connection: each is made with the first use.
func NewPeers(o Options) (*Peers, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	p := &Peers{opt: o, peers: map[presence.Gateway]*peer{}}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.dial = []grpc.DialOption{
		grpc.WithTransportCredentials(security{o.TLS}), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(1<<20), grpc.MaxCallSendMsgSize(maxFrameBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: o.ReconnectMax},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
	return p, nil
}

// Send queues a hint. It does not block and keeps nothing; what does not fit is
// dropped and counted.
func (p *Peers) Send(to presence.Gateway, h *delivery.Hint) {
	p.queue(to, func(q *peer) error { return q.hint(h) })
}

// Typing queues that a user types, or no longer does.
func (p *Peers) Typing(at presence.Gateway, from, to chat.User, on bool) {
	p.addFrame(at, &Frame{Typing: []*Typing{{From: string(from), To: string(to), On: on}}})
}

// Replaced queues that a device's sessions with a lower number end.
func (p *Peers) Replaced(at presence.Gateway, user chat.User, node chat.Node, session uint64) {
	p.addFrame(at, &Frame{Replaced: []*Replaced{{User: string(user), Node: node[:], Session: session}}})
}

// addFrame queues what a frame holds: encoded messages that follow each other
// are one.
func (p *Peers) addFrame(at presence.Gateway, f *Frame) {
	p.queue(at, func(q *peer) error { return q.add(func(b []byte) []byte { return appendFrame(b, f) }) })
}

func appendFrame(b []byte, f *Frame) []byte {
	b, err := proto.MarshalOptions{}.MarshalAppend(b, f)
	if err != nil { // names that are no UTF-8, which cannot be
		panic(err)
	}
	return b
}

// Errors of Siblings.
var (
	ErrClosed = errors.New("rpc: closed")
	ErrBusy   = errors.New("rpc: too many calls to this gateway are under way")
	ErrBroken = errors.New("rpc: the gateway was not reached, or the link to it broke")
	ErrFull   = errors.New("rpc: the queue to this gateway is full")
)

// Siblings makes the user's sessions at a gateway send copies from now on, and
// returns when all of them have been told. When the link breaks the call is not
// repeated; it may have been done.
func (p *Peers) Siblings(ctx context.Context, to presence.Gateway, user chat.User) error {
	return p.call(ctx, to, user, "")
}

// Revoked ends the sessions at a gateway of a device that was revoked, and
// returns when all of them have been told; else it is as Siblings.
func (p *Peers) Revoked(ctx context.Context, to presence.Gateway, user chat.User, device chat.Device) error {
	return p.call(ctx, to, user, device)
}

func (p *Peers) call(ctx context.Context, to presence.Gateway, user chat.User, revoked chat.Device) error {
	return p.at(to, func(q *peer) error { return q.call(ctx, user, revoked) })
}

// queue is at, for what is dropped and counted when it does not fit.
func (p *Peers) queue(to presence.Gateway, f func(*peer) error) {
	if errors.Is(p.at(to, f), ErrClosed) {
		p.Stats.DroppedClosed.Add(1)
	}
}

// at calls f with a gateway's peer, again where that was just being given up;
// ErrClosed after Close.
func (p *Peers) at(to presence.Gateway, f func(*peer) error) error {
	for {
		q := p.peer(to)
		if q == nil {
			return ErrClosed
		}
		if err := f(q); !errors.Is(err, errRetired) {
			return err
		}
	}
}

// peer returns a gateway's, which it makes if need be; nil after Close.
func (p *Peers) peer(to presence.Gateway) *peer {
	p.mu.RLock()
	q, closed := p.peers[to], p.closed
	p.mu.RUnlock()
	if q != nil || closed {
		return q
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q = p.peers[to]; q != nil || p.closed {
		return q
	}
	q = newPeer(p, to)
	p.peers[to] = q
	p.Stats.Peers.Add(1)
	p.running.Go(q.run)
	return q
}

// Close ends all links. What waits is dropped.
func (p *Peers) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	p.running.Wait()
}
