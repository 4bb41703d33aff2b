package main

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"
)

// A group (docs/protocol.md section 9.7), its messages and who was sent them.
// All is guarded by the ledger's lock.
type group struct {
	name     string
	creator  string
	users    []string       // who may ever be a member; the creator is the first
	slots    map[string]int // of them
	steady   int            // so many of them are members all the time
	open     bool           // the create has been accepted
	asked    map[string]bool
	comings  map[string]int
	messages []*message
}

// A user comes to a group at most so often: the server bounds it, at 15 times.
const mostComings = 12

// sides is how many devices a user of a group has at most.
const sides = 2

// toGroup is what a message to a group is besides.
type toGroup struct {
	*group
	change *change
	said   string
	gotBy  []uint64 // the devices that have it, sides bits a slot
	at     []uint64 // by slot: where in the member's chain it is
	code   uint64   // of the outcome that refused it
}

// Verbs of a change.
const (
	verbCreate, verbAdd, verbRemove, verbLeave = 1, 2, 3, 4
	suiteChange                                = 3
)

// change is what a message does to a group.
type change struct {
	verb  byte
	users []string
}

func (c *change) content() []byte {
	b := binary.AppendUvarint([]byte{1, c.verb}, uint64(len(c.users)))
	for _, u := range c.users {
		b = append(binary.AppendUvarint(b, uint64(len(u))), u...)
	}
	return b
}

// newGroup is a group of users, of whom some are members all the time. It is
// made by the first one's message.
func newGroup(users []string, steady int) *group {
	g := &group{creator: users[0], users: users, slots: map[string]int{}, steady: steady, asked: map[string]bool{}, comings: map[string]int{}}
	for i, u := range users {
		g.slots[u] = i
	}
	return g
}

func nameOf(id msgID) string { return ":" + base64.RawURLEncoding.EncodeToString(id[:]) }

// bit is a device's in got.
func (m *toGroup) bit(d *device) (word int, bit uint64) { return d.inSlot(m.slots[d.user]) }

func (d *device) inSlot(slot int) (word int, bit uint64) {
	return slot / 32, uint64(d.bit) << (slot % 32 * sides)
}

func (m *toGroup) has(d *device) bool { return m.hasIn(m.slots[d.user], d) }

func (m *toGroup) hasIn(slot int, d *device) bool {
	word, bit := d.inSlot(slot)
	return m.gotBy[word]&bit != 0
}

// receivedInGroup enters that a device was sent a message to a group, or a copy
// of one; nil if it should not have been. Whether it was for a member is judged
// when all is known.
func (l *ledger) receivedInGroup(d *device, id msgID, from, to, content string, pos, place uint64) *message {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.find(id, from, to, content, d.who())
	switch {
	case m == nil:
		return nil
	case m.toGroup == nil:
		l.faultLocked("unexpected: %s was sent %x of %s to %s as if that were a group", d.who(), id, from, to)
		return nil
	case m.code != 0 && !m.flagged: // a retry may find its sender a member
		l.faultLocked("unexpected: %s was sent %x of %s to %s, which was refused with outcome %d", d.who(), id, from, to, m.code)
	}
	slot, known := m.slots[d.user]
	if !known {
		l.faultLocked("unexpected: %s was sent %x of %s to %s, and was never a member", d.who(), id, from, to)
		return nil
	}
	word, bit := m.bit(d)
	if m.gotBy[word]&bit != 0 {
		l.faultLocked("unique: %s was sent %x twice", d.who(), id)
		return nil
	}
	if m.at[slot] != 0 && m.at[slot] != pos {
		l.faultLocked("unique: %x is at %d and at %d, says %s", id, m.at[slot], pos, d.who())
	}
	m.gotBy[word] |= bit
	m.at[slot] = pos
	m.held++
	if l.people[d.user] > 1 && m.at[slot] > 0 {
		l.part[d.user] = append(l.part[d.user], m)
	}
	l.storedAt(m, place, d.who())
	return m
}

// withoutGroup is a message of a group that another device of a user has, at or
// before a position, and this one has not; nil if there is none.
func (l *ledger) withoutGroup(d *device, pos uint64) *message {
	all := l.all(d.user)
	l.part[d.user] = slices.DeleteFunc(l.part[d.user], func(m *message) bool {
		slot := m.slots[d.user]
		return uint8(m.gotBy[slot/32]>>(slot%32*sides))&all == all
	})
	for _, m := range l.part[d.user] {
		if at := m.at[m.slots[d.user]]; at <= pos && at > d.start && !m.has(d) {
			return m
		}
	}
	return nil
}

// forget takes from a device what it had not persisted of groups.
func (m *toGroup) forget(l *ledger, d *device, whole *message) {
	word, bit := m.bit(d)
	m.gotBy[word] &^= bit
	if l.people[d.user] > 1 {
		l.part[d.user] = append(l.part[d.user], whole)
	}
}

// inGroup judges a receipt of a group: who was there all the time has marked
// what its sender is told that all have.
func (l *ledger) inGroup(d *device, g *group, delivered uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var newest *message // a sender's are in the order of sending
	for i := len(g.messages) - 1; i >= 0 && newest == nil; i-- {
		if m := g.messages[i]; m.from == d.user && m.stored != 0 && m.stored <= delivered {
			newest = m
		}
	}
	if newest == nil || newest.change != nil && newest.change.verb == verbCreate { // of whom it made members it is where they begin
		return
	}
	for slot, u := range g.users[:g.steady] {
		if at := newest.at[slot]; u != d.user && (at == 0 || l.marked[u] < at) {
			l.faultLocked("monotonic: %s is told that all of %s have up to %d; %s has %x, which is at %d there, at %d and has marked %d",
				d.who(), g.name, delivered, u, newest.id, newest.stored, at, l.marked[u])
		}
	}
}

// audience walks through a group's messages in their order, and says for each
// who is to have it, by slot: the members at its place, and of a change those
// before it too. Of who was no member there, nobody.
func (g *group) audience(each func(m *message, was bool, members []bool)) {
	ordered := slices.Clone(g.messages)
	ordered = slices.DeleteFunc(ordered, func(m *message) bool { return m.where() == 0 })
	slices.SortStableFunc(ordered, func(a, b *message) int {
		switch x, y := a.where(), b.where(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	nobody, members := make([]bool, len(g.users)), make([]bool, len(g.users))
	for _, m := range ordered {
		create := m.change != nil && m.change.verb == verbCreate
		was, told := members[g.slots[m.from]] || create, nobody
		if was && m.stored != 0 {
			told = members
			if m.change != nil {
				told = slices.Clone(members)
				m.change.apply(g.slots, m.from, members)
				for slot, in := range members {
					told[slot] = told[slot] || in
				}
			}
		}
		each(m, was, told)
	}
}

// apply makes the change among the members, who are by slot.
func (c *change) apply(slots map[string]int, from string, members []bool) {
	switch c.verb {
	case verbCreate, verbAdd:
		for _, u := range c.users {
			members[slots[u]] = true
		}
		if c.verb == verbCreate {
			members[slots[from]] = true
		}
	case verbRemove:
		for _, u := range c.users {
			members[slots[u]] = false
		}
	case verbLeave:
		members[slots[from]] = false
	}
}

// where is where a message is, as far as anybody was told.
func (m *message) where() uint64 {
	if m.stored != 0 {
		return m.stored
	}
	return m.place
}

// judge holds a group's end against the promises, for each device of each user.
func (g *group) judge(devices map[string][]*device, fault func(format string, a ...any)) {
	steady := map[string]bool{}
	for _, u := range g.users[:g.steady] {
		steady[u] = true
	}
	taken := map[uint64]*message{}
	bySlot := make([][]*device, len(g.users))
	for slot, u := range g.users {
		bySlot[slot] = devices[u]
	}
	g.audience(func(m *message, was bool, members []bool) {
		if m.stored == 0 {
			switch {
			case m.code == 0 && m.accepted && !m.flagged && was:
				fault("lost: nobody of %s got %x of %s/%s (%d), accepted at %d, where its sender was a member", g.name, m.id, m.from, m.device, m.counter, m.place)
			case m.code != 0 && was && !m.flagged:
				fault("lost: %x of %s/%s to %s was refused with outcome %d at %d, where its sender was a member", m.id, m.from, m.device, g.name, m.code, m.place)
			}
			return
		}
		if other := taken[m.stored]; other != nil {
			fault("unique: %x and %x are both at %d of %s", m.id, other.id, m.stored, g.name)
		}
		taken[m.stored] = m
		if !was {
			fault("unexpected: %x of %s/%s is at %d of %s, where its sender was no member", m.id, m.from, m.device, m.stored, g.name)
		}
		for slot, all := range bySlot {
			for _, d := range all {
				switch has := m.hasIn(slot, d); {
				case has && !members[slot]:
					fault("unexpected: %s got %x, at %d of %s, where it was no member", d.who(), m.id, m.stored, g.name)
				case !has && members[slot] && m.accepted:
					fault("lost: %s never got %x of %s/%s, at %d of %s, where it was a member", d.who(), m.id, m.from, m.device, m.stored, g.name)
				}
			}
		}
	})
	for _, m := range g.messages {
		if m.accepted && m.where() == 0 && m.code == 0 && steady[m.from] {
			fault("lost: nobody of %s got %x of %s/%s (%d), which was accepted", g.name, m.id, m.from, m.device, m.counter)
		}
	}
}

// pending is how many faults judge would find now.
func (g *group) pending(devices map[string][]*device) (n int) {
	g.judge(devices, func(string, ...any) { n++ })
	return n
}

// owed is how far a user who is a member all the time has to get receipts.
func (g *group) owed(user string) (place uint64) {
	if slot, ok := g.slots[user]; !ok || slot >= g.steady {
		return 0
	}
	for _, m := range g.messages {
		if m.from == user && m.accepted {
			place = max(place, m.stored)
		}
	}
	return place
}

// composeToGroup makes a message to a group, or a change of it.
func (d *device) composeToGroup(g *group, c *change) *message {
	m := d.newMessage("")
	l := d.ledger
	l.mu.Lock()
	m.to, m.toGroup = g.name, &toGroup{group: g, change: c, said: m.text(), gotBy: make([]uint64, (len(g.users)*sides+63)/64), at: make([]uint64, len(g.users))}
	if c != nil {
		m.said = string(c.content())
	}
	switch {
	case c == nil:
	case c.verb == verbCreate:
		g.name, m.to = nameOf(m.id), nameOf(m.id)
		l.groups[g.name] = g
		g.asked[g.creator] = true
		fallthrough
	case c.verb == verbAdd:
		for _, u := range c.users {
			g.asked[u] = true
			g.comings[u]++
		}
	case c.verb == verbRemove:
		for _, u := range c.users {
			delete(g.asked, u)
		}
	case c.verb == verbLeave:
		delete(g.asked, d.user)
	}
	g.messages = append(g.messages, m)
	l.mu.Unlock()
	l.attempt(m)
	return m
}

// groupOf is the group of a name, nil if it is no group's.
func (l *ledger) groupOf(name string) *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.groups[name]
}

func (m *message) suite() int {
	if m.toGroup != nil && m.change != nil {
		return suiteChange
	}
	return 0
}

// aGroup is one that the device's user is a member of, as far as is known here;
// nil is none.
func (d *device) aGroup() *group {
	if len(d.groups) == 0 {
		return nil
	}
	g := d.groups[d.rng.IntN(len(d.groups))]
	d.ledger.mu.Lock()
	defer d.ledger.mu.Unlock()
	if !g.open || !g.asked[d.user] {
		return nil
	}
	return g
}

// newMessage makes a message of this device; who it is to is for the caller.
func (d *device) newMessage(to string) *message {
	d.ticks = max(ticksOf(time.Now()), d.ticks+1)
	d.counter++
	return &message{id: timeID(d.ticks, d.seq, d.node), from: d.user, device: d.name, to: to, counter: d.counter, born: time.Now()}
}
