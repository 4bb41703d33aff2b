// Package client is the Go SDK of Rookery: a connection that comes back by
// itself, an outbox that loses nothing, and the user's messages in order, each
// given to the app once.
//
//	c, err := client.Dial(ctx, client.Options{
//		URL: "ws://127.0.0.1:8080", User: "alice", Device: "phone",
//		Token: login, State: "alice.state",
//	})
//	sent, err := c.Send(ctx, "bob", []byte("hi"))
//	err = sent.Delivered(ctx)
//
// A message that Send has taken is in the state file before its first byte
// leaves, and stays there until the server has it durably; what may have arrived
// is sent again byte for byte, so that it arrives once. Messages to the user
// come from Receive. Asking for the next one says that the one before has been
// handled: then the cursor is made durable, and only then does the sender see
// "delivered". An app that crashes in between gets the message once more.
//
// Errors are *chat.Error, whose code says what to do about them, except ErrClosed
// and errors of the state file and of contexts.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// ErrClosed says that the client was closed.
var ErrClosed = errors.New("client: closed")

// ErrState is what every error of the state file wraps.
var ErrState = errors.New("client: state file")

// ErrInUse says that another process has the state file open.
var ErrInUse = errors.New("another process uses it: give each process a device of its own")

// resumeNow is the wire's word for FromNow.
const resumeNow = packet.ResumeNow

// Client is one device of one user. Its methods are safe for concurrent use,
// except that one goroutine at a time may call Receive.
type Client struct {
	// Set once.
	o       Options
	log     *slog.Logger
	journal *journal
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	ended   chan struct{} // closed when no session will follow
	first   chan error    // how the first attempt to connect went
	wake    chan struct{} // there may be something to write
	flushMe chan struct{} // the cursor moved on

	mu       sync.Mutex
	end      error       // why no session will follow
	closing  bool        // Close was called
	changed  signal      // a waiter should look again
	clock    *chat.Clock // nil until the node is known
	node     chat.Node
	ticks    uint64        // of the newest id made or seen
	offset   time.Duration // the server's clock minus ours
	session  *session      // nil when not connected
	lastErr  error         // why the last session ended
	maxBytes uint64        // of a content, as the server said; 0 is not known
	maxTTL   uint64        // of a message, s, as the server said; 0 is not known
	out      outbox
	accepted map[chat.ID]*Sent // lately, for an outcome that comes later
	settled  []chat.ID         // its keys, oldest first
	earlier  []*Sent           // what the state file had
	in       inbox
	peers    map[chat.User]*peer
	reads    map[string]chat.Position // read marks of this client's life
	watched  map[string]struct{}
	requests map[uint64]*request
	lastReq  uint64
	soon     []byte // packets to write with the next message: typing and the like
}

// Open makes a client and returns at once; it connects by itself, and Connected
// waits for that. The errors are those of Options.Validate and of the state file.
// ctx is for opening alone. Close the client when done with it.
func Open(ctx context.Context, o Options) (*Client, error) {
	if err := errors.Join(o.Validate(), ctx.Err()); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	j, err := openJournal(o.State, o.User, o.Device)
	if err != nil {
		return nil, err
	}
	c := &Client{
		o: o, log: o.Logger.With("user", o.User, "device", o.Device), journal: j,
		ended: make(chan struct{}), first: make(chan error, 1),
		wake: make(chan struct{}, 1), flushMe: make(chan struct{}, 1),
		accepted: map[chat.ID]*Sent{}, peers: map[chat.User]*peer{}, reads: map[string]chat.Position{},
		watched: map[string]struct{}{}, requests: map[uint64]*request{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.restore(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	c.running.Go(c.run)
	c.running.Go(c.flush)
	return c, nil
}

// Dial is Open, and waits for the first session. When the first attempt fails,
// the client is closed and the error returned.
func Dial(ctx context.Context, o Options) (*Client, error) {
	c, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	select {
	case err = <-c.first:
	case <-ctx.Done():
		err = c.because(ctx, "no session with "+o.URL)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close(context.Background()))
	}
	return c, nil
}

// restore takes over what the journal holds.
func (c *Client) restore() error {
	s := c.journal.initial
	c.node, c.offset, c.ticks = s.node, s.offset, s.ticks
	if c.node != (chat.Node{}) {
		c.newClock()
	}
	c.in.init(s, c.o, c.wakeFlush)
	for _, m := range s.outbox {
		it := &item{bytes: len(m.body)}
		p, _, err := packet.Next(m.body)
		if err == nil {
			err = it.message.Decode(p)
		}
		if err != nil {
			return err
		}
		it.message.Flags |= packet.SendRetry
		it.handle = c.newSent(m.id, chat.User(it.message.To))
		c.out.push(it)
		c.earlier = append(c.earlier, it.handle)
	}
	return nil
}

// Earlier returns the messages of an earlier run that the state file kept, in
// order, whatever has become of them since: also those that were accepted or
// refused before anybody could ask for the Outbox.
func (c *Client) Earlier() []*Sent { return slices.Clone(c.earlier) }

// Outbox returns the messages that are not accepted yet, in order: also those
// of an earlier run, which the state file kept.
func (c *Client) Outbox() []*Sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sent []*Sent
	for _, it := range c.out.unsettled() {
		sent = append(sent, it.handle)
	}
	return sent
}

// Connected waits until there is a session.
func (c *Client) Connected(ctx context.Context) error {
	for {
		c.mu.Lock()
		ready, changed, end := c.session != nil, c.changed.wait(), c.end
		c.mu.Unlock()
		if end != nil {
			return end
		}
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return c.because(ctx, "no session with "+c.o.URL)
		}
	}
}

// Session returns a channel that is closed when the session that there is now
// ends, and nil when there is none.
func (c *Client) Session() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil
	}
	return c.session.ctx.Done()
}

// Position returns how far the app has handled the user's chain.
func (c *Client) Position() chat.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.handled
}

// Now returns the time by the server's clock, as far as it is known.
func (c *Client) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

// MaxTTL returns the longest time to live that the server takes, as its newest
// welcome said; 0: there was none yet.
func (c *Client) MaxTTL() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(min(c.maxTTL, math.MaxUint32)) * time.Second
}

func (c *Client) now() time.Time { return time.Now().Add(c.offset) }

// Done is closed when no session will follow: after Close, or after an error
// that coming back does not mend. Err says which.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err returns why no session will follow, nil as long as one may.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

func (c *Client) endError() error {
	<-c.ended
	return c.Err()
}

// Close ends the client. It writes what is ready, read marks and the marks of
// handled messages among it, but does not wait for the outbox: what is there
// goes out when the state file is opened again, so wait for Durable first where
// State is empty. When ctx ends the connection is cut. Receive gives nothing more
// from now on; what it returned last counts as not handled, unless Handled is
// called before Close returns.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.in.closed = true
	c.mu.Unlock()
	err := c.keep()
	c.mu.Lock()
	c.closing = true
	c.changed.fire()
	if c.session == nil {
		c.cancel()
	}
	c.mu.Unlock()
	c.wakeWriter()
	stop := context.AfterFunc(ctx, c.cancel)
	defer stop()
	<-c.ended
	c.running.Wait()
	if err == nil {
		err = c.keep() // what was handled meanwhile
	}
	if err = errors.Join(err, c.journal.close()); errors.Is(err, ErrClosed) {
		return nil // a second Close
	}
	return err
}

// finish ends the client for a reason. The first one counts.
func (c *Client) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return
	}
	c.end = err
	close(c.ended)
	c.changed.fire()
	c.cancel()
}

func (c *Client) wakeWriter() { poke(c.wake) }
func (c *Client) wakeFlush()  { poke(c.flushMe) }

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// because returns the error of a wait that ctx ended: what did not happen, and
// what the connection's last trouble was. It matches ctx's error.
func (c *Client) because(ctx context.Context, what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil && c.lastErr != nil {
		return fmt.Errorf("client: %s: %w; the last attempt to connect: %w", what, ctx.Err(), c.lastErr)
	}
	return fmt.Errorf("client: %s: %w", what, ctx.Err())
}

// newClock makes the clock of the node, above every id made or seen.
func (c *Client) newClock() {
	c.clock = chat.NewClock(c.node, c.journal.initial.seq, chat.NewID(c.ticks, 0, c.node))
}

// see makes later ids greater than an id received.
func (c *Client) see(id chat.ID) {
	c.ticks = max(c.ticks, id.Ticks())
	if c.clock != nil {
		c.clock.See(id)
	}
}
