package shard

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/view"
)

// arrivals remembers the newest messages in a partition's chains, and who sent
// them, so that a mark, which mostly comes soon after the messages it is about,
// need not ask the store for their senders. It holds no pointers.
type arrivals struct {
	slots  []arrival // by position
	open   arrival   // the newest message, which is in no slot yet: a burst that goes on would wipe a slot for each message
	names  []byte    // of senders, one behind the other, round and round
	named  uint64    // bytes of names written so far
	missed bool      // one was asked for that had been written over

	bursts []arrival // of messages of a group, by member; nil before there is one
	heads  []groupHead
}

// arrival is a message, or a burst of messages of one sender at positions that
// follow each other, and where the message before it in its chain is, if there is
// one above what the owner knows.
type arrival struct {
	pos, prev chat.Position // of the newest; of the message before the oldest, or of an entry above it
	place     chat.Position // of the newest message; in the order of a group where the sender is one
	user      uint64        // the keyed hash of whose chain it is
	nameAt    uint64
	nameBytes uint16 // of the sender; 0 where the entry is no message, ofGroup where it is a group
	older     uint16 // messages of the burst before the newest
}

const (
	firstArrivals = 1 << 8
	maxArrivals   = 1 << 16 // 48 bytes each, and the names; a second at full load, of bursts more
	maxBurst      = 1 << 10
	nameBytes     = 24 // room for a name, on average
)

func (a *arrivals) reset() {
	*a = arrivals{slots: make([]arrival, firstArrivals), names: make([]byte, firstArrivals*nameBytes)}
}

// slot fills all slots before it comes to one again where every position is
// given, and also where every 256th is, as in a log that keeps batches.
func (a *arrivals) slot(pos chat.Position) *arrival {
	return &a.slots[uint64(pos^pos>>8)&uint64(len(a.slots)-1)]
}

// slotOf is the slot of a user's message. Where several users have one at one
// position, as those of a message to a group, all but the first are elsewhere.
func (a *arrivals) slotOf(user uint64, pos chat.Position) *arrival {
	s := a.slot(pos)
	if s.pos == pos && s.user != user {
		s = &a.slots[(uint64(pos^pos>>8)+user)&uint64(len(a.slots)-1)]
	}
	return s
}

// put remembers a message behind another one.
func (a *arrivals) put(user uint64, e *chat.Entry, prev chat.Position, sender chat.User) {
	if a.join(user, e, sender) {
		return
	}
	if a.missed && len(a.slots) < maxArrivals {
		a.grow()
	}
	a.close()
	s := &a.open
	*s = arrival{pos: e.Pos, prev: prev, place: e.Message.Place, user: user, nameBytes: uint16(len(sender))}
	at := a.named % uint64(len(a.names))
	if room := uint64(len(a.names)) - at; room < uint64(len(sender)) {
		a.named += room // a name lies in one piece
		at = 0
	}
	s.nameAt = a.named
	a.named += uint64(copy(a.names[at:], sender))
}

// close puts the newest message into its slot.
func (a *arrivals) close() {
	if a.open.pos > 0 {
		*a.slotOf(a.open.user, a.open.pos) = a.open
		a.open = arrival{}
	}
}

// join makes a message one more of the burst that ends right before it, if there
// is one. What is known of a burst costs the same whatever its length.
func (a *arrivals) join(user uint64, e *chat.Entry, sender chat.User) bool {
	if e.Prev != e.Pos-1 || e.Message.Place != e.Pos {
		return false
	}
	s := &a.open
	if s.pos != e.Prev || s.user != user || s.nameBytes == 0 || s.place != s.pos || s.older == maxBurst || a.sender(s) != sender {
		return false
	}
	s.pos, s.place, s.older = e.Pos, e.Pos, s.older+1
	return true
}

// grow doubles what is remembered.
func (a *arrivals) grow() {
	a.close()
	old := *a
	*a = arrivals{
		slots: make([]arrival, 2*len(old.slots)), names: make([]byte, 2*len(old.names)), named: old.named, bursts: old.bursts, heads: old.heads,
	}
	for _, s := range old.slots {
		if s.nameBytes > 0 && !old.holds(&s) {
			continue
		}
		if s.nameBytes > 0 && s.nameBytes != ofGroup {
			copy(a.names[s.nameAt%uint64(len(a.names)):], old.sender(&s))
		}
		*a.slotOf(s.user, s.pos) = s
	}
}

// holds reports whether the sender's name has not been written over.
func (a *arrivals) holds(s *arrival) bool {
	if s.nameBytes == ofGroup {
		return a.head(s.nameAt).hash == s.nameAt
	}
	return a.named-s.nameAt <= uint64(len(a.names))
}

// sender is the name of who sent the entry: a view, which put may change.
func (a *arrivals) sender(s *arrival) chat.User {
	if s.nameBytes == ofGroup {
		return a.head(s.nameAt).name
	}
	at := s.nameAt % uint64(len(a.names))
	return view.String[chat.User](a.names[at : at+uint64(s.nameBytes)])
}

// at returns the message of a user at a position, or the burst whose newest is
// there; nil when it is forgotten.
func (a *arrivals) at(user uint64, pos chat.Position) *arrival {
	if s := &a.open; s.pos == pos && s.user == user {
		return s
	}
	s := a.slotOf(user, pos)
	if s.pos == pos && s.user == user && (s.nameBytes == 0 || a.holds(s)) {
		return s
	}
	if a.bursts != nil {
		if s = a.burst(user); s.pos == pos && s.user == user && a.holds(s) {
			return s
		}
	}
	return nil
}

// ask is at for who needs what is forgotten: more is remembered from then on.
func (a *arrivals) ask(user uint64, pos chat.Position) *arrival {
	s := a.at(user, pos)
	if s == nil {
		a.missed = a.missed || a.slotOf(user, pos).pos >= pos
	}
	return s
}

// upTo is the newest message of a burst that is not above a position; 0 is none.
func (s *arrival) upTo(pos chat.Position) chat.Position {
	if pos = min(pos, s.pos); pos < s.pos-chat.Position(s.older) || s.nameBytes == 0 {
		return 0
	}
	return pos
}
