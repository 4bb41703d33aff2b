package client

import (
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// outbox holds what is not accepted yet, in the order of sending, and numbers it
// for the session (law 8). It does no I/O. Guarded by Client.mu.
type outbox struct {
	items []*item // items[:sent] have numbers in this session, rising
	sent  int
	next  uint64 // the number of the next send
	bytes int    // of the items' packets, about
	done  int    // of items[:sent]: settled, but with unsettled ones before them

	notBefore time.Time // a refusal asked to wait
	refusals  int       // retryable ones since the last acceptance
}

// item is one message of the outbox.
type item struct {
	handle  *Sent
	message packet.Send // without a number; its flags say whether it may have arrived before
	seq     uint64      // of its record in the journal: it leaves only once that is durable
	bytes   int
	n       uint64 // its number in this session, 0: none
	settled bool

	// What came of its outcome, if that was before its acceptance.
	place chat.Position
	err   error
}

func (o *outbox) push(it *item) {
	o.items = append(o.items, it)
	o.bytes += it.bytes
}

// unsettled returns the items whose outcome is open.
func (o *outbox) unsettled() []*item {
	return slices.DeleteFunc(slices.Clone(o.items), func(it *item) bool { return it.settled })
}

// begin starts a session: nothing is numbered in it.
func (o *outbox) begin() { o.next, o.notBefore, o.refusals = 1, time.Time{}, 0 }

// end ends a session: what was on its way may have arrived, so it is a retry
// from now on, byte for byte.
func (o *outbox) end() {
	for _, it := range o.items[:o.sent] {
		if !it.settled {
			it.n, it.place, it.err = 0, 0, nil // it is judged again
			it.message.Flags |= packet.SendRetry
		}
	}
	o.items = slices.DeleteFunc(o.items, func(it *item) bool { return it.settled })
	o.sent, o.done = 0, 0
}

// inflight returns how many sends are without an answer.
func (o *outbox) inflight() int { return o.sent - o.done }

// take returns the next item to write, numbered, or nil when there is none that
// may go: synced is how far the journal is durable, roomBytes what it may have.
func (o *outbox) take(synced uint64, now time.Time, roomBytes int) *item {
	if o.sent == len(o.items) || now.Before(o.notBefore) {
		return nil
	}
	it := o.items[o.sent]
	if it.seq > synced || it.bytes > roomBytes {
		return nil
	}
	it.n = o.next
	o.next++
	o.sent++
	return it
}

// accepted settles the sends n-count+1 to n and calls f with each and its place.
// It reports whether the numbers were those of sends on their way.
func (o *outbox) accepted(a packet.Accepted, f func(it *item, place chat.Position)) bool {
	if a.N >= o.next || a.Count == 0 || a.Count > a.N {
		return false
	}
	for _, it := range o.items[:o.sent] {
		if it.n > a.N {
			break
		}
		if it.n+a.Count > a.N && !it.settled {
			o.settle(it)
			f(it, a.Pos-chat.Position(a.N-it.n))
		}
	}
	o.refusals = 0
	o.trim()
	return true
}

// refused takes back the numbers from n on. The item n itself is returned; with
// drop it leaves the outbox, and the next one gets its number. The others were
// refused with it, for certain, so they become no retries by this. nil: n is not
// the number of a send on its way, which a repeated refusal is.
func (o *outbox) refused(n uint64, drop bool) *item {
	i := slices.IndexFunc(o.items[:o.sent], func(it *item) bool { return it.n == n && !it.settled })
	if i < 0 {
		return nil
	}
	refused := o.items[i]
	for _, later := range o.items[i:o.sent] {
		later.n = 0
		if later.settled { // by a server that takes newer ones all the same
			o.done--
		}
	}
	o.items = slices.DeleteFunc(o.items, func(it *item) bool { return it.settled && it.n == 0 })
	o.sent, o.next = i, n
	if drop {
		refused.settled = true
		o.bytes -= refused.bytes
		o.items = slices.Delete(o.items, i, i+1)
	}
	return refused
}

func (o *outbox) settle(it *item) {
	it.settled = true
	o.done++
	o.bytes -= it.bytes
}

// trim lets go of the settled items at the front.
func (o *outbox) trim() {
	n := 0
	for n < o.sent && o.items[n].settled {
		o.items[n] = nil
		n++
	}
	o.items, o.sent, o.done = o.items[n:], o.sent-n, o.done-n
}
