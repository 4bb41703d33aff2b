package content

import (
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// MaxPending is how many changes a Timeline keeps whose messages it has not; of
// more, those for the message that was named first are dropped.
const MaxPending = 1024

// Timeline is one chat as it is to be shown, made of messages in any order:
// live ones, and pages of history from the newest back. It keeps what is put in
// until Forget or Expire. It is not safe for concurrent use.
type Timeline struct {
	items   map[chat.ID]*Item
	order   []chat.ID // sorted
	pending map[chat.ID][]change
	targets []chat.ID // pending's keys, oldest first
	waiting int       // changes in pending
	timer   change
}

// change is a message that changes another one.
type change struct {
	id   chat.ID
	from chat.User
	body Body
}

// NewTimeline makes an empty one.
func NewTimeline() *Timeline {
	return &Timeline{items: map[chat.ID]*Item{}, pending: map[chat.ID][]change{}}
}

// Put takes in a message, and returns the id of the one that is to be shown
// otherwise now; false: none. What changes a message that is not here waits for
// it, MaxPending at most.
func (t *Timeline) Put(m chat.Message, b Body) (changed chat.ID, ok bool) {
	c := change{m.ID, m.From, b}
	if b.Changes() {
		if it := t.items[b.Target]; it != nil {
			return b.Target, it.Apply(c.id, c.from, c.body)
		}
		t.wait(c)
		return chat.ID{}, false
	}
	if it := t.items[m.ID]; it != nil {
		it.Place, it.At = max(it.Place, m.Place), max(it.At, m.At)
		return chat.ID{}, false
	}
	if b.Kind == KindTimer && c.id.Compare(t.timer.id) > 0 {
		t.timer = c
	}
	it := NewItem(m, b)
	t.items[m.ID] = it
	i, _ := slices.BinarySearchFunc(t.order, m.ID, chat.ID.Compare)
	t.order = slices.Insert(t.order, i, m.ID)
	for _, c := range t.pending[m.ID] {
		it.Apply(c.id, c.from, c.body)
	}
	t.drop(m.ID)
	return m.ID, true
}

// wait keeps a change for a message that may come: of each user and kind the
// newest one.
func (t *Timeline) wait(c change) {
	list, known := t.pending[c.body.Target]
	if !known {
		t.targets = append(t.targets, c.body.Target)
	}
	i := slices.IndexFunc(list, func(o change) bool { return o.from == c.from && o.body.Kind == c.body.Kind })
	switch {
	case i < 0:
		t.pending[c.body.Target] = append(list, c)
		t.waiting++
	case c.id.Compare(list[i].id) > 0:
		list[i] = c
	}
	for t.waiting > MaxPending {
		t.drop(t.targets[0])
	}
}

func (t *Timeline) drop(target chat.ID) {
	list, known := t.pending[target]
	if !known {
		return
	}
	t.waiting -= len(list)
	delete(t.pending, target)
	i := slices.Index(t.targets, target)
	t.targets = slices.Delete(t.targets, i, i+1)
}

// Item returns a message that is here, nil for another. It is the Timeline's
// own: it changes with Put.
func (t *Timeline) Item(id chat.ID) *Item { return t.items[id] }

// Items returns all messages, in order.
func (t *Timeline) Items() []*Item {
	items := make([]*Item, len(t.order))
	for i, id := range t.order {
		items[i] = t.items[id]
	}
	return items
}

// Timer returns for how long messages live that are sent now, as the newest
// timer that was put in says; 0 is for ever. It is what SendOptions.TTL takes.
func (t *Timeline) Timer() time.Duration { return t.timer.body.Life() }

// Expire removes the messages that have disappeared by now, by the server's
// clock, and returns their ids and when the next one goes; the zero time: none.
func (t *Timeline) Expire(now time.Time) (gone []chat.ID, next time.Time) {
	t.order = slices.DeleteFunc(t.order, func(id chat.ID) bool {
		at, ends := t.items[id].Ends()
		switch {
		case !ends:
		case !at.After(now):
			gone = append(gone, id)
			delete(t.items, id)
			return true
		case next.IsZero() || at.Before(next):
			next = at
		}
		return false
	})
	return gone, next
}

// Forget removes what is older than a message, so that a chat does not grow for
// ever. History still has it.
func (t *Timeline) Forget(before chat.ID) {
	i, _ := slices.BinarySearchFunc(t.order, before, chat.ID.Compare)
	for _, id := range t.order[:i] {
		delete(t.items, id)
	}
	t.order = slices.Delete(t.order, 0, i)
}
