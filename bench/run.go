package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

const (
	dialsAtOnce  = 256
	dialsPerAddr = 10_000                // sessions from one source address
	dialWithin   = 10 * time.Millisecond // the most a session may take of a load that connects; an emulated processor needs some
	settleFor    = 30 * time.Second

	mostUs = 3_600_000_000 // of a histogram: an hour
)

// run is the part of a load that one process makes: some of the sessions, on
// one loop. Others of the load's users it knows by their number.
type run struct {
	loop  *loop
	conns []*conn
	total int // sessions of the whole load
	bare  bool
	apart int // servers that know nothing of each other; session i is of number i modulo them
	to    []netip.AddrPort
	mask  [4]byte

	done, live    int   // connections that are what they are to become; sessions caught up
	begunNs       int64 // when the first session was made: what was due before is of another load
	measureFromNs int64
	counts        counts

	connecting *hdrhistogram.Histogram // us from due, or the dial, until welcomed (bare: until the handshake is done)
	delivery   *hdrhistogram.Histogram // us from due to the receiver
	ack        *hdrhistogram.Histogram // us from due to the acknowledgement
	lag        *hdrhistogram.Histogram // us from due to the write, or the dial: the load's own fault

	stopping  int    // of the load's sessions, the first ones: readers that stop
	group     []byte // the name of the group that the load's first session has made
	holdMarks bool   // receivers do not mark for now

	bursts  uint64
	samples []sample
	page    *packet.HistoryPage // the newest that came

	scratch   []byte
	send      packet.Send
	encrypted *rand.ChaCha8 // makes content as ciphertext is, which nothing makes smaller; nil: it is zeros
	marks     []*conn       // that have something to mark
}

// counts are what a load has done since it began.
type counts struct {
	Sent      uint64 `json:"sent"`
	Measured  uint64 `json:"measured"` // of those, due in the time that counts
	Accepted  uint64 `json:"accepted"`
	Refused   uint64 `json:"refused"`
	Delivered uint64 `json:"delivered"`
	Receipts  uint64 `json:"receipts"`
	ToFrozen  uint64 `json:"to_frozen"`  // sent to readers that stop, since they did
	FrozenGot uint64 `json:"frozen_got"` // what those got of them
	Told      uint64 `json:"told"`       // changes of the group that members got
	Up        int    `json:"up"`         // sessions that are caught up
}

func (c *counts) add(o counts) {
	c.Sent, c.Measured, c.Accepted, c.Refused = c.Sent+o.Sent, c.Measured+o.Measured, c.Accepted+o.Accepted, c.Refused+o.Refused
	c.Delivered, c.Receipts = c.Delivered+o.Delivered, c.Receipts+o.Receipts
	c.ToFrozen, c.FrozenGot, c.Up = c.ToFrozen+o.ToFrozen, c.FrozenGot+o.FrozenGot, c.Up+o.Up
	c.Told += o.Told
}

// since is what came to what was counted before.
func (c counts) since(o counts) counts {
	return counts{
		Sent: c.Sent - o.Sent, Measured: c.Measured - o.Measured, Accepted: c.Accepted - o.Accepted, Refused: c.Refused - o.Refused,
		Delivered: c.Delivered - o.Delivered, Receipts: c.Receipts - o.Receipts, ToFrozen: c.ToFrozen - o.ToFrozen, FrozenGot: c.FrozenGot - o.FrozenGot, Up: c.Up, Told: c.Told - o.Told,
	}
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, mostUs, 3) }

func newRun() (*run, error) {
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	r := &run{loop: l, apart: 1, mask: [4]byte{0x37, 0xfa, 0x21, 0x3d}}
	r.clear()
	return r, nil
}

// clear begins the latencies anew.
func (r *run) clear() {
	r.measureFromNs = 1 << 62
	r.connecting, r.delivery, r.ack, r.lag = newHistogram(), newHistogram(), newHistogram(), newHistogram()
}

// userOf names the i-th user of a load.
func userOf(i int) string { return string(appendUser(nil, i)) }

func appendUser(dst []byte, i int) []byte {
	digits := 1_000_000
	for digits <= i {
		digits *= 10
	}
	for dst = append(dst, 'u'); digits > 1; {
		digits /= 10
		dst = append(dst, byte('0'+i/digits%10))
	}
	return dst
}

// prepare makes n sessions, the first of which is a number of the whole load;
// as devices of one user, where that is not negative.
func (r *run) prepare(first, n, devicesOf int, token func(user string) (string, error)) ([]*conn, error) {
	if r.begunNs == 0 {
		r.begunNs = r.loop.clock()
	}
	begun := make([]*conn, 0, n)
	signed, err := "", error(nil)
	for i := range n {
		c := &conn{run: r, loop: r.loop, user: userOf(first + i), device: "bench", index: int32(first + i), fd: -1}
		if devicesOf >= 0 {
			c.user, c.device = userOf(devicesOf), fmt.Sprintf("d%06d", first+i)
		}
		if devicesOf < 0 || i == 0 {
			if signed, err = token(c.user); err != nil {
				return nil, err
			}
		}
		c.out = c.greeting(signed, packet.ResumeCursor)
		begun = append(begun, c)
	}
	return begun, nil
}

// connect opens prepared sessions and waits until all are caught up: so many at
// once, or with a rate each when it is due, with Poisson arrivals. That not all
// were up in time is no error where some may be missing.
func (r *run) connect(ctx context.Context, begun []*conn, atOnce int, rate float64, some bool) error {
	r.conns = append(r.conns, begun...)
	n, doneBefore := len(begun), r.done
	rng := rand.New(rand.NewPCG(5, uint64(n)))
	next := r.loop.clock()
	until := next + int64(time.Duration(max(n, r.total))*dialWithin+settleFor) // the others of the load connect meanwhile
	if rate > 0 {
		until += int64(float64(n) / rate * 1e9)
	}
	for i := 0; r.done-doneBefore < n; {
		now := r.loop.clock()
		for ; i < n && (rate > 0 && next <= now || rate == 0 && i-(r.done-doneBefore) < atOnce); i++ {
			if begun[i].beganNs = now; rate > 0 {
				begun[i].beganNs = next
				next += int64(rng.ExpFloat64() / rate * 1e9)
			}
			if err := r.dial(begun[i]); err != nil {
				return err
			}
			if rate > 0 {
				r.lag.RecordValue(max((r.loop.clock()-begun[i].beganNs)/1000, 1))
			}
		}
		wait := now + int64(10*time.Millisecond)
		if rate > 0 && i < n {
			wait = min(wait, next)
		}
		if err := r.loop.poll(wait); err != nil {
			return err
		}
		r.markAll() // what waits for a device may be more than a server sends ahead of its mark
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.loop.nowNs > until {
			if some {
				return nil
			}
			return fmt.Errorf("bench: %d of %d sessions were up in time", r.done-doneBefore, n)
		}
	}
	return nil
}

// dial begins the connection of a session, to its own of the server's addresses.
func (r *run) dial(c *conn) error { return r.loop.dial(r.to[int(c.index)%len(r.to)], c) }

// settled notes a connection that is what it is to become.
func (r *run) settled(c *conn) {
	r.done++
	if r.bare {
		r.connecting.RecordValue(max((r.loop.nowNs-c.beganNs)/1000, 1))
	}
}

// packet takes one packet of the server.
func (r *run) packet(c *conn, p packet.Raw) error {
	switch p.Type {
	case packet.TypeMessage:
		return r.message(c, p)
	case packet.TypeGroupMessage:
		return r.groupMessage(c, p)
	case packet.TypeCopy:
		var m packet.Copy
		if err := m.Decode(p); err != nil {
			return err
		}
		return c.link(m.Pos, m.Gap)
	case packet.TypeAccepted:
		return r.acceptedPacket(c, p)
	case packet.TypeReceipt:
		var m packet.Receipt
		if err := m.Decode(p); err != nil {
			return err
		}
		r.counts.Receipts++
		return c.link(m.Pos, m.Gap)
	case packet.TypeWelcome:
		var m packet.Welcome
		if err := m.Decode(p); err != nil {
			return err
		}
		c.node, c.mine, c.marked, c.ready_ = m.Node, m.Resume, m.Resume, true
		r.connecting.RecordValue(max((r.loop.nowNs-c.beganNs)/1000, 1))
	case packet.TypeCaughtUp:
		var m packet.CaughtUp
		if err := m.Decode(p); err != nil {
			return err
		}
		c.mine = max(c.mine, m.Pos)
		if !c.live {
			c.live = true
			r.live++
			r.settled(c)
		}
	case packet.TypeRefused:
		var m packet.Refused
		if err := m.Decode(p); err != nil {
			return err
		}
		r.counts.Refused += c.n - (m.N - 1) // a bench does not send again: it counts
		c.n = m.N - 1
		c.cutStamps()
		r.voided(c, m.N)
	case packet.TypeHistoryPage:
		return r.historyPage(p)
	case packet.TypeBye:
		var m packet.Bye
		if err := m.Decode(p); err != nil {
			return err
		}
		e := chat.Errorf(m.Code, "bye: %s", m.Text)
		e.RetryAfter = time.Duration(m.Retry) * time.Millisecond
		return e
	case packet.TypeError:
		return fmt.Errorf("packet %v: %x", p.Type, p.Body)
	}
	return nil
}

func (c *conn) link(pos chat.Position, gap uint64) error {
	if pos == 0 {
		return nil
	}
	if pos <= c.mine || pos-chat.Position(gap) > c.mine {
		return fmt.Errorf("link at %v with gap %d does not follow %v", pos, gap, c.mine)
	}
	c.mine = pos
	return nil
}

func (r *run) message(c *conn, p packet.Raw) error {
	var m packet.Message
	if err := m.Decode(p); err != nil {
		return err
	}
	if err := c.link(m.Pos, m.Gap); err != nil {
		return err
	}
	r.arrived(c, m.Content)
	return nil
}

// arrived counts a message that was due at what its content says.
func (r *run) arrived(c *conn, content []byte) {
	switch due := int64(binary.LittleEndian.Uint64(content)); {
	case due < r.begunNs: // the server, which was there before, had it for this device
	case int(c.index) < r.stopping:
		r.counts.Delivered++
		r.counts.FrozenGot++
	default:
		r.counts.Delivered++
		if due >= r.measureFromNs {
			r.delivery.RecordValue(max((r.loop.nowNs-due)/1000, 1))
		}
	}
	r.toMark(c)
}

// toMark notes that a session has something to mark.
func (r *run) toMark(c *conn) {
	if c.got++; c.got == 1 {
		r.marks = append(r.marks, c)
	}
}

func (r *run) acceptedPacket(c *conn, p packet.Raw) error {
	var m packet.Accepted
	if err := m.Decode(p); err != nil {
		return err
	}
	r.counts.Accepted += m.Count
	c.acked += m.Count
	for len(c.sent) > 0 && c.sent[0].n <= m.N {
		if due := c.sent[0].dueNs; due >= r.measureFromNs {
			r.ack.RecordValue(max((r.loop.nowNs-due)/1000, 1))
		}
		c.sent = c.sent[1:]
	}
	return nil
}

func (c *conn) cutStamps() {
	for len(c.sent) > 0 && c.sent[len(c.sent)-1].n > c.n {
		c.sent = c.sent[:len(c.sent)-1]
	}
}

// burst sends count messages of a size from a session to the user of another,
// which it knows by its number, or to the group, in one write, due at a time of
// the loop, which every message carries.
func (r *run) burst(from *conn, to, count, size int, dueNs int64) {
	if cap(r.scratch) == 0 {
		r.scratch = make([]byte, 0, 1<<20)
	}
	if len(r.send.Content) != size {
		r.send.Content = make([]byte, size)
	}
	b := r.scratch[:0]
	m := &r.send
	if m.To = append(m.To[:0], r.group...); to != toGroup {
		m.To = appendUser(m.To[:0], to)
	}
	binary.LittleEndian.PutUint64(m.Content, uint64(dueNs))
	first := from.ticks + 1
	for i := range count {
		if from.n++; r.encrypted != nil {
			r.encrypted.Read(m.Content[8:]) // never fails
		}
		m.N, m.ID = from.n, from.id(r.loop.nowNs)
		b = m.AppendTo(b)
		if i == 0 {
			first = from.ticks
		}
	}
	from.write(b)
	r.counts.Sent += uint64(count)
	if to >= 0 && to < r.stopping {
		r.counts.ToFrozen += uint64(count)
	}
	r.keep(sample{from, to, from.n, first, from.ticks, count, dueNs})
	from.sent = append(from.sent, stamp{from.n, dueNs})
	if dueNs >= r.measureFromNs {
		r.counts.Measured += uint64(count)
		r.lag.RecordValue(max((r.loop.clock()-dueNs)/1000, 1))
	}
	r.scratch = b[:0]
}

// markAll lets every receiver with something new say so.
func (r *run) markAll() {
	for _, c := range r.marks {
		c.got = 0
		if c.mine > c.marked && c.fd >= 0 {
			c.marked = c.mine
			m := packet.Mark{Pos: c.mine}
			c.write(m.AppendTo(nil))
		}
	}
	r.marks = r.marks[:0]
}

// drain polls until f is satisfied, or for a time at most. It reports which.
func (r *run) drain(ctx context.Context, atMost time.Duration, f func() bool) (bool, error) {
	until := r.loop.clock() + int64(atMost)
	for !f() {
		if err := r.loop.poll(r.loop.clock() + int64(20*time.Millisecond)); err != nil {
			return false, err
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		r.markAll()
		if r.loop.nowNs > until {
			return false, nil
		}
	}
	return true, nil
}
