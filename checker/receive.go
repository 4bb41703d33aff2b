package main

import (
	"slices"
	"strings"
	"time"
)

// packet takes one packet of the server; d.mu is held.
func (d *device) packet(p fields) {
	switch p.uint(0) {
	case typeWelcome:
		d.welcome(p)
	case typeAccepted:
		d.accepted(p)
	case typeRefused:
		d.refused(p)
	case typeMessage:
		if d.link(p, "message") {
			d.message(p)
		}
	case typeCopy:
		if d.link(p, "copy") {
			d.copyOf(p)
		}
	case typeGroupMessage:
		if d.link(p, "group message") {
			d.groupMessage(p)
		}
	case typeReceipt:
		if p.uint(1) == 0 || d.link(p, "receipt") {
			d.receipt(p)
		}
	case typeCaughtUp:
		d.bookmark(p.uint(1))
	case typeTruncated:
		d.fault("%s: truncated up to %d, though nothing is that old", d.who(), p.uint(1))
	case typeOutcome:
		d.outcome(p)
	case typeBye:
		d.note("bye "+p.str(4), " %d", p.uint(1))
		if d.parting != nil && d.parting(p.uint(1), p.uint(2)) {
			return
		}
		d.fault("%s: bye %d %s", d.who(), p.uint(1), p.str(4))
	case typeError:
		d.fault("%s: error %d %s", d.who(), p.uint(1), p.str(3))
	}
}

func (d *device) welcome(p fields) {
	d.node, d.welcomed = slices.Clone(p.bin(3)), true
	resume := p.uint(5)
	d.note("welcome", ", at %d, %d wait; mine is %d", resume, p.uint(6), d.mine)
	if d.begun && resume != d.mine {
		d.fault("resumable: %s asked to go on at %d, the server goes on at %d", d.who(), d.mine, resume)
	}
	if !d.begun {
		d.begun, d.start, d.mine = true, resume, resume
		d.saved.mine = resume
		d.ledger.began(d.user)
	}
}

func (d *device) accepted(p fields) {
	n, count, pos := p.uint(1), p.uint(2), p.uint(3)
	for i := n - count + 1; i <= n; i++ {
		m := d.open[i]
		if m == nil {
			d.fault("%s: accepted %d, which is not under way", d.who(), i)
			continue
		}
		delete(d.open, i)
		d.inflight--
		d.ledger.promise(m, pos-(n-i))
	}
	// Take the accepted ones off the front; those behind them stay.
	for len(d.outbox) > 0 && d.outbox[0].accepted && d.written > 0 {
		d.outbox = d.outbox[1:]
		d.written--
		d.n++
	}
}

// Why a send is refused for now.
const (
	codeOverloaded  = 1
	codeRateLimited = 2
)

// codeNotMember is the outcome of a message whose sender is no member.
const codeNotMember = 12

func (d *device) refused(p fields) {
	n := p.uint(1)
	if code := p.uint(2); code != codeOverloaded && code != codeRateLimited {
		d.fault("%s: send %d refused with %d %s", d.who(), n, code, p.str(4))
	}
	for i := range d.open {
		if i >= n {
			delete(d.open, i)
			d.inflight--
		}
	}
	d.written = int(n - d.n)
	hold := time.Duration(p.uint(3)) * time.Millisecond
	if hold <= 0 && p.uint(2) <= codeRateLimited {
		d.fault("%s: send %d refused for now, without a time to come back at", d.who(), n)
	}
	d.holdTill = time.Now().Add(hold)
	d.wake(hold + time.Millisecond)
	d.refusals++
	if p.uint(2) == codeOverloaded {
		d.overloaded++
	}
}

// link holds an entry against the chain rule.
func (d *device) link(p fields, what string) bool {
	pos, gap := p.uint(1), p.uint(2)
	d.note(what, " at %d gap %d", pos, gap)
	if pos <= d.mine {
		d.fault("unique: %s was sent a %s at %d, it stands at %d", d.who(), what, pos, d.mine)
		return false
	}
	if gap > pos || pos-gap > d.mine {
		d.fault("resumable: %s was sent a %s at %d with gap %d, it stands at %d", d.who(), what, pos, gap, d.mine)
		return false
	}
	d.mine = pos
	return true
}

func (d *device) message(p fields) {
	m := d.ledger.received(d, p.id(3), p.str(4), string(p.bin(7)), p.uint(1))
	if m == nil {
		return
	}
	d.saved.got = append(d.saved.got, m)
	d.inOrder(m, "message")
	if d.arrived != nil {
		d.arrived(m)
	}
}

// inOrder checks the order of one sending device's messages in one chat.
func (d *device) inOrder(m *message, what string) {
	of := stream{what, m.from, m.device, m.to}
	if m.counter <= d.last[of] {
		d.fault("ordered: %s was sent %s %d of %s/%s to %s after %d", d.who(), what, m.counter, m.from, m.device, m.to, d.last[of])
	}
	d.come(of, m.counter)
}

func (d *device) groupMessage(p fields) {
	m := d.ledger.receivedInGroup(d, p.id(3), p.str(4), p.str(5), string(p.bin(9)), p.uint(1), p.uint(6))
	if m == nil {
		return
	}
	d.inGroupOrder(m, p.uint(6), "message")
	if d.arrived != nil {
		d.arrived(m)
	}
}

// inGroupOrder checks the group's order, which is all its members', and the
// order of one sending device's messages in it.
func (d *device) inGroupOrder(m *message, place uint64, what string) {
	d.saved.groups = append(d.saved.groups, m)
	of := placeIn(m.to)
	if before := d.last[of]; int(place) <= before {
		d.fault("ordered: %s was sent a message at %d of %s after one at %d", d.who(), place, m.to, before)
	}
	d.come(of, int(place))
	d.inOrder(m, what)
}

func (d *device) copyOf(p fields) {
	if to := p.str(4); strings.HasPrefix(to, ":") {
		if m := d.ledger.receivedInGroup(d, p.id(3), d.user, to, string(p.bin(7)), p.uint(1), p.uint(8)); m != nil {
			d.inGroupOrder(m, p.uint(8), "copy")
		}
		return
	}
	if m := d.ledger.receivedCopy(d, p.id(3), p.str(4), string(p.bin(7)), p.uint(1)); m != nil {
		d.saved.copies = append(d.saved.copies, m)
		d.inOrder(m, "copy")
	}
}

func (d *device) receipt(p fields) {
	peer, delivered, read := p.str(3), p.uint(4), p.uint(5)
	was := d.receipts[peer]
	if delivered < was[0] || read < was[1] {
		// Catch-up may tell again what is known, but never less.
		d.fault("monotonic: %s: receipt of %s went from %v to %d, %d", d.who(), peer, was, delivered, read)
	}
	if read > delivered {
		d.fault("monotonic: %s: %s read up to %d but was delivered %d", d.who(), peer, read, delivered)
	}
	if g := d.ledger.groupOf(peer); g != nil {
		d.ledger.inGroup(d, g, delivered)
	} else if marked := d.ledger.markOf(peer); delivered > marked {
		d.fault("monotonic: %s: %s was delivered %d but has marked %d", d.who(), peer, delivered, marked)
	}
	d.receipts[peer] = [2]uint64{delivered, read}
}

// bookmark checks that everything promised up to pos has come.
func (d *device) bookmark(pos uint64) {
	d.ups++
	d.note("caught up", " to %d", pos)
	l := d.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caughtUps++
	if pos < d.mine {
		l.faultLocked("bookmarks: %s stands at %d and is told that it is caught up to %d", d.who(), d.mine, pos)
	}
	// What another device was sent counts as much as what its sender was told.
	for _, m := range l.byTo[d.user] {
		if at := max(m.place, m.stored); at != 0 && at <= pos && at > d.start && m.got&d.bit == 0 {
			l.faultLocked("bookmarks: %s is caught up to %d without %x at %d", d.who(), pos, m.id, at)
			break
		}
	}
	for _, m := range l.byFrom[d.user] {
		if m.copiedAt != 0 && m.copiedAt <= pos && m.copiedAt > d.start && m.copied&d.bit == 0 {
			l.faultLocked("bookmarks: %s is caught up to %d without the copy %x at %d", d.who(), pos, m.id, m.copiedAt)
			break
		}
	}
	if m := l.withoutGroup(d, pos); m != nil {
		l.faultLocked("bookmarks: %s is caught up to %d without %x of %s, at %d", d.who(), pos, m.id, m.to, m.at[m.slots[d.user]])
	}
	d.mine = max(d.mine, pos)
	if d.caughtUp != nil {
		d.caughtUp()
	}
}

func (d *device) outcome(p fields) {
	l := d.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes++
	m, at := l.sent[p.id(1)], l.past[p.id(1)]
	switch {
	case m == nil && at != 0:
		if p.uint(3) != 0 || p.uint(4) != at {
			l.faultLocked("unique: %x is at %d and is said, with outcome %d, to be at %d", p.id(1), at, p.uint(3), p.uint(4))
		}
	case m == nil:
		l.faultLocked("unexpected: %s got an outcome of %x, which nobody sent", d.who(), p.id(1))
	case p.uint(3) == codeNotMember && m.toGroup != nil && (m.stored == 0 || m.flagged):
		m.code = p.uint(3)
	case p.uint(3) != 0:
		l.faultLocked("%s: outcome %d of %x", d.who(), p.uint(3), m.id)
	case m.place != 0 && m.place != p.uint(4):
		l.faultLocked("unique: %x was accepted at %d and is said to be at %d", m.id, m.place, p.uint(4))
	default:
		m.place = p.uint(4)
	}
}
