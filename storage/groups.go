package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/rookery-chat/rookery/chat"
)

// GroupStore is what is remembered of groups, beside their messages. Their rows
// are written by Apply, by the owner of the group's partition. Whom a user has
// blocked is kept in the same way: the group is the user then, and the spans are
// since when somebody is blocked. Nobody has a chat by that.
type GroupStore interface {
	// GroupInfo returns a group's name and picture, as they were given, and the
	// place of the change that set them; 0 where there is no such group.
	GroupInfo(ctx context.Context, group chat.User) (info []byte, at chat.Position, err error)

	// Members appends to dst up to limit members of a group, in order of their
	// names, with names beyond one ("" is before all), those who are none any
	// more among them. Fewer than limit are the last.
	Members(ctx context.Context, group, beyond chat.User, limit int, dst []Member) ([]Member, error)

	// Member returns one of them; no Spans where there never was one.
	Member(ctx context.Context, group, user chat.User) (Member, error)
}

// Member is who is, or was, in a group.
type Member struct {
	User      chat.User
	Spans     []Span // in order
	Changed   chat.Position
	Delivered chat.Position // in the group's order: some device has all up to here
	Read      chat.Position
	Sent      chat.Position // of the newest message they sent, so far as marks say
}

// Span is from which place in a group's order on, up to and with which one,
// somebody is a member. To is 0 while it lasts. One that ends where the next one
// begins is where they became an admin, or stopped being one.
type Span struct {
	From, To chat.Position
	Admin    bool
}

// MaxSpans is how many spans a member has at most. What would make more is not
// taken, so that all can be asked of every place there was.
const MaxSpans = 32

// AsOf returns spans as they were before what changed at a place and after it.
// It may share their memory.
func AsOf(spans []Span, place chat.Position) []Span {
	for i, s := range spans {
		switch {
		case s.From >= place:
			return spans[:i:i]
		case s.To >= place:
			spans = slices.Clone(spans[:i+1])
			spans[i].To = 0
			return spans
		}
	}
	return spans
}

// At returns the span that a place lies in before what changes there: as the
// record at that place is judged.
func (m *Member) At(place chat.Position) (s Span, ok bool) {
	for _, s := range m.Spans {
		if s.From < place && (s.To == 0 || place <= s.To) {
			return s, true
		}
	}
	return Span{}, false
}

// MayRead reports whether what lies at a place is the member's to read.
func (m *Member) MayRead(place chat.Position) bool {
	for _, s := range m.Spans {
		if s.From <= place && (s.To == 0 || place <= s.To) {
			return true
		}
	}
	return false
}

// Since returns the place from which one has been a member without a break, up
// to a place; 0 where they are none there.
func (m *Member) Since(place chat.Position) (since chat.Position, admin bool) {
	var end chat.Position
	for _, s := range m.Spans {
		if s.From > place {
			break
		}
		if since == 0 || s.From != end {
			since = s.From
		}
		end, admin = s.To, s.Admin
		if s.To != 0 && s.To <= place {
			admin = false
		}
	}
	if end != 0 && end <= place {
		return 0, false
	}
	return since, admin
}

// GroupAt is a group's info and the place of the change that set it.
type GroupAt struct {
	Group chat.User
	Info  []byte
	Pos   chat.Position
}

// MemberAt is a member's spans and the place of the change that made them.
type MemberAt struct {
	Group, User chat.User
	Spans       []Span
	Pos         chat.Position
}

// GroupMark is how far a member has come and what they sent last, and the
// position of the record that said so.
type GroupMark struct {
	Group, User           chat.User
	Delivered, Read, Sent chat.Position
	Pos                   chat.Position
}

// AppendSpans appends spans as bytes, for a store to keep: a version, then of
// each from, to and admin as unsigned varints.
func AppendSpans(dst []byte, spans []Span) []byte {
	dst = append(dst, 1)
	for _, s := range spans {
		admin := uint64(0)
		if s.Admin {
			admin = 1
		}
		dst = binary.AppendUvarint(dst, uint64(s.From))
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(s.To)), admin)
	}
	return dst
}

// ParseSpans undoes AppendSpans.
func ParseSpans(b []byte) (spans []Span, err error) {
	if len(b) == 0 || b[0] != 1 {
		return nil, errSpans
	}
	for b = b[1:]; len(b) > 0; {
		var v [3]uint64
		for i := range v {
			n := 0
			if v[i], n = binary.Uvarint(b); n <= 0 {
				return nil, errSpans
			}
			b = b[n:]
		}
		spans = append(spans, Span{chat.Position(v[0]), chat.Position(v[1]), v[2] == 1})
	}
	return spans, nil
}

var errSpans = errors.New("storage: a member's spans are damaged")
