package main

import (
	"slices"
	"testing"
)

// gathering is a group of ann, bob and cid, who has two devices; dee comes
// later. Ann and bob are members all the time.
type gathering struct {
	*story
	g                            *group
	ann, bob, cid, cidToo, dee   *device
	create, hello, leave, alone  *message
	late, again, all, dees, last *message
}

func newGathering(t *testing.T) *gathering {
	l := newLedger()
	s := &gathering{
		story: &story{t: t},
		g:     newGroup([]string{"ann", "bob", "cid", "dee"}, 2),
		ann:   newDevice("ann", "phone", []string{"bob"}, 100, l, 1), bob: newDevice("bob", "phone", []string{"ann"}, 100, l, 2),
		cid: newDevice("cid", "phone", []string{"ann"}, 100, l, 3), cidToo: newDevice("cid", "laptop", []string{"ann"}, 100, l, 4),
		dee: newDevice("dee", "phone", []string{"ann"}, 100, l, 5),
	}
	s.w = &world{crowd: crowd{ledger: l, devices: []*device{s.ann, s.bob, s.cid, s.cidToo, s.dee}}}
	for i, d := range s.w.devices {
		d.groups = []*group{s.g}
		s.connect(d, map[int]uint64{0: 100, 1: 200, 2: 300, 3: 300, 4: 400}[i])
	}
	s.create = s.send(s.ann, &change{verbCreate, []string{"bob", "cid"}}, 1)
	s.hello = s.send(s.bob, nil, 2)
	s.leave = s.send(s.cid, &change{verb: verbLeave}, 3)
	s.alone = s.send(s.ann, nil, 4)
	s.late = s.send(s.cid, nil, 5) // and is no member
	s.again = s.send(s.ann, &change{verbAdd, []string{"cid", "dee"}}, 6)
	s.all = s.send(s.cid, nil, 8)
	s.dees = s.send(s.ann, &change{verbRemove, []string{"dee"}}, 9)
	s.last = s.send(s.bob, nil, 10)
	return s
}

// send has a device send to the group, which is accepted at a place.
func (s *gathering) send(d *device, c *change, place uint64) *message {
	m := d.composeToGroup(s.g, c)
	s.w.ledger.promise(m, place)
	return m
}

// give sends a device a message of the group, as the next link of its chain.
func (s *gathering) give(d *device, m *message) { s.giveAt(d, m, m.place) }

func (s *gathering) giveAt(d *device, m *message, place uint64) {
	s.t.Helper()
	pos := s.position(d, m)
	if m.from == d.user {
		s.say(d, typeCopy, pos, pos-d.mine, m.id[:], m.to, 0, m.suite(), nil, place)
		return
	}
	s.say(d, typeGroupMessage, pos, pos-d.mine, m.id[:], m.from, m.to, place, 0, m.suite(), []byte(m.content()))
}

// position is where a message is in a chain: the same for both devices of cid.
func (s *gathering) position(d *device, m *message) uint64 {
	if d == s.cidToo {
		return m.at[s.g.slots["cid"]]
	}
	return max(d.mine+1, m.place+d.start)
}

// everything gives each device what it is to have, but for some.
func (s *gathering) everything(not ...*message) {
	s.t.Helper()
	s.say(s.cid, typeOutcome, s.late.id[:], s.g.name, codeNotMember, 0)
	for d, all := range map[*device][]*message{
		s.ann: {s.create, s.hello, s.leave, s.alone, s.again, s.all, s.dees, s.last},
		s.bob: {s.create, s.hello, s.leave, s.alone, s.again, s.all, s.dees, s.last},
		s.cid: {s.create, s.hello, s.leave, s.again, s.all, s.dees, s.last},
		s.dee: {s.again, s.all, s.dees},
	} {
		for _, m := range all {
			if slices.Contains(not, m) && (d == s.cid || d == s.dee) || m.has(d) {
				continue
			}
			s.give(d, m)
			if m == s.again && s.late.flagged {
				s.giveAt(d, s.late, 7)
			}
		}
	}
}

// cids gives cid's other device what the first one has.
func (s *gathering) cids() {
	s.t.Helper()
	has := slices.DeleteFunc(slices.Clone(s.g.messages), func(m *message) bool { return !m.has(s.cid) })
	slices.SortFunc(has, func(a, b *message) int { return int(a.stored) - int(b.stored) })
	for _, m := range has {
		s.giveAt(s.cidToo, m, m.stored)
	}
	s.say(s.cidToo, typeCaughtUp, s.cid.mine)
}

// mark lets all mark all, of which who has sent something learns.
func (s *gathering) ticks() {
	s.t.Helper()
	for _, d := range s.w.devices {
		d.persist()
		s.w.ledger.mark(d.user, d.mine)
	}
	for _, d := range []*device{s.ann, s.bob, s.cid} {
		s.say(d, typeReceipt, 0, 0, s.g.name, 10, 10)
	}
}

func TestAGroupThatHoldsItsPromises(t *testing.T) {
	s := newGathering(t)
	s.give(s.ann, s.create)
	s.say(s.ann, typeReceipt, 0, 0, s.g.name, 1, 1) // where the others begin
	s.everything()
	s.cids()
	s.ticks()
	if !s.w.complete() {
		t.Error("something is missing")
	}
	s.w.judge()
	if l := s.w.ledger; len(l.faults) != 0 {
		t.Errorf("faults where there are none: %q", l.faults)
	}
}

// A retry of what was refused may find its sender a member; a device that
// crashed is sent again what it had not persisted.
func TestAGroupAfterCrashes(t *testing.T) {
	s := newGathering(t)
	s.late.flagged, s.late.place = true, 0
	for _, m := range []*message{s.create, s.hello} {
		s.give(s.cid, m)
	}
	s.cid.persist()
	s.give(s.cid, s.leave)
	s.cid.crash()
	if s.cid.mine != 302 || s.leave.has(s.cid) || !s.hello.has(s.cid) {
		t.Errorf("the crash took it back to %d", s.cid.mine)
	}
	s.give(s.cid, s.leave)
	s.everything(s.create, s.hello, s.leave)
	s.cids()
	s.ticks()
	s.w.judge()
	if l := s.w.ledger; len(l.faults) != 0 {
		t.Errorf("faults where there are none: %q", l.faults)
	}
}

// Each of these breaks one promise to a group, and holds all others.
func TestEachFaultOfAGroupIsFound(t *testing.T) {
	for _, c := range []struct {
		what string
		tell func(s *gathering)
		kind string
	}{
		{"who has left is sent what comes then", func(s *gathering) {
			for _, m := range []*message{s.create, s.hello, s.leave, s.alone} {
				s.give(s.cid, m)
			}
			s.everything(s.create, s.hello, s.leave)
		}, "unexpected"},
		{"who was removed is sent what comes then", func(s *gathering) {
			s.everything()
			s.give(s.dee, s.last)
		}, "unexpected"},
		{"who joins is sent what was before", func(s *gathering) {
			s.give(s.dee, s.alone)
			s.everything()
		}, "unexpected"},
		{"who has left is not told that", func(s *gathering) { s.everything(s.leave) }, "lost"},
		{"who joins is not told that", func(s *gathering) { s.everything(s.again) }, "lost"},
		{"a member never gets a message", func(s *gathering) { s.everything(s.last) }, "lost"},
		{"a member's other device never gets any", func(s *gathering) { s.everything() }, "lost"},
		{"nobody gets what was accepted", func(s *gathering) {
			s.everything()
			s.send(s.bob, nil, 11)
		}, "lost"},
		{"nobody gets what was accepted as a retry", func(s *gathering) {
			s.everything()
			m := s.bob.composeToGroup(s.g, nil)
			m.flagged = true
			s.w.ledger.promise(m, 11)
		}, "lost"},
		{"a member is refused", func(s *gathering) {
			s.everything()
			m := s.send(s.bob, nil, 11)
			s.say(s.bob, typeOutcome, m.id[:], s.g.name, codeNotMember, 0)
		}, "lost"},
		{"who is no member is not refused", func(s *gathering) {
			s.giveAll(s.create, s.ann, s.bob, s.cid)
			s.giveAll(s.hello, s.ann, s.bob, s.cid)
			s.giveAll(s.leave, s.ann, s.bob, s.cid)
			s.giveAll(s.alone, s.ann, s.bob)
			s.giveAll(s.late, s.ann, s.bob)
		}, "unexpected"},
		{"what was refused comes all the same", func(s *gathering) {
			s.everything()
			s.giveAt(s.ann, s.late, 11)
		}, "unexpected"},
		{"a message to who was never a member", func(s *gathering) {
			s.everything()
			eve := newDevice("eve", "phone", nil, 1, s.w.ledger, 6)
			s.connect(eve, 900)
			s.say(eve, typeGroupMessage, 901, 1, s.hello.id[:], "bob", s.g.name, 2, 0, 0, []byte(s.hello.content()))
		}, "unexpected"},
		{"another body", func(s *gathering) {
			s.say(s.ann, typeGroupMessage, 101, 1, s.hello.id[:], "bob", s.g.name, 2, 0, 0, []byte("?"))
		}, "unexpected"},
		{"a message twice", func(s *gathering) {
			s.everything()
			s.give(s.dee, s.dees)
		}, "unique"},
		{"a message at two places", func(s *gathering) {
			s.giveAt(s.ann, s.hello, 2)
			s.giveAt(s.bob, s.hello, 3)
		}, "unique"},
		{"two messages at one place", func(s *gathering) {
			s.everything()
			m := s.bob.composeToGroup(s.g, nil)
			m.stored = s.last.stored
		}, "unique"},
		{"the group's order is not kept", func(s *gathering) {
			s.giveAt(s.ann, s.create, 1)
			s.giveAt(s.ann, s.leave, 3)
			s.giveAt(s.ann, s.hello, 2)
		}, "ordered"},
		{"a sender's order is not kept", func(s *gathering) {
			s.last.place, s.hello.place = 0, 0
			s.giveAt(s.ann, s.last, 1)
			s.giveAt(s.ann, s.hello, 2)
		}, "ordered"},
		{"caught up without what the other device has", func(s *gathering) {
			s.everything()
			s.say(s.cidToo, typeCaughtUp, s.cid.mine)
		}, "bookmarks"},
		{"all are said to have what somebody has not marked", func(s *gathering) {
			s.everything()
			s.w.ledger.mark("bob", s.again.at[s.g.slots["bob"]])
			s.say(s.ann, typeReceipt, 0, 0, s.g.name, 9, 0)
		}, "monotonic"},
		{"a group's receipts go backwards", func(s *gathering) {
			s.everything()
			s.ticks()
			s.say(s.ann, typeReceipt, 0, 0, s.g.name, 9, 9)
		}, "monotonic"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newGathering(t)
			c.tell(s)
			s.w.judge()
			if !slices.Contains(s.kinds(), c.kind) {
				t.Errorf("found %q, want %s", s.w.ledger.faults, c.kind)
			}
		})
	}
}

func (s *gathering) giveAll(m *message, to ...*device) {
	s.t.Helper()
	for _, d := range to {
		s.give(d, m)
	}
}

// The receipt that a member waits for at the end.
func TestAGroupsTicksAreWaitedFor(t *testing.T) {
	s := newGathering(t)
	s.everything()
	s.cids()
	if s.w.complete() {
		t.Error("nobody has any receipt")
	}
	s.ticks()
	if !s.w.complete() {
		t.Error("something is missing")
	}
}
