package shard

import (
	"math"
	"strings"

	"github.com/rookery-chat/rookery/chat"
)

// What comes to a member of a busy group is mostly messages of that group, and
// all members in a partition have one at the same position. So of a member one
// arrival is remembered for as long as no other message comes between, and of the
// group, once for all members, where each message is in both orders: in the
// partition and in the group.

const (
	groupBursts = 1 << 12 // members of whom a burst is remembered, in a partition; 48 bytes each
	groupHeads  = 1 << 6  // groups of which it is

	// ofGroup, as nameBytes, says that nameAt is the hash of a group.
	ofGroup = math.MaxUint16
)

// groupHead is where the newest message of a group is in the partition.
type groupHead struct {
	hash uint64
	name chat.User
	pos  chat.Position
}

func (a *arrivals) head(group uint64) *groupHead { return &a.heads[group%groupHeads] }

// fan remembers a message to a group, before the entries that members have of it.
func (a *arrivals) fan(group uint64, name chat.User, pos, place chat.Position) {
	if a.bursts == nil {
		a.bursts, a.heads = make([]arrival, groupBursts), make([]groupHead, groupHeads)
	}
	if a.missed && len(a.slots) < maxArrivals {
		a.grow()
	}
	h := a.head(group)
	if h.hash != group {
		*h = groupHead{hash: group, name: chat.User(strings.Clone(string(name)))}
	}
	*a.slotOf(group, pos) = arrival{pos: pos, prev: h.pos, place: place, user: group}
	h.pos = pos
}

// putFan remembers a member's entry of the message that fan was last called with,
// behind another message.
func (a *arrivals) putFan(user, group uint64, e *chat.Entry, prev chat.Position) {
	b := a.burst(user)
	if b.user == user && b.pos == prev && b.nameAt == group && b.older < maxBurst && a.holds(b) {
		if f := a.at(group, e.Pos); f != nil && f.prev == prev {
			b.pos, b.place, b.older = e.Pos, e.Message.Place, b.older+1
			return
		}
	}
	if b.user == user && b.pos > 0 { // another burst, which is found by its end from now on
		*a.slotOf(user, b.pos) = *b
	}
	*b = arrival{pos: e.Pos, prev: prev, place: e.Message.Place, user: user, nameAt: group, nameBytes: ofGroup}
}

// burst is the slot of a member's newest burst.
func (a *arrivals) burst(user uint64) *arrival { return &a.bursts[user%groupBursts] }

// newest is the newest message of an arrival that is not above a position, and
// its place; 0 is none. ok is false when that is forgotten.
func (a *arrivals) newest(s *arrival, upTo chat.Position) (pos, place chat.Position, ok bool) {
	if s.nameBytes != ofGroup {
		pos = s.upTo(upTo)
		return pos, s.place - (s.pos - pos), true
	}
	pos, place = s.pos, s.place
	for n := uint16(0); pos > upTo; n++ {
		if n == s.older {
			return 0, 0, true
		}
		f := a.ask(s.nameAt, pos)
		if f == nil {
			return 0, 0, false
		}
		before := a.ask(s.nameAt, f.prev)
		if before == nil {
			return 0, 0, false
		}
		pos, place = before.pos, before.place
	}
	return pos, place, true
}
