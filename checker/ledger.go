package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

type msgID = [16]byte

// message is one message that a device attempted to send. All but what it was
// sent as is guarded by the ledger's lock.
type message struct {
	id       msgID
	from, to string
	device   string // the sender's
	counter  int    // of the sending device, over all its chats
	born     time.Time
	touched  bool // its bytes may have touched a socket; the device's own
	owed     bool // to the sender's devices, as a copy
	accepted bool
	flagged  bool   // sent as a retry
	place    uint64 // in the receiver's partition, where the sender was told so
	stored   uint64 // where receivers were sent it
	copiedAt uint64 // where the sender's devices were
	got      uint8  // the receiver's devices that have it, a bit each
	copied   uint8  // the sender's devices that do
	held     int    // devices that have it and have not persisted it

	*toGroup // nil for a message to a user
}

// content follows from who sent it, so that millions of messages need not hold
// theirs. One to a group, which a thousand may get, does.
func (m *message) content() string {
	if m.toGroup != nil {
		return m.said
	}
	return m.text()
}

func (m *message) text() string {
	return fmt.Sprintf("%-100s", fmt.Sprintf("%s/%s-%06d", m.from, m.device, m.counter))
}

// ledger is what the checker knows to be true: what was attempted, and what the
// server promised. Faults are collected, the first hundred.
type ledger struct {
	mu     sync.Mutex
	sent   map[msgID]*message
	past   map[msgID]uint64             // settled: where receivers were sent it
	byTo   map[string][]*message        // accepted, by receiver
	byFrom map[string][]*message        // accepted, by sender
	owed   map[string]map[string]uint64 // by sender and receiver: how far there have to be receipts
	groups map[string]*group            // by name
	part   map[string][]*message        // to groups, by a user of several devices: what one of them may not have
	marked map[string]uint64            // by user: how far the furthest device has marked
	people map[string]int               // devices of a user
	begun  map[string]int               // of them those that had a welcome
	faults []string
	count  int // of faults

	attempted, accepted, retried, delivered, caughtUps, outcomes, again, settled int
}

func newLedger() *ledger {
	return &ledger{
		sent: map[msgID]*message{}, past: map[msgID]uint64{}, byTo: map[string][]*message{}, byFrom: map[string][]*message{}, owed: map[string]map[string]uint64{},
		groups: map[string]*group{}, part: map[string][]*message{}, marked: map[string]uint64{}, people: map[string]int{}, begun: map[string]int{},
	}
}

// enrol takes a device into the ledger, and returns its bit among its user's.
func (l *ledger) enrol(user string) uint8 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.people[user]++
	if l.people[user] > 8 {
		panic("a user of the checker has at most 8 devices")
	}
	return 1 << (l.people[user] - 1)
}

func (l *ledger) began(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun[user]++
}

// all is the bits of all devices of a user.
func (l *ledger) all(user string) uint8 { return uint8(1<<l.people[user] - 1) }

func (l *ledger) fault(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faultLocked(format, a...)
}

func (l *ledger) faultLocked(format string, a ...any) {
	if l.count++; l.count <= 100 {
		l.faults = append(l.faults, fmt.Sprintf(format, a...))
	}
}

// attempt enters a message before its first byte leaves.
func (l *ledger) attempt(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[m.id] = m
	l.attempted++
	if m.toGroup != nil {
		return
	}
	// A device that is there before a message is attempted gets its copy.
	m.owed = l.people[m.from] > 1 && l.begun[m.from] == l.people[m.from]
}

// promise enters the server's word that a message is durable.
func (l *ledger) promise(m *message, place uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.accepted {
		return
	}
	m.accepted = true
	l.accepted++
	if !m.flagged {
		m.place = place // of a retry the place may be a later one
	}
	if m.toGroup != nil {
		m.open = true
		return
	}
	l.byTo[m.to] = append(l.byTo[m.to], m)
	l.byFrom[m.from] = append(l.byFrom[m.from], m)
	l.owe(m)
}

// owe notes how far the sender has to get receipts: what was accepted and is
// known to be somewhere.
func (l *ledger) owe(m *message) {
	if !m.accepted || m.stored == 0 || m.toGroup != nil {
		return
	}
	if l.owed[m.from] == nil {
		l.owed[m.from] = map[string]uint64{}
	}
	l.owed[m.from][m.to] = max(l.owed[m.from][m.to], m.stored)
}

// mark enters a mark before its first byte leaves.
func (l *ledger) mark(user string, pos uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marked[user] = max(l.marked[user], pos)
}

func (l *ledger) markOf(user string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marked[user]
}

// find returns what a received message was sent as, or reports it.
func (l *ledger) find(id msgID, from, to, content, who string) *message {
	m := l.sent[id]
	switch {
	case m == nil:
		l.faultLocked("unexpected: %s was sent %x (%.30q), which nobody sent, or everybody had long ago", who, id, content)
	case m.from != from || m.to != to || content != "" && m.content() != content:
		l.faultLocked("unexpected: %s was sent %x from %s to %s as %.20q, it was from %s to %s as %.20q",
			who, id, from, to, content, m.from, m.to, m.content())
	default:
		l.delivered++
		return m
	}
	return nil
}

// received enters that a device was sent a message; nil if it should not have been.
func (l *ledger) received(d *device, id msgID, from, content string, pos uint64) *message {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.sent[id]; m != nil && m.got&d.bit != 0 {
		l.faultLocked("unique: %s was sent %x twice", d.who(), id)
		return nil
	}
	m := l.find(id, from, d.user, content, d.who())
	if m == nil {
		return nil
	}
	m.got |= d.bit
	m.held++
	l.storedAt(m, pos, d.who())
	return m
}

// receivedCopy is received for a copy of what the device's user sent.
func (l *ledger) receivedCopy(d *device, id msgID, to, content string, pos uint64) *message {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.sent[id]; m != nil && m.copied&d.bit != 0 {
		l.faultLocked("unique: %s was sent the copy %x twice", d.who(), id)
		return nil
	}
	m := l.find(id, d.user, to, content, d.who())
	if m == nil {
		return nil
	}
	if m.copiedAt != 0 && m.copiedAt != pos {
		l.faultLocked("unique: the copy %x is at %d and at %d, says %s", m.id, m.copiedAt, pos, d.who())
	}
	m.copied |= d.bit
	m.copiedAt = pos
	m.held++
	return m
}

// storedAt enters where a receiver was sent a message: the same for all devices,
// for ever, and where its sender was told.
func (l *ledger) storedAt(m *message, pos uint64, who string) {
	if m.stored != 0 && m.stored != pos {
		l.faultLocked("unique: %x is at %d and at %d, says %s", m.id, m.stored, pos, who)
	}
	if m.place != 0 && m.place != pos {
		l.faultLocked("unique: %x was accepted at %d, and %s was sent it at %d", m.id, m.place, who, pos)
	}
	m.stored = pos
	l.owe(m)
}

// complete reports whether everybody has a message who is to have it. Of one to
// a group that is not known before the end.
func (l *ledger) complete(m *message) bool {
	return m.toGroup == nil && m.accepted && m.got == l.all(m.to) && (!m.owed || m.copied == l.all(m.from))
}

// settle forgets what everybody has and has persisted, and is older than a
// time, but where it is: a broker that was sent it twice may make an outcome of
// the second at any time. Anything else of it is unexpected from then on.
func (l *ledger) settle(before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := func(m *message) bool { return m.held == 0 && m.born.Before(before) && l.complete(m) }
	for _, by := range []map[string][]*message{l.byTo, l.byFrom} {
		for user, list := range by {
			by[user] = slices.DeleteFunc(list, gone)
		}
	}
	for id, m := range l.sent {
		if gone(m) {
			delete(l.sent, id)
			l.past[id] = m.stored
			l.settled++
		}
	}
}
