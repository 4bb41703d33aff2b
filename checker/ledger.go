package main

import (
	"fmt"
	"sync"
)

type msgID = [16]byte

// message is one message that a device attempted to send.
type message struct {
	id       msgID
	from, to string
	device   string // the sender's
	counter  int    // of the sending device, over all its chats
	content  string
	accepted bool
	flagged  bool   // sent as a retry
	place    uint64 // in the receiver's partition, where the sender was told so
	stored   uint64 // where receivers were sent it
}

// ledger is what the checker knows to be true: what was attempted, and what the
// server promised. Faults are collected, the first hundred.
type ledger struct {
	mu     sync.Mutex
	sent   map[msgID]*message
	byTo   map[string][]*message // accepted, by receiver
	marked map[string]uint64     // by user: how far the furthest device has marked
	faults []string
	count  int // of faults

	accepted, retried, delivered, caughtUps, outcomes, again int
}

func newLedger() *ledger {
	return &ledger{sent: map[msgID]*message{}, byTo: map[string][]*message{}, marked: map[string]uint64{}}
}

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
	l.byTo[m.to] = append(l.byTo[m.to], m)
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
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.sent[id]
	switch {
	case m == nil:
		l.faultLocked("unexpected: %s was sent %x, which nobody sent", who, id)
	case m.from != from || m.to != to || content != "" && m.content != content:
		l.faultLocked("unexpected: %s was sent %x from %s to %s as %.20q, it was from %s to %s as %.20q", who, id, from, to, content, m.from, m.to, m.content)
	default:
		l.delivered++
		return m
	}
	return nil
}

// storedAt enters where a receiver was sent a message: the same for all devices,
// for ever, and where its sender was told.
func (l *ledger) storedAt(m *message, pos uint64, who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.stored != 0 && m.stored != pos {
		l.faultLocked("unique: %x is at %d and at %d, says %s", m.id, m.stored, pos, who)
	}
	if m.place != 0 && m.place != pos {
		l.faultLocked("unique: %x was accepted at %d, and %s was sent it at %d", m.id, m.place, who, pos)
	}
	m.stored = pos
}
