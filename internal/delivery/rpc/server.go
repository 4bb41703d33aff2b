package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/certs"
	"github.com/rookery-chat/rookery/internal/delivery"
)

// Handler does what frames say. Its methods are called by several goroutines.
type Handler interface {
	// Take gives hints to sessions here and appends to absent the users that
	// have none. It may wait, which is the sender's back-pressure, and keeps
	// nothing.
	Take(hints []delivery.Hint, absent [][]byte) [][]byte
	Typing(from, to chat.User, on bool)
	// Replaced ends sessions of a device with a number below session.
	Replaced(user chat.User, node chat.Node, session uint64)
	// Siblings makes the user's sessions here send copies from now on, and calls
	// done once when all have been told.
	Siblings(user chat.User, done func())
	// Revoked ends the sessions here of a device that was revoked, and calls done
	// once when all have been told.
	Revoked(user chat.User, device chat.Device, done func())
}

// Limits of a link that the receiver holds the sender to.
const (
	maxFrameBytes = 16 << 20
	maxCalls      = 1024 // sibling calls under way
	maxAbsent     = 4096 // users of one answer; more are not told
)

// An answer that says nothing but how far frames were taken waits for so many
// of them, or so long.
const (
	answerFrames = 4
	answerDelay  = 5 * time.Millisecond
)

// ServerOptions are the settings of a Server.
type ServerOptions struct {
	TLS       *certs.Source // who may connect, and as whom this side answers
	Plaintext bool          // without TLS, for loopback addresses alone
	Logger    *slog.Logger  // nil is slog.Default
}

// ServerStats counts what came.
type ServerStats struct {
	Links   atomic.Int64 // open now
	Frames  atomic.Uint64
	Hints   atomic.Uint64
	Unknown atomic.Uint64 // hints that this version can do nothing with
	Absent  atomic.Uint64 // users told to be not here
	Faults  atomic.Uint64 // links ended for what came on them, or for a fault here
}

// Server takes the frames of other processes.
type Server struct {
	UnimplementedDeliveryServer
	Stats ServerStats

	handler  Handler
	logger   *slog.Logger
	grpc     *grpc.Server
	stopping chan struct{}
	stop     sync.Once
}

// NewServer returns a Server that has to be given a listener by Serve.
func NewServer(o ServerOptions, h Handler) (*Server, error) {
	sec, err := newSecurity(o.TLS, o.Plaintext)
	if err != nil {
		return nil, err
	}
	s := &Server{handler: h, logger: o.Logger, stopping: make(chan struct{})}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(sec), grpc.ForceServerCodecV2(codec{}), grpc.MaxRecvMsgSize(maxFrameBytes), grpc.MaxConcurrentStreams(4),
		grpc.ConnectionTimeout(10*time.Second), grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	RegisterDeliveryServer(s.grpc, s)
	return s, nil
}

// Serve takes connections until Stop, which makes it return nil.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(l)
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Stop takes no more frames, answers those that were taken, and closes. When
// ctx ends it closes at once.
func (s *Server) Stop(ctx context.Context) {
	s.stop.Do(func() { close(s.stopping) })
	hurry := context.AfterFunc(ctx, s.grpc.Stop)
	defer hurry()
	s.grpc.GracefulStop()
}

// link is one sender's stream.
type link struct {
	s *Server

	turn    sync.Mutex // held while a frame is worked on
	stopped bool       // guarded by turn

	wake   chan struct{} // there is something to answer
	mu     sync.Mutex
	frames int // since the last answer
	seq    uint64
	absent map[string]struct{}
	done   []uint64
	calls  int
}

// Link implements the service.
func (s *Server) Link(stream grpc.BidiStreamingServer[Frame, Answer]) error {
	s.Stats.Links.Add(1)
	defer s.Stats.Links.Add(-1)
	l := &link{s: s, wake: make(chan struct{}, 1), absent: map[string]struct{}{}}
	ended := make(chan error, 1)
	go func() { ended <- l.read(stream) }() // it ends with the stream, which ends with this call
	var delay <-chan time.Time              // of an answer that can wait
	for {
		select {
		case <-l.wake:
			if !l.urgent() {
				if delay == nil {
					delay = time.After(answerDelay)
				}
				continue
			}
		case <-delay:
		case err := <-ended:
			return err
		case <-s.stopping:
			l.turn.Lock()
			l.stopped = true
			l.turn.Unlock()
			return l.answer(stream)
		}
		delay = nil
		if err := l.answer(stream); err != nil {
			return err
		}
	}
}

// read takes frames until there are no more.
func (l *link) read(stream grpc.ServerStream) error {
	var in incoming
	defer func() { in.free() }()
	for {
		more, err := false, stream.RecvMsg(&in)
		if err != nil && status.Code(err) != codes.ResourceExhausted {
			return nil // the sender has gone, or broke off
		}
		if err == nil {
			more, err = l.work(&in)
			in.free()
		}
		if err != nil {
			l.s.Stats.Faults.Add(1)
			l.s.logger.Error("a link from another process was ended", "err", err)
		}
		if !more || err != nil {
			return err
		}
	}
}

// work does what a frame says. more is false once the server stops.
func (l *link) work(in *incoming) (more bool, err error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	if l.stopped {
		return false, nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = status.Errorf(codes.Internal, "the receiver failed: %v", r)
			l.s.logger.Error("a frame made the receiver fail", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	if err := in.parse(); err != nil {
		return false, status.Error(codes.InvalidArgument, err.Error())
	}
	return true, l.take(in)
}

func (l *link) take(in *incoming) error {
	stats, h := &l.s.Stats, l.s.handler
	stats.Frames.Add(1)
	stats.Hints.Add(uint64(len(in.hints)))
	stats.Unknown.Add(uint64(in.unknown))
	var absent [][]byte
	if len(in.hints) > 0 {
		absent = h.Take(in.hints, nil)
	}
	for _, t := range in.frame.Typing {
		h.Typing(chat.User(t.From), chat.User(t.To), t.On)
	}
	for _, r := range in.frame.Replaced {
		if len(r.Node) == len(chat.Node{}) {
			h.Replaced(chat.User(r.User), chat.Node(r.Node), r.Session)
		}
	}
	for _, c := range in.frame.Siblings {
		if err := l.call(c); err != nil {
			return err
		}
	}
	l.taken(in.frame.Seq, absent)
	return nil
}

func (l *link) call(c *Sibling) error {
	l.mu.Lock()
	full := l.calls >= maxCalls
	if !full {
		l.calls++
	}
	l.mu.Unlock()
	if full {
		return status.Errorf(codes.ResourceExhausted, "more than %d sibling calls", maxCalls)
	}
	id := c.Call
	done := func() {
		l.mu.Lock()
		l.calls--
		l.done = append(l.done, id)
		l.mu.Unlock()
		l.poke()
	}
	if c.Revoked != "" {
		l.s.handler.Revoked(chat.User(c.User), chat.Device(c.Revoked), done)
	} else {
		l.s.handler.Siblings(chat.User(c.User), done)
	}
	return nil
}

// taken notes what the next answer says.
func (l *link) taken(seq uint64, absent [][]byte) {
	l.mu.Lock()
	l.frames++
	l.seq = max(l.seq, seq)
	for _, u := range absent {
		if len(l.absent) < maxAbsent {
			l.absent[string(u)] = struct{}{}
		}
	}
	l.mu.Unlock()
	l.poke()
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// urgent says that the sender wants to know now.
func (l *link) urgent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames >= answerFrames || len(l.absent) > 0 || len(l.done) > 0
}

// answer sends what has gathered.
func (l *link) answer(stream grpc.ServerStreamingServer[Answer]) error {
	l.mu.Lock()
	a := &Answer{Version: version, Seq: l.seq, Siblings: l.done}
	for u := range l.absent {
		a.Absent = append(a.Absent, u)
	}
	clear(l.absent)
	l.done, l.frames = nil, 0
	l.mu.Unlock()
	l.s.Stats.Absent.Add(uint64(len(a.Absent)))
	return stream.Send(a)
}
