package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// device is one installation. What it holds survives the server's death and its
// own disconnects; crash takes it back to what it has "persisted".
type device struct {
	user, name string
	id         string // both
	bit        uint8  // among its user's devices
	peers      []string
	groups     []*group
	oneIn      int // of its messages goes to a group
	window     int // sends in flight
	ledger     *ledger
	rng        *rand.Rand
	seq        uint16

	mu                   sync.Mutex
	sending              bool
	ticks                uint64
	counter              int
	outbox               []*message          // attempted and not accepted, in order
	written              int                 // of the outbox, on this connection
	n                    uint64              // of the first of the outbox on this connection
	open                 map[uint64]*message // by number on this connection
	inflight             int
	holdTill             time.Time
	refusals, overloaded int // of these, because the server is full

	mine     uint64
	start    uint64 // where its chain began
	begun    bool
	last     map[stream]int // newest counter, or place
	undo     []undone       // of last, since the snapshot
	receipts map[string][2]uint64

	saved snapshot // what a crash of the device goes back to

	trace  []step // the newest packets that moved the chain, for the report
	traced bool

	ping     bool // one is to be sent
	heard    time.Time
	node     []byte
	welcomed bool // on this connection
	online   bool
	ups      int // times it was caught up on this connection
	http     *http.Client
	cancel   context.CancelFunc
	ended    chan struct{}
	wrote    chan struct{} // closed when the writer has ended
	kick     chan struct{}

	markEvery time.Duration                 // least time between two marks; 0: now and then while it sends
	arrived   func(m *message)              // called for each message it is sent
	caughtUp  func()                        // called for each caught_up
	parting   func(code, retry uint64) bool // called for a bye; false: it is a fault
}

// snapshot is what a device has persisted of its chain.
type snapshot struct {
	mine   uint64
	got    []*message // since the snapshot before
	copies []*message
	groups []*message

	receipts map[string][2]uint64
}

// stream is what comes in an order of its own: messages or copies of one sending
// device in a chat, by its counter, or all of a group, by their places.
type stream struct{ what, from, device, to string }

// placeIn is the order of a group, to which a device has come so far.
func placeIn(group string) stream { return stream{what: "place", to: group} }

// undone is what last had before a change.
type undone struct {
	of  stream
	was int
}

// step is one packet that moved the chain; it is formatted where it is reported.
type step struct {
	what, format string
	numbers      [3]uint64
	n            int
}

func newDevice(user, name string, peers []string, window int, l *ledger, seed uint64) *device {
	rng := rand.New(rand.NewPCG(seed, 99))
	return &device{
		user: user, name: name, id: user + "/" + name, bit: l.enrol(user), peers: peers, window: window, ledger: l, rng: rng, seq: uint16(rng.IntN(1 << 14)),
		last: map[stream]int{}, receipts: map[string][2]uint64{},
		saved: snapshot{receipts: map[string][2]uint64{}},
		kick:  make(chan struct{}, 1),
	}
}

func (d *device) who() string { return d.id }

// connect opens a session; it runs until disconnect, or until the server dies.
func (d *device) connect(ctx context.Context, url, token string) error {
	ctx, c, err := d.greet(ctx, url, token)
	if err == nil {
		go d.reader(ctx, c)
	}
	return err
}

// greet opens a connection and says hello on it; reader goes on.
func (d *device) greet(ctx context.Context, url, token string) (context.Context, *websocket.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	c, _, err := websocket.Dial(ctx, url+"/ws/"+d.user, &websocket.DialOptions{
		Subprotocols: []string{"rookery.v1"}, HTTPHeader: map[string][]string{"Authorization": {"Bearer " + token}},
		CompressionMode: websocket.CompressionDisabled, HTTPClient: d.http,
	})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	c.SetReadLimit(4 << 20)
	d.mu.Lock()
	d.cancel, d.ended, d.wrote = cancel, make(chan struct{}), make(chan struct{})
	d.renumber()
	var resume any
	if d.begun {
		resume = d.mine
	}
	hello := encode(typeHello, 1, d.name, d.seq, resume)
	d.online, d.heard = true, time.Now()
	d.mu.Unlock()
	if err := c.Write(ctx, websocket.MessageBinary, hello); err != nil {
		cancel()
		c.CloseNow()
		d.offline()
		close(d.ended)
		close(d.wrote)
		return nil, nil, err
	}
	return ctx, c, nil
}

// renumber forgets what holds for one connection only.
func (d *device) renumber() {
	d.open, d.n, d.written, d.inflight, d.welcomed, d.ups = map[uint64]*message{}, 1, 0, 0, false, 0
}

func (d *device) offline() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.online = false
}

// disconnect closes the connection, if there is one, and waits for its end.
func (d *device) disconnect() {
	d.mu.Lock()
	cancel, ended, wrote := d.cancel, d.ended, d.wrote
	d.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
		<-wrote
	}
}

func (d *device) reader(ctx context.Context, c *websocket.Conn) {
	defer close(d.ended)
	defer d.offline()
	defer c.CloseNow()
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	go d.writer(wctx, c, d.wrote)
	var msg bytes.Buffer
	var p fields
	for {
		_, r, err := c.Reader(ctx)
		if err == nil {
			msg.Reset()
			_, err = msg.ReadFrom(r)
		}
		if err != nil {
			return
		}
		d.mu.Lock()
		d.heard = time.Now()
		for rest := msg.Bytes(); len(rest) > 0 && err == nil; {
			if p, rest, err = decodeOne(rest, p); err == nil {
				d.packet(p)
			}
		}
		d.mu.Unlock()
		if err != nil {
			d.ledger.fault("%s: %v", d.who(), err)
			return
		}
		d.wake(0)
	}
}

// writer sends what is to be sent, and marks what came.
func (d *device) writer(ctx context.Context, c *websocket.Conn, wrote chan struct{}) {
	defer close(wrote)
	var m marker
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
		}
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		b := append(d.pump(), m.mark(d)...)
		if d.ping {
			d.ping = false
			b = append(b, encode(typePing, 1)...)
		}
		d.mu.Unlock()
		if len(b) > 0 && c.Write(ctx, websocket.MessageBinary, b) != nil {
			return
		}
	}
}

// marker is what has been marked on a connection.
type marker struct {
	pos uint64
	at  time.Time
}

// mark persists what came, and returns the packets that say so, when it is time.
func (m *marker) mark(d *device) (b []byte) {
	if !d.welcomed || d.mine <= m.pos || d.markEvery == 0 && d.sending && d.rng.IntN(16) != 0 {
		return nil
	}
	if wait := d.markEvery - time.Since(m.at); wait > 0 {
		d.wake(wait)
		return nil
	}
	if d.markEvery == 0 || d.rng.IntN(4) == 0 { // to have persisted less than was marked is allowed
		d.persist()
	}
	m.pos, m.at = d.mine, time.Now()
	d.ledger.mark(d.user, m.pos)
	b = encode(typeMark, m.pos)
	if d.rng.IntN(8) == 0 && len(d.peers) > 0 {
		b = append(b, encode(typeRead, d.peers[d.rng.IntN(len(d.peers))], m.pos)...)
	}
	if len(d.groups) > 0 && d.rng.IntN(8) == 0 {
		if g := d.aGroup(); g != nil && d.last[placeIn(g.name)] > 0 {
			b = append(b, encode(typeRead, g.name, d.last[placeIn(g.name)])...)
		}
	}
	return b
}

// wake lets the writer look again, now or later.
func (d *device) wake(after time.Duration) {
	if after > 0 {
		time.AfterFunc(after, func() { d.wake(0) })
		return
	}
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// pump returns the sends that fit into the window: first the outbox, in order.
func (d *device) pump() (b []byte) {
	if !d.welcomed || time.Now().Before(d.holdTill) {
		return nil
	}
	for d.inflight < d.window && len(b) < 100<<10 {
		if d.written == len(d.outbox) {
			if !d.sending {
				return b
			}
			d.outbox = append(d.outbox, d.compose())
		}
		m := d.outbox[d.written]
		n := d.n + uint64(d.written)
		flags := 0
		if m.touched {
			flags = 1
			d.ledger.mu.Lock()
			m.flagged = true
			d.ledger.retried++
			d.ledger.mu.Unlock()
		}
		m.touched = true
		d.open[n] = m
		d.written++
		d.inflight++
		b = append(b, encode(typeSend, n, m.id[:], m.to, m.suite(), []byte(m.content()), flags)...)
	}
	return b
}

func (d *device) compose() *message {
	if len(d.groups) > 0 && d.rng.IntN(d.oneIn) == 0 {
		if g := d.aGroup(); g != nil {
			return d.composeToGroup(g, nil)
		}
	}
	m := d.newMessage(d.peers[d.rng.IntN(len(d.peers))])
	d.ledger.attempt(m)
	return m
}

// persist notes what a crash of the device cannot take.
func (d *device) persist() {
	d.release(func(*message) {})
	d.saved.mine = d.mine
	d.undo = d.undo[:0]
	clear(d.saved.receipts)
	maps.Copy(d.saved.receipts, d.receipts)
}

// release lets go of what came since the snapshot before.
func (d *device) release(f func(m *message)) {
	d.ledger.mu.Lock()
	defer d.ledger.mu.Unlock()
	for _, list := range [][]*message{d.saved.got, d.saved.copies, d.saved.groups} {
		for _, m := range list {
			m.held--
			f(m)
		}
	}
	d.saved.got, d.saved.copies, d.saved.groups = d.saved.got[:0], d.saved.copies[:0], d.saved.groups[:0]
}

// crash forgets what was not persisted: it has to come again.
func (d *device) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.saved.got
	again := len(got)
	d.release(func(m *message) {
		if m.toGroup != nil {
			m.forget(d.ledger, d, m)
			return
		}
		if again > 0 {
			m.got &^= d.bit
			d.ledger.again++
			again--
		} else {
			m.copied &^= d.bit
		}
	})
	d.mine = d.saved.mine
	for _, u := range slices.Backward(d.undo) {
		d.last[u.of] = u.was
	}
	d.undo = d.undo[:0]
	clear(d.receipts)
	maps.Copy(d.receipts, d.saved.receipts)
	d.note("the device crashed", ", back to %d", d.mine)
}

// come notes how far a stream has come.
func (d *device) come(of stream, to int) {
	d.undo = append(d.undo, undone{of, d.last[of]})
	d.last[of] = to
}

// note keeps what moved the chain.
func (d *device) note(what, format string, numbers ...uint64) {
	if len(d.trace) >= 40 {
		d.trace = append(d.trace[:0], d.trace[20:]...)
	}
	s := step{what: what, format: format, n: len(numbers)}
	copy(s.numbers[:], numbers)
	d.trace = append(d.trace, s)
}

func (s step) String() string {
	numbers := []any{s.numbers[0], s.numbers[1], s.numbers[2]}
	return s.what + fmt.Sprintf(s.format, numbers[:s.n]...)
}

// fault reports a fault of this device, the first time with what led to it.
func (d *device) fault(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	if !d.traced {
		d.traced = true
		for _, s := range d.trace {
			text += "\n    " + s.String()
		}
	}
	d.ledger.fault("%s", text)
}
