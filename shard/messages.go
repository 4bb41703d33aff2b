package shard

import (
	"bytes"
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/knownbug"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/view"
)

// message stores a message unless it has been (law 2).
func (w *worker) message(ctx context.Context, user uint64, pos chat.Position) error {
	r := &w.rec
	m := w.messageOf(pos)
	m.From, m.To = view.String[chat.User](r.Peer), view.String[chat.User](r.User)
	old, found, err := w.stored(ctx, &m, r.Flags&record.FlagRetry != 0)
	if err != nil {
		return err
	}
	if found && old.Place != pos { // a row at this very place is this record, built again
		w.again(&old, &m)
		return nil
	}
	if m.To.IsGroup() {
		return w.toGroup(ctx, &m, pos)
	}
	if m.Suite == chat.SuiteGroup {
		if code, err := w.changeBlocks(ctx, &m, pos); err != nil || code != chat.CodeOK {
			w.outcomes = append(w.outcomes, Outcome{User: m.From, Device: view.String[chat.Device](r.Device), ID: m.ID, To: m.To, Code: code})
			w.counts.Refused++
			return err
		}
	}
	unseen, err := w.blocked(ctx, m.To, m.From, pos)
	if err != nil {
		return err
	}
	w.counts.Messages++
	if w.carried { // a gateway of an older version told its sender a place in the epoch before
		w.outcomes = append(w.outcomes, Outcome{User: m.From, Device: view.String[chat.Device](r.Device), ID: m.ID, To: m.To, Place: pos})
	}
	w.batch.Messages = append(w.batch.Messages, m)
	if unseen {
		w.counts.Unseen++
	} else {
		w.link(user, chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: pos, Message: m})
	}
	if r.Flags&record.FlagCopy != 0 && m.From != m.To {
		w.out.stage(w.ring.Partition(r.Peer), w.seq, &record.Record{
			Kind: record.Copy, Suite: r.Suite, At: r.At, User: r.Peer, Peer: r.User, Device: r.Device,
			Place: pos, ID: r.ID, TTL: r.TTL, Media: r.Media, Content: r.Content,
		})
	}
	return nil
}

// messageOf is the message of the record, without its users.
func (w *worker) messageOf(place chat.Position) chat.Message {
	r := &w.rec
	return chat.Message{
		ID: r.ID, Place: place, At: r.At, Expires: expires(r),
		Suite: r.Suite, Content: r.Content, Media: view.String[string](r.Media),
	}
}

// stored finds the message that has been stored under the same id. It asks the
// store only about ids that are flagged as retries, or are not above all that
// is known to be stored of their sender's device: those rise (law 1).
func (w *worker) stored(ctx context.Context, m *chat.Message, retry bool) (old chat.Message, found bool, err error) {
	node, ticks := m.ID.Node(), m.ID.Ticks()
	sender := w.hashKey(keySender, w.rec.Peer, nil, node[:])
	newest, known := w.recent.get(sender)
	if !known {
		newest = w.older
	}
	if (retry || ticks <= newest) && !knownbug.On(knownbug.NoDeduplication) {
		w.counts.LookUps++
		if old, found, err = w.lookUp(ctx, m); err != nil || found && old.Place != m.Place {
			return old, found, err
		}
	}
	w.newest = max(w.newest, ticks) // also where the row is this record's own, of an earlier owner
	w.older = max(w.older, w.recent.put(sender, max(newest, ticks)))
	return old, found, nil
}

// lookUp finds a message by its id in the batch being built and in the store.
func (w *worker) lookUp(ctx context.Context, m *chat.Message) (old chat.Message, found bool, err error) {
	for i := range w.batch.Messages {
		if b := &w.batch.Messages[i]; b.ID == m.ID && b.From == m.From && b.To == m.To {
			return *b, true, nil
		}
	}
	if old, asked := w.ahead.messages[messageAt{m.Chat(), m.ID}]; asked {
		return old, old.ID == m.ID, nil
	}
	err = w.try(ctx, "message", func() (err error) {
		old, found, err = w.store.Message(ctx, m.Chat(), m.ID, 0)
		return err
	})
	return old, found, err
}

// again tells the sender what became of a message whose id is taken.
func (w *worker) again(old, m *chat.Message) {
	o := Outcome{User: m.From, Device: view.String[chat.Device](w.rec.Device), ID: m.ID, To: m.To, Place: old.Place}
	if same(old, m) {
		w.counts.Duplicates++
	} else {
		w.counts.Conflicts++
		o.Code = chat.CodeIDConflict
	}
	w.outcomes = append(w.outcomes, o)
}

// same reports whether two messages of one id are the same bytes. What has
// expired may have been swept down to a stub, which is taken for the same.
func same(old, m *chat.Message) bool {
	if old.From != m.From || old.To != m.To {
		return false
	}
	if old.Expires > 0 && len(old.Content) == 0 && old.Media == "" {
		return true
	}
	return old.Suite == m.Suite && old.Media == m.Media && bytes.Equal(old.Content, m.Content)
}

// takenBefore reports whether a copy, or what a group fanned out, has been taken.
// Of one that was forwarded who forwarded it knows that.
func (w *worker) takenBefore() bool {
	if w.carried || w.rec.Place > w.copies[w.ring.Partition(w.rec.Peer)] {
		return false
	}
	w.counts.Repeats++
	return true
}

// noteTaken notes that such a record has been taken.
func (w *worker) noteTaken() {
	if !w.carried {
		w.copies[w.ring.Partition(w.rec.Peer)] = w.rec.Place
	}
}

// copied takes a copy of what the user has sent.
func (w *worker) copied(user uint64, pos chat.Position) {
	r := &w.rec
	w.noteTaken()
	w.counts.Copies++
	m := w.messageOf(r.Place)
	m.From, m.To = view.String[chat.User](r.User), view.String[chat.User](r.Peer)
	// The very row that the receiver's owner stores. After a crash that owner
	// may lag behind this one, and the inbox must never refer to nothing.
	w.batch.Messages = append(w.batch.Messages, m)
	w.link(user, chat.Entry{Kind: chat.EntryCopy, User: m.From, Pos: pos, Message: m})
}
