package rpc

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/presence"
)

// peer is one gateway: its queue, here, and its stream, in stream.go.
type peer struct {
	p    *Peers
	to   presence.Gateway
	wake chan struct{} // there is a frame, or credit for one

	mu      sync.Mutex
	retired bool
	queue   []queued // the last one is being filled
	sent    []queued // not answered; their buffers have gone
	bytes   int      // of both
	seq     uint64   // of the newest frame
	version uint32   // of the process at the other end, as it has answered; 0 before
	calls   uint64   // the newest sibling call
	waiting map[uint64]chan error
}

// queued is a frame.
type queued struct {
	buf    *[]byte
	seq    uint64
	bytes  int
	items  int
	packet []byte // of its newest hint, as it lies in buf; nil of a copy, and before the first
}

// errRetired says that the peer was given up before the item came: another one
// has to be made.
var errRetired = errors.New("rpc: retired")

// maxItemBytes leaves room for a frame's header, and for what was in it before.
const maxItemBytes = maxFrameBytes - maxFillBytes - 64

func newPeer(p *Peers, to presence.Gateway) *peer {
	return &peer{p: p, to: to, wake: make(chan struct{}, 1), waiting: map[uint64]chan error{}}
}

// hint queues a hint, whose packet goes only once where the one before it in the
// frame has the same.
func (q *peer) hint(h *delivery.Hint) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.retired {
		return errRetired
	}
	same := q.version >= sharing && bytes.Equal(q.filling().packet, h.Packet)
	if err := q.addLocked(func(b []byte) []byte { return appendHint(b, h, same) }); err != nil {
		return err
	}
	if f := &q.queue[len(q.queue)-1]; len(h.Bare) > 0 {
		f.packet = nil
	} else if !same { // it is the hint's end
		f.packet = (*f.buf)[len(*f.buf)-len(h.Packet):]
	}
	return nil
}

// add queues what encode appends. An empty queue takes any one item.
func (q *peer) add(encode func([]byte) []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.addLocked(encode)
}

func (q *peer) addLocked(encode func([]byte) []byte) error {
	if q.retired {
		return errRetired
	}
	f := q.filling()
	before := len(*f.buf)
	*f.buf = encode(*f.buf)
	n := len(*f.buf) - before
	drops := &q.p.Stats.DroppedFull
	switch {
	case n > maxItemBytes:
		drops = &q.p.Stats.DroppedLarge
	case q.bytes == 0 || q.bytes+n <= q.p.opt.QueueBytes:
		f.bytes += n
		f.items++
		q.bytes += n
		q.p.Stats.Bytes.Add(int64(n))
		if f.items == 1 || q.full(f) { // else the sender knows of it
			q.poke()
		}
		return nil
	}
	*f.buf = (*f.buf)[:before]
	drops.Add(1)
	return ErrFull
}

// filling returns the frame that the next item goes into.
func (q *peer) filling() *queued {
	if n := len(q.queue); n > 0 && !q.full(&q.queue[n-1]) {
		return &q.queue[n-1]
	}
	q.seq++
	buf := frames.Get(0)
	*buf = appendHeader(*buf, q.seq)
	q.queue = append(q.queue, queued{buf: buf, seq: q.seq})
	return &q.queue[len(q.queue)-1]
}

// full says that a frame takes no more.
func (q *peer) full(f *queued) bool {
	return f.items > 0 && (len(*f.buf) >= q.p.opt.FrameBytes || f.items >= q.p.opt.FrameHints)
}

func (q *peer) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next takes the frame that may be sent now. What comes while it is sent goes
// into the next one.
func (q *peer) next() (f queued, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 || q.queue[0].items == 0 || len(q.sent) >= q.p.opt.Window {
		return f, false
	}
	f = q.queue[0]
	q.queue = q.queue[:copy(q.queue, q.queue[1:])]
	q.sent = append(q.sent, queued{seq: f.seq, bytes: f.bytes, items: f.items})
	return f, true
}

// answered takes the credit of an answer, and what else it says.
func (q *peer) answered(a *Answer) {
	q.mu.Lock()
	q.version = a.Version
	n := 0
	for n < len(q.sent) && q.sent[n].seq <= a.Seq {
		q.freed(q.sent[n].bytes)
		n++
	}
	q.sent = q.sent[:copy(q.sent, q.sent[n:])]
	for _, id := range a.Siblings {
		q.finish(id, nil)
	}
	q.mu.Unlock()
	q.poke()
	q.p.Stats.Stale.Add(uint64(len(a.Absent)))
	for _, u := range a.Absent {
		q.p.opt.Stale(chat.User(u), q.to)
	}
}

func (q *peer) freed(bytes int) {
	q.bytes -= bytes
	q.p.Stats.Bytes.Add(-int64(bytes))
}

// broken drops what was sent without an answer, and fails the calls.
func (q *peer) broken() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range q.sent {
		q.freed(f.bytes)
		q.p.Stats.DroppedBroken.Add(uint64(f.items))
	}
	q.sent, q.version = q.sent[:0], 0
	q.fail(ErrBroken)
}

// retire gives the peer up, if it holds nothing or that is to be dropped.
func (q *peer) retire(drop bool) bool {
	q.p.mu.Lock()
	defer q.p.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes > 0 && !drop {
		return false
	}
	q.retired = true
	delete(q.p.peers, q.to)
	q.p.Stats.Peers.Add(-1)
	drops, why := &q.p.Stats.DroppedUnreachable, ErrBroken
	if q.p.ctx.Err() != nil {
		drops, why = &q.p.Stats.DroppedClosed, ErrClosed
	}
	for _, f := range append(q.queue, q.sent...) {
		q.freed(f.bytes)
		drops.Add(uint64(f.items))
	}
	q.queue, q.sent = nil, nil
	q.fail(why)
	return true
}

// call makes a sibling call and waits for its answer.
func (q *peer) call(ctx context.Context, user chat.User, revoked chat.Device) error {
	q.mu.Lock()
	if len(q.waiting) >= maxCalls {
		q.mu.Unlock()
		return ErrBusy
	}
	q.calls++
	id, done := q.calls, make(chan error, 1)
	f := Frame{Siblings: []*Sibling{{Call: id, User: string(user), Revoked: string(revoked)}}}
	err := q.addLocked(func(b []byte) []byte { return appendFrame(b, &f) })
	if err == nil {
		q.waiting[id] = done
	}
	q.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		q.mu.Lock()
		delete(q.waiting, id)
		q.mu.Unlock()
		return ctx.Err()
	}
}

func (q *peer) finish(id uint64, err error) {
	if done, ok := q.waiting[id]; ok {
		delete(q.waiting, id)
		done <- err
	}
}

func (q *peer) fail(err error) {
	for id := range q.waiting {
		q.finish(id, err)
	}
}
