package client

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

// What a session goes by where the welcome does not say.
const (
	defaultInflight  = 64
	defaultRequests  = 8
	defaultHeartbeat = 30 * time.Second
	batchBytes       = 32 << 10 // of a WebSocket message with several packets
	readBufferBytes  = 32 << 10
	closeWait        = time.Second // for the server's answer to our close
)

// serverLimits bounds what is read from a server. Nothing is compressed.
var serverLimits = frame.Limits{Client: true, MessageBytes: 16 << 20}

// session is one connection's life: a reader, which is the goroutine of run, and
// from the welcome on a writer and a refresher.
type session struct {
	// Set once, before the writer starts.
	c         *Client
	conn      net.Conn
	ctx       context.Context // ends with the session
	cancel    context.CancelCauseFunc
	helpers   sync.WaitGroup
	heartbeat time.Duration
	inflight  int // sends without an answer
	requests  int // requests without an answer
	batch     int // bytes of a message with several packets
	window    int // links the server sends ahead of the mark, 0: not known
	limits    map[string]uint64
	began     time.Time

	// The reader's.
	reader   frame.Reader
	welcomed bool
	bye      *packet.Bye
	said     error         // what the server said of the session's end, without a bye
	resumed  chat.Position // what hello asked for, 0 when it is the server's word
	links    int           // messages and copies of the chain, in this session

	heard   atomic.Int64 // when the server was last heard, ns since began
	closing atomic.Bool  // our close is written

	// Guarded by c.mu.
	token     string
	expires   time.Time     // the token's end, by our clock
	refreshed chan struct{} // expires has changed
	expiring  chan struct{} // the server warns that it comes near
	leaving   bool          // the server said bye: nothing more is sent
	calmUntil time.Time     // the server was too busy for read marks and watches
	marked    chat.Position
	reach     chat.Position // up to where the server has sent the chain in this session
	ping      []byte        // the payload of a ping that waits for its pong
	pinged    bool
	asked     time.Duration       // when we last sent a ping, since began
	unsent    map[string]struct{} // peers whose read mark is to be written
	unwatched map[string]struct{} // users whose watch is to be written
	watching  map[uint64]watching // watches without an answer, by request
	strangers map[string]struct{} // users whose watch was refused for want of a chat
	markedAt  time.Time
	markLinks int // links when the last mark was written
	pace      pace
}

// hold connects and holds one session to its end.
func (c *Client) hold(base string) (welcomed bool, end ending) {
	ctx, cancel := context.WithTimeout(c.ctx, c.o.DialTimeout)
	defer cancel()
	token, err := c.o.Token(ctx)
	if err != nil {
		return false, ending{err: chat.Errorf(chat.CodeUnavailable, "Options.Token failed: %v", err)}
	}
	conn, rest, err := c.dial(ctx, base, token)
	if err != nil {
		return false, endingOf(err)
	}
	s := &session{c: c, conn: conn, began: time.Now(), token: token,
		refreshed: make(chan struct{}, 1), expiring: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	closed := context.AfterFunc(s.ctx, func() { conn.Close() })
	err = s.live(rest)
	s.quit(err)
	if closed() {
		conn.Close()
	}
	s.helpers.Wait()
	s.leave()
	return s.welcomed, s.ending(context.Cause(s.ctx))
}

// endingOf says what follows from an attempt to connect that failed.
func endingOf(err error) ending {
	end := ending{err: err}
	var e *chat.Error
	if errors.As(err, &e) {
		end.stop, end.wait = e.Code.Action() == chat.ActionStop, e.RetryAfter
	}
	return end
}

func (s *session) ending(err error) ending {
	if s.bye != nil {
		e := chat.Errorf(s.bye.Code, "%s", s.bye.Text)
		e.RetryAfter = time.Duration(s.bye.Retry) * time.Millisecond
		end := endingOf(e)
		end.url = s.bye.URL
		end.stop = end.stop && !s.forgets(e.Code)
		return end
	}
	var e *chat.Error
	switch {
	case s.said != nil:
		return endingOf(s.said)
	case err == errBehind:
		return ending{err: err, now: true}
	case errors.As(err, &e):
		return ending{err: err, wait: e.RetryAfter}
	}
	return ending{err: chat.Errorf(chat.CodeUnavailable, "the connection broke: %v; it is made again", err)}
}

// quit ends the session for a reason; the first one counts.
func (s *session) quit(reason error) { s.cancel(reason) }

// live says hello and reads to the end.
func (s *session) live(rest []byte) error {
	if err := s.hello(); err != nil {
		return err
	}
	if err := s.feed(rest); err != nil {
		return err
	}
	buf := make([]byte, readBufferBytes)
	for {
		s.conn.SetReadDeadline(s.deadline())
		n, err := s.conn.Read(buf)
		if n > 0 {
			s.heard.Store(int64(time.Since(s.began)))
			if err := s.feed(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return s.readError(err)
		}
	}
}

func (s *session) readError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !s.closing.Load() {
		return chat.Errorf(chat.CodeUnavailable, "nothing was heard from the server for too long; the connection is made again")
	}
	return err
}

// deadline is until when the server has to be heard.
func (s *session) deadline() time.Time {
	switch {
	case s.closing.Load(), s.bye != nil:
		return time.Now().Add(closeWait)
	case !s.welcomed:
		return s.began.Add(s.c.o.DialTimeout)
	}
	return time.Now().Add(s.patience())
}

// patience is for how long a server may neither be heard, which is pinged after
// a heartbeat, nor read, as it may have too much to do for a while.
func (s *session) patience() time.Duration { return s.heartbeat + s.c.o.DialTimeout }

func (s *session) hello() error {
	s.c.mu.Lock()
	in := &s.c.in
	resume := int64(packet.ResumeCursor)
	if in.known {
		s.resumed = in.resumeAt()
		resume = int64(s.resumed)
	} else if in.resume != nil {
		resume = *in.resume
	}
	in.behind = false
	h := packet.Hello{Version: packet.Version, Device: s.c.o.Device, Seq: s.c.journal.initial.seq, Resume: resume}
	s.c.mu.Unlock()
	return s.write(frame.OpBinary, h.AppendTo(nil))
}

// begin takes in the welcome and starts the writer.
func (s *session) begin(w packet.Welcome) {
	c := s.c
	limit := func(name string, otherwise int) int { return cmp.Or(int(min(w.Limits[name], 1<<30)), otherwise) }
	s.heartbeat = cmp.Or(time.Duration(min(w.Heartbeat, 1<<31))*time.Millisecond, defaultHeartbeat)
	s.inflight, s.requests = limit(packet.LimitInflight, defaultInflight), limit(packet.LimitRequests, defaultRequests)
	s.batch, s.window = min(limit(packet.LimitMessage, batchBytes), batchBytes), limit(packet.LimitWindow, 0)
	s.limits = w.Limits
	now := time.Now()
	burst := uint64(limit(packet.LimitBurst, limit(packet.LimitRate, 0)))
	s.pace.packets = newBucket(w.Limits[packet.LimitRate], burst, now)
	s.pace.bytes = newBucket(w.Limits[packet.LimitRateBytes], w.Limits[packet.LimitRateBytes], now)

	c.mu.Lock()
	c.correct(w.Now)
	if w.Node != c.node || c.clock == nil {
		c.node = w.Node
		c.newClock()
	}
	c.journal.setNode(c.node, c.offset)
	c.maxBytes, c.maxTTL = w.Limits[packet.LimitContent], w.Limits[packet.LimitTTL]
	s.expires = c.ourTime(cmp.Or(w.Expires, math.MaxInt64))
	s.marked, s.reach = c.in.welcome(w.Resume), w.Resume
	s.unsent = map[string]struct{}{}
	for peer := range c.reads {
		s.unsent[peer] = struct{}{}
	}
	s.unwatched, s.watching, s.strangers = maps.Clone(c.watched), map[uint64]watching{}, map[string]struct{}{}
	for _, r := range c.requests {
		r.sent = false
	}
	c.out.begin()
	c.session, c.lastErr = s, nil
	c.in.tell(Connected{User: chat.User(w.User), Resume: w.Resume, Waiting: w.Waiting})
	if c.closing {
		c.cancel()
	}
	c.changed.fire()
	c.mu.Unlock()

	s.welcomed = true
	select {
	case c.first <- nil:
	default:
	}
	s.helpers.Go(s.writeLoop)
	s.helpers.Go(s.refreshLoop)
}

// leave takes the session's numbers back when its goroutines have ended.
func (s *session) leave() {
	s.reader.Release()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.welcomed {
		c.out.end()
	}
	c.session, c.soon = nil, nil
	c.changed.fire()
}

// correct sets our clock by the server's, which is never ahead of what it said
// by more than the way here took: so ids are not of the future. c.mu is held.
func (c *Client) correct(serverMs int64) { c.offset = time.Until(time.UnixMilli(serverMs)) }

// ourTime turns a time of the server's clock, ms since 1970, into one of ours.
func (c *Client) ourTime(serverMs int64) time.Time {
	return time.Now().Add(time.UnixMilli(serverMs).Sub(c.now()))
}
