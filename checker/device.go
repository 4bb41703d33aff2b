package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// device is one installation. What it holds survives the server's death and its
// own disconnects; crash takes it back to what it has "persisted".
type device struct {
	user, name string
	peers      []string
	window     int // sends in flight
	ledger     *ledger
	rng        *rand.Rand
	seq        uint16

	mu       sync.Mutex
	sending  bool
	ticks    uint64
	counter  int
	outbox   []*message // attempted and not accepted, in order
	written  int        // of the outbox, on this connection
	touched  map[msgID]bool
	n        uint64              // of the first of the outbox on this connection
	open     map[uint64]*message // by number on this connection
	inflight int
	holdTill time.Time

	mine     uint64
	start    uint64 // where its chain began
	begun    bool
	got      map[msgID]bool
	copies   map[msgID]bool
	last     map[string]int // newest counter by sender/device
	receipts map[string][2]uint64

	saved snapshot // what a crash of the device goes back to

	trace  []string // the newest packets that moved the chain, for the report
	traced bool

	node   []byte
	online bool
	ups    int // times it was caught up on this connection
	conn   *websocket.Conn
	cancel context.CancelFunc
	ended  chan struct{}
	wrote  chan struct{} // closed when the writer has ended
	kick   chan struct{}
}

// snapshot is what a device has persisted of its chain.
type snapshot struct {
	mine   uint64
	got    []msgID // since the snapshot before
	copies []msgID
	last   map[string]int
}

func newDevice(user, name string, peers []string, window int, l *ledger, seed uint64) *device {
	rng := rand.New(rand.NewPCG(seed, 99))
	return &device{
		user: user, name: name, peers: peers, window: window, ledger: l, rng: rng, seq: uint16(rng.IntN(1 << 14)),
		touched: map[msgID]bool{}, got: map[msgID]bool{}, copies: map[msgID]bool{},
		last: map[string]int{}, receipts: map[string][2]uint64{}, saved: snapshot{last: map[string]int{}},
		kick: make(chan struct{}, 1),
	}
}

func (d *device) who() string { return d.user + "/" + d.name }

// connect opens a session; it runs until disconnect, or until the server dies.
func (d *device) connect(ctx context.Context, url, token string) error {
	ctx, cancel := context.WithCancel(ctx)
	c, _, err := websocket.Dial(ctx, url+"/ws/"+d.user, &websocket.DialOptions{
		Subprotocols: []string{"rookery.v1"}, HTTPHeader: map[string][]string{"Authorization": {"Bearer " + token}},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		cancel()
		return err
	}
	c.SetReadLimit(4 << 20)
	d.mu.Lock()
	d.conn, d.cancel, d.ended, d.wrote = c, cancel, make(chan struct{}), make(chan struct{})
	d.renumber()
	var resume any
	if d.begun {
		resume = d.mine
	}
	hello := encode(typeHello, 1, d.name, d.seq, resume)
	d.online = true
	d.mu.Unlock()
	if err := c.Write(ctx, websocket.MessageBinary, hello); err != nil {
		cancel()
		d.offline()
		close(d.ended)
		close(d.wrote)
		return err
	}
	go d.reader(ctx, c)
	return nil
}

// renumber forgets what holds for one connection only.
func (d *device) renumber() {
	d.open, d.n, d.written, d.inflight, d.node, d.ups = map[uint64]*message{}, 1, 0, 0, nil, 0
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
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return
		}
		packets, err := decode(b)
		if err != nil {
			d.ledger.fault("%s: %v", d.who(), err)
			return
		}
		d.mu.Lock()
		for _, p := range packets {
			d.packet(p)
		}
		d.mu.Unlock()
		select {
		case d.kick <- struct{}{}:
		default:
		}
	}
}

// writer sends what is to be sent, and marks what came.
func (d *device) writer(ctx context.Context, c *websocket.Conn, wrote chan struct{}) {
	defer close(wrote)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	marked := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-d.kick:
		}
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		b := d.pump()
		if d.node != nil && d.mine > marked && (!d.sending || d.rng.IntN(16) == 0) {
			d.persist()
			marked = d.mine
			d.ledger.mark(d.user, marked)
			b = append(b, encode(typeMark, d.mine)...)
			if d.rng.IntN(8) == 0 && len(d.peers) > 0 {
				b = append(b, encode(typeRead, d.peers[d.rng.IntN(len(d.peers))], d.mine)...)
			}
		}
		d.mu.Unlock()
		if len(b) > 0 && c.Write(ctx, websocket.MessageBinary, b) != nil {
			return
		}
	}
}

// pump returns the sends that fit into the window: first the outbox, in order.
func (d *device) pump() (b []byte) {
	if d.node == nil || time.Now().Before(d.holdTill) {
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
		if d.touched[m.id] {
			flags = 1
			d.ledger.mu.Lock()
			m.flagged = true
			d.ledger.retried++
			d.ledger.mu.Unlock()
		}
		d.touched[m.id] = true
		d.open[n] = m
		d.written++
		d.inflight++
		b = append(b, encode(typeSend, n, m.id[:], m.to, 0, []byte(m.content), flags)...)
	}
	return b
}

func (d *device) compose() *message {
	d.ticks = max(ticksOf(time.Now()), d.ticks+1)
	d.counter++
	m := &message{
		id: timeID(d.ticks, d.seq, d.node), from: d.user, device: d.name, to: d.peers[d.rng.IntN(len(d.peers))], counter: d.counter,
	}
	m.content = fmt.Sprintf("%-100s", fmt.Sprintf("%s-%06d", d.who(), d.counter))
	d.ledger.attempt(m)
	return m
}

// persist notes what a crash of the device cannot take.
func (d *device) persist() {
	d.saved.mine, d.saved.got, d.saved.copies = d.mine, d.saved.got[:0], d.saved.copies[:0]
	clear(d.saved.last)
	for k, v := range d.last {
		d.saved.last[k] = v
	}
}

// crash forgets what was not persisted: it has to come again.
func (d *device) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.saved.got {
		delete(d.got, id)
	}
	for _, id := range d.saved.copies {
		delete(d.copies, id)
	}
	d.ledger.mu.Lock()
	d.ledger.again += len(d.saved.got)
	d.ledger.mu.Unlock()
	d.mine, d.saved.got, d.saved.copies = d.saved.mine, d.saved.got[:0], d.saved.copies[:0]
	clear(d.last)
	for k, v := range d.saved.last {
		d.last[k] = v
	}
	clear(d.receipts)
	d.note("the device crashed, back to %d", d.mine)
}

// note keeps what moved the chain.
func (d *device) note(format string, a ...any) {
	if len(d.trace) >= 40 {
		d.trace = append(d.trace[:0], d.trace[20:]...)
	}
	d.trace = append(d.trace, fmt.Sprintf(format, a...))
}

// fault reports a fault of this device, the first time with what led to it.
func (d *device) fault(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	if !d.traced {
		d.traced = true
		text += "\n    " + strings.Join(d.trace, "\n    ")
	}
	d.ledger.fault("%s", text)
}
