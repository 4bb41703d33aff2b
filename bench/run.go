package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

const (
	dialsAtOnce  = 256
	dialsPerAddr = 10_000 // sessions from one source address
	settleFor    = 30 * time.Second
)

// run is one load on one server.
type run struct {
	loop  *loop
	conns []*conn
	mask  [4]byte

	welcomed, live    int
	accepted, refused uint64 // sends
	delivered         uint64 // messages
	receipts          uint64
	markEvery         uint32 // messages after which a receiver marks
	measureFromNs     int64  // what was due before is warm-up

	delivery *hdrhistogram.Histogram // us from due to the receiver
	ack      *hdrhistogram.Histogram // us from due to the acknowledgement
	lag      *hdrhistogram.Histogram // us from due to the write: the load's own fault

	frozen    *conn  // the reader that stops, if there is one
	toFrozen  uint64 // messages sent to it
	frozenGot uint64 // messages it got

	bursts  uint64
	samples []sample
	page    *packet.HistoryPage // the newest that came

	scratch []byte
	send    packet.Send
	marks   []*conn // that have something to mark
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 120_000_000, 3) }

func newRun() (*run, error) {
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	return &run{
		loop: l, mask: [4]byte{0x37, 0xfa, 0x21, 0x3d}, markEvery: 1, measureFromNs: 1 << 62,
		delivery: newHistogram(), ack: newHistogram(), lag: newHistogram(),
	}, nil
}

// userOf names the i-th user of a load.
func userOf(i int) string { return fmt.Sprintf("u%06d", i) }

// connect opens n sessions and waits until all are caught up.
func (r *run) connect(to netip.AddrPort, n int, token func(user string) (string, error)) error {
	until := r.loop.clock() + int64(time.Duration(n)*time.Millisecond+settleFor)
	for i := 0; r.live < n; {
		for ; i < n && i-r.welcomed < dialsAtOnce; i++ {
			c := &conn{run: r, user: userOf(i), index: int32(i)}
			signed, err := token(c.user)
			if err != nil {
				return err
			}
			c.greet(signed)
			from := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i/dialsPerAddr)})
			if err := r.loop.dial(to, from, c); err != nil {
				return err
			}
			r.conns = append(r.conns, c)
		}
		if err := r.loop.poll(r.loop.clock() + int64(10*time.Millisecond)); err != nil {
			return err
		}
		if r.loop.nowNs > until {
			return fmt.Errorf("bench: %d of %d sessions were up in time", r.live, n)
		}
	}
	return nil
}

// packet takes one packet of the server.
func (r *run) packet(c *conn, p packet.Raw) error {
	switch p.Type {
	case packet.TypeMessage:
		return r.message(c, p)
	case packet.TypeAccepted:
		return r.acceptedPacket(c, p)
	case packet.TypeReceipt:
		var m packet.Receipt
		if err := m.Decode(p); err != nil {
			return err
		}
		r.receipts++
		return c.link(m.Pos, m.Gap)
	case packet.TypeWelcome:
		var m packet.Welcome
		if err := m.Decode(p); err != nil {
			return err
		}
		c.node, c.mine, c.marked, c.ready_ = m.Node, m.Resume, m.Resume, true
		r.welcomed++
	case packet.TypeCaughtUp:
		var m packet.CaughtUp
		if err := m.Decode(p); err != nil {
			return err
		}
		c.mine = max(c.mine, m.Pos)
		if !c.live {
			c.live = true
			r.live++
		}
	case packet.TypeRefused:
		var m packet.Refused
		if err := m.Decode(p); err != nil {
			return err
		}
		r.refused += c.n - (m.N - 1) // a bench does not send again: it counts
		c.n = m.N - 1
		c.cutStamps()
		r.voided(c, m.N)
	case packet.TypeHistoryPage:
		return r.historyPage(p)
	case packet.TypeBye, packet.TypeError:
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
	r.delivered++
	if c == r.frozen {
		r.frozenGot++
	} else if due := int64(binary.LittleEndian.Uint64(m.Content)); due >= r.measureFromNs {
		r.delivery.RecordValue(max((r.loop.nowNs-due)/1000, 1))
	}
	if c.got++; c.got == 1 {
		r.marks = append(r.marks, c)
	}
	return nil
}

func (r *run) acceptedPacket(c *conn, p packet.Raw) error {
	var m packet.Accepted
	if err := m.Decode(p); err != nil {
		return err
	}
	r.accepted += m.Count
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

// burst sends count messages of a size from one user to another in one write,
// due at a time of the loop, which every message carries.
func (r *run) burst(from, to *conn, count, size int, dueNs int64) {
	if cap(r.scratch) == 0 {
		r.scratch = make([]byte, 0, 1<<20)
		r.send.Content = make([]byte, size)
	}
	b := r.scratch[:0]
	m := &r.send
	m.To = append(m.To[:0], to.user...)
	m.Content = m.Content[:size]
	binary.LittleEndian.PutUint64(m.Content, uint64(dueNs))
	first := from.ticks + 1
	for i := range count {
		from.n++
		m.N, m.ID = from.n, from.id(r.loop.nowNs)
		b = m.AppendTo(b)
		if i == 0 {
			first = from.ticks
		}
	}
	from.write(b)
	if to == r.frozen {
		r.toFrozen += uint64(count)
	}
	r.keep(sample{from, to, from.n, first, from.ticks, count, dueNs})
	from.sent = append(from.sent, stamp{from.n, dueNs})
	if dueNs >= r.measureFromNs {
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
func (r *run) drain(atMost time.Duration, f func() bool) (bool, error) {
	until := r.loop.clock() + int64(atMost)
	for !f() {
		if err := r.loop.poll(r.loop.clock() + int64(20*time.Millisecond)); err != nil {
			return false, err
		}
		r.markAll()
		if r.loop.nowNs > until {
			return false, nil
		}
	}
	return true, nil
}
