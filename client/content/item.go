package content

import (
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// MaxReactions is from how many users a message keeps reactions; those of more
// are left out.
const MaxReactions = 2048

// Item is a message as it is to be shown, with all that changed it.
type Item struct {
	chat.Message // without its content
	Body         Body
	Edited       chat.ID    // of the edit that Body.Text comes from; zero: as it was sent
	Deleted      bool       // Body is empty then
	Reactions    []Reaction // in order of the users' names; those without a text were taken back
}

// Reaction is what a user said last to a message.
type Reaction struct {
	User chat.User
	Text string // empty: taken back
	ID   chat.ID
}

// NewItem makes an item of a message that stands for itself.
func NewItem(m chat.Message, b Body) *Item {
	m.Content = nil
	return &Item{Message: m, Body: b}
}

// Apply takes in a change of the item's message, by the message that brought
// it, and reports whether anything is to be shown otherwise now. Changes may
// come in any order and more than once: what results is the same.
//
// Only the user who sent a message may edit or delete it, from any device, and
// a change is newer than what it changes: others are left out. Of several edits
// the one with the greatest id holds, and so of the reactions of a user; a
// deletion holds for ever.
func (it *Item) Apply(id chat.ID, from chat.User, b Body) bool {
	if id.Compare(it.ID) <= 0 || it.Deleted {
		return false
	}
	switch b.Kind {
	case KindEdit:
		if from != it.From || it.Body.Kind != KindText || id.Compare(it.Edited) <= 0 {
			return false
		}
		it.Body.Text, it.Edited = b.Text, id
		return true
	case KindDelete:
		if from != it.From {
			return false
		}
		it.Body, it.Edited, it.Reactions, it.Deleted = Body{}, chat.ID{}, nil, true
		return true
	case KindReaction:
		return it.react(id, from, b.Text)
	}
	return false
}

func (it *Item) react(id chat.ID, from chat.User, text string) bool {
	i, found := slices.BinarySearchFunc(it.Reactions, from, func(r Reaction, u chat.User) int { return strings.Compare(string(r.User), string(u)) })
	if !found {
		if len(it.Reactions) == MaxReactions {
			return false
		}
		it.Reactions = slices.Insert(it.Reactions, i, Reaction{from, text, id})
		return text != ""
	}
	r := &it.Reactions[i]
	if id.Compare(r.ID) <= 0 {
		return false
	}
	changed := r.Text != text
	r.Text, r.ID = text, id
	return changed
}

// Ends returns when the message disappears: when the server says that it
// expires, or when its sender has said so within the encryption, whichever is
// first. false: never.
func (it *Item) Ends() (at time.Time, ok bool) {
	if it.Expires > 0 {
		at, ok = time.UnixMilli(it.Expires), true
	}
	if it.Body.Kind == KindText && it.Body.Seconds > 0 {
		if sender := it.ID.Time().Add(it.Body.Life()); !ok || sender.Before(at) {
			at, ok = sender, true
		}
	}
	return at, ok
}
