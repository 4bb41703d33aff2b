package storagetest

import (
	"cmp"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// model is a store as plain maps: what every implementation has to answer.
type model struct {
	messages  map[messageKey]chat.Message
	stubs     map[messageKey]chat.Message
	inbox     map[chat.User][]modelRow // in order of position
	truncated map[chat.User]chat.Position
	receipts  map[pair]storage.ReceiptAt
	reads     map[pair]chat.Position
	cursors   map[chat.User]map[chat.Device]chat.Position
	marks     map[int]storage.Mark
	devices   map[chat.User]map[chat.Device]storage.Device
	seen      map[chat.User]int64
	chats     map[pair]bool
}

type messageKey struct {
	chat chat.ChatID
	id   chat.ID
}

type pair struct{ user, other chat.User }

type modelRow struct {
	pos  chat.Position
	kind chat.EntryKind
	key  messageKey
	at   int64
}

func newModel() *model {
	return &model{
		messages: map[messageKey]chat.Message{}, stubs: map[messageKey]chat.Message{},
		inbox: map[chat.User][]modelRow{}, truncated: map[chat.User]chat.Position{},
		receipts: map[pair]storage.ReceiptAt{}, reads: map[pair]chat.Position{},
		cursors: map[chat.User]map[chat.Device]chat.Position{}, marks: map[int]storage.Mark{},
		devices: map[chat.User]map[chat.Device]storage.Device{}, seen: map[chat.User]int64{},
		chats: map[pair]bool{},
	}
}

func keyOf(m *chat.Message) messageKey { return messageKey{m.Chat(), m.ID} }

func (o *model) apply(b *storage.Batch) {
	for _, m := range b.Messages {
		o.messages[keyOf(&m)] = m
		o.chats[pair{m.From, m.To}], o.chats[pair{m.To, m.From}] = true, true
	}
	for _, e := range b.Inbox {
		o.putRow(e.User, modelRow{e.Pos, e.Kind, keyOf(&e.Message), e.Message.At})
	}
	for _, r := range b.Receipts {
		o.receipts[pair{r.User, r.Peer}] = r
	}
	for _, r := range b.Reads {
		o.reads[pair{r.User, r.Peer}] = r.ReadTo
	}
	for _, c := range b.Cursors {
		if o.cursors[c.User] == nil {
			o.cursors[c.User] = map[chat.Device]chat.Position{}
		}
		o.cursors[c.User][c.Device] = c.Position
	}
	if b.Mark != (storage.Mark{}) {
		o.marks[b.Partition] = b.Mark
	}
}

func (o *model) putRow(user chat.User, r modelRow) {
	rows := o.inbox[user]
	i, found := slices.BinarySearchFunc(rows, r.pos, func(r modelRow, p chat.Position) int { return cmp.Compare(r.pos, p) })
	if found {
		rows[i] = r
		return
	}
	o.inbox[user] = slices.Insert(rows, i, r)
}

func hasExpired(m *chat.Message, now int64) bool { return m.Expires > 0 && m.Expires <= now }

func (o *model) message(k messageKey, now int64) (m chat.Message, found bool) {
	m, found = o.messages[k]
	if !found && now == 0 {
		m, found = o.stubs[k]
	}
	if !found || hasExpired(&m, now) {
		return chat.Message{}, false
	}
	return m, true
}

func (o *model) history(c chat.ChatID, before chat.ID, limit int, now int64) []chat.Message {
	var ms []chat.Message
	for k, m := range o.messages {
		if k.chat == c && !hasExpired(&m, now) && (before.Zero() || m.ID.Compare(before) < 0) {
			ms = append(ms, m)
		}
	}
	slices.SortFunc(ms, func(a, b chat.Message) int { return b.ID.Compare(a.ID) })
	return ms[:min(limit, len(ms))]
}

// inboxOf has no limit: pages put together have to be the same.
func (o *model) inboxOf(user chat.User, after, upTo chat.Position, now int64) (entries []chat.Entry, rows int) {
	for _, r := range o.inbox[user] {
		if r.pos <= after || r.pos > upTo {
			continue
		}
		rows++
		if m, found := o.messages[r.key]; found && !hasExpired(&m, now) {
			entries = append(entries, chat.Entry{Kind: r.kind, User: user, Pos: r.pos, Message: m})
		}
	}
	return entries, rows
}

func (o *model) chatsOf(user chat.User, before chat.ID, limit int, now int64) []storage.ChatSummary {
	var cs []storage.ChatSummary
	for p := range o.chats {
		if p.user != user {
			continue
		}
		last := o.history(chat.DirectChat(user, p.other), chat.ID{}, 1, now)
		if len(last) == 1 && (before.Zero() || last[0].ID.Compare(before) < 0) {
			cs = append(cs, storage.ChatSummary{Peer: p.other, Last: last[0]})
		}
	}
	slices.SortFunc(cs, func(a, b storage.ChatSummary) int { return b.Last.ID.Compare(a.Last.ID) })
	return cs[:min(limit, len(cs))]
}

func (o *model) receiptsOf(user chat.User, after, upTo chat.Position) []chat.Receipt {
	var rs []chat.Receipt
	for p, r := range o.receipts {
		if p.user == user && after < r.Pos && r.Pos <= upTo {
			rs = append(rs, r.Receipt)
		}
	}
	slices.SortFunc(rs, func(a, b chat.Receipt) int { return cmp.Compare(a.Peer, b.Peer) })
	return rs
}

func (o *model) cursorsOf(user chat.User) (cs []storage.Cursor, furthest chat.Position) {
	for d, p := range o.cursors[user] {
		cs = append(cs, storage.Cursor{Device: d, Position: p})
		furthest = max(furthest, p)
	}
	slices.SortFunc(cs, func(a, b storage.Cursor) int { return cmp.Compare(a.Device, b.Device) })
	return cs, furthest
}

func (o *model) truncatedOf(user chat.User, after chat.Position) chat.Position {
	if upTo := o.truncated[user]; upTo > after {
		return upTo
	}
	return 0
}

func (o *model) devicesOf(user chat.User) (ds []storage.Device) {
	for _, d := range o.devices[user] {
		d.Cursor = o.cursors[user][d.Name]
		ds = append(ds, d)
	}
	slices.SortFunc(ds, func(a, b storage.Device) int { return cmp.Compare(a.Name, b.Name) })
	return ds
}

func (o *model) putDevice(user chat.User, d storage.Device) {
	if o.devices[user] == nil {
		o.devices[user] = map[chat.Device]storage.Device{}
	}
	o.devices[user][d.Name] = d
}

// modelStubMs is 31 days, as long as an id can be sent again and one day more.
const modelStubMs = 31 * dayMs

// sweep is Sweep until there is no more.
func (o *model) sweep(now, inboxBefore, messagesBefore int64) {
	for k, m := range o.messages {
		if hasExpired(&m, now) || max(m.ID.UnixMilli(), m.At) < messagesBefore {
			delete(o.messages, k)
			m.Content, m.Media = nil, ""
			if m.Expires == 0 {
				m.Expires = m.At
			}
			o.stubs[k] = m
		}
	}
	for k := range o.stubs {
		if k.id.UnixMilli()+modelStubMs <= now {
			delete(o.stubs, k)
		}
	}
	for user, rows := range o.inbox {
		n := 0
		for n < len(rows) && rows[n].at < inboxBefore {
			o.truncated[user] = max(o.truncated[user], rows[n].pos)
			n++
		}
		o.inbox[user] = rows[n:]
	}
}
