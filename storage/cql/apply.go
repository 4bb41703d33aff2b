package cql

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// writer builds and sends the rows of a batch. Its memory is used again.
type writer struct {
	s     *Store
	arena arena
	sends sends

	chats    map[chatBucket]*group
	users    map[chat.User]*userGroup
	userList []*userGroup // in order of appearance
	spare    []*userGroup
	fresh    []uint64 // for Store.known, when all is stored
	runs     []byte   // memory of the runs that are under way
}

// chatBucket is a partition of messages.
type chatBucket struct {
	chat   chat.ChatID
	bucket int32
}

// userGroup is a partition of what belongs to a user: in each of its tables the
// user alone is the partition key, and a batch of them is one mutation.
type userGroup struct {
	group
	user              chat.User
	head, first, last chat.Position // of the links and of the entries among them, 0 for none
	entries           []*chat.Entry // that are to be a run
}

func newWriter(s *Store) *writer {
	return &writer{s: s, chats: map[chatBucket]*group{}, users: map[chat.User]*userGroup{}}
}

// Apply implements storage.Store. Rows go first, in as many requests at once as
// may be; the partition's own row follows when all of them are stored. After an
// error some rows may be there, and none of them is shown.
func (s *Store) Apply(ctx context.Context, b *storage.Batch) error {
	if len(b.Mark.Owner) > storage.MaxMarkOwner {
		return storage.ErrMarkOwner
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := checkPositions(b); err != nil {
		return err
	}
	w := s.writers.Get().(*writer)
	defer w.release()
	w.sends.begin(ctx, s)
	w.rows(b)
	if err := w.sends.wait(); err != nil {
		return failed("apply", err)
	}
	for _, key := range w.fresh {
		s.known.add(key)
	}
	w.partition(b)
	if err := w.sends.wait(); err != nil {
		return failed("apply", err)
	}
	return nil
}

// checkPositions refuses what a bigint cannot hold, before it does harm.
func checkPositions(b *storage.Batch) error {
	furthest := max(b.Applied, b.Mark.Position)
	for i := range b.Messages {
		furthest = max(furthest, b.Messages[i].Place)
	}
	for i := range b.Inbox {
		furthest = max(furthest, b.Inbox[i].Pos)
	}
	for i := range b.Receipts {
		furthest = max(furthest, b.Receipts[i].Pos)
	}
	for i := range b.Members {
		furthest = max(furthest, b.Members[i].Pos)
	}
	if furthest > maxPosition {
		return fmt.Errorf("storage/cql: position %v: epochs end at %d here", furthest, maxPosition.Epoch())
	}
	return nil
}

func (w *writer) release() {
	clear(w.chats)
	clear(w.users)
	for _, g := range w.userList {
		if len(w.spare) < maxSpareGroups {
			w.spare = append(w.spare, g)
		}
	}
	clear(w.userList)
	w.userList, w.fresh = w.userList[:0], w.fresh[:0]
	w.sends.release()
	w.arena.reset()
	if w.runs = w.runs[:0]; cap(w.runs) > maxSpareRuns {
		w.runs = nil
	}
	w.s.writers.Put(w)
}

// Bounds of the memory that a writer keeps.
const (
	maxSpareGroups = 1024
	maxSpareRuns   = 1 << 20 // bytes
)

// rows sends all but the partition's row. A group that is full goes at once,
// while the others are still being built.
func (w *writer) rows(b *storage.Batch) {
	for i := range b.Messages {
		w.message(&b.Messages[i])
	}
	w.inbox(b.Inbox)
	for i := range b.Receipts {
		w.receipt(&b.Receipts[i])
	}
	for i := range b.Reads {
		r := &b.Reads[i]
		w.arena.begin(4)
		w.arena.int64(stamp(r.Pos))
		w.arena.pos(r.ReadTo)
		w.arena.text(string(r.User))
		w.arena.text(string(r.Peer))
		w.add(&w.user(r.User).group, putRead)
	}
	for i := range b.Cursors {
		c := &b.Cursors[i]
		w.arena.begin(4)
		w.arena.int64(stamp(c.Position))
		w.arena.pos(c.Position)
		w.arena.text(string(c.User))
		w.arena.text(string(c.Device))
		w.add(&w.user(c.User).group, putCursor)
	}
	w.groups(b)
	for _, u := range w.userList {
		w.heads(u)
		w.sends.send(&u.group)
	}
	for _, g := range w.chats {
		w.sends.send(g)
	}
}

// add puts the statement whose arguments were encoded last into a group.
func (w *writer) add(g *group, statement string) {
	w.s.stats.rows.Add(1)
	w.sends.add(g, statement, w.arena.end(), w.arena.size)
}

// user is the group of a user.
func (w *writer) user(u chat.User) *userGroup {
	if g := w.users[u]; g != nil {
		return g
	}
	var g *userGroup
	if n := len(w.spare); n > 0 {
		g, w.spare = w.spare[n-1], w.spare[:n-1]
		*g = userGroup{entries: g.entries}
	} else {
		g = new(userGroup)
	}
	g.user = u
	w.users[u] = g
	w.userList = append(w.userList, g)
	return g
}

func (w *writer) message(m *chat.Message) {
	c, ms := m.Chat(), m.ID.UnixMilli()
	key := chatBucket{c, bucketOf(ms)}
	g := w.chats[key]
	if g == nil {
		g = new(group)
		w.chats[key] = g
	}
	end := m.At + w.s.opt.MessagesFor.Milliseconds()
	if m.Expires > 0 {
		w.expiring(g, key, m, min(m.Expires, end))
	} else {
		w.lasting(g, key, m, end)
	}
	share := m.Suite == chat.SuiteKeyShare // which is in the history, and makes no chat
	if day := dayOf(ms); !w.knows(w.s.known.chatDay(c, day, share)) {
		w.bucket(m, key, end)
		if !share {
			w.chatDay(m, day)
		}
	}
}

// knows reports whether rows of a key are known to be stored. If not, they will
// be when this batch is.
func (w *writer) knows(key uint64) bool {
	if w.s.known.has(key) {
		return true
	}
	for _, k := range w.fresh[max(0, len(w.fresh)-recentlyFresh):] {
		if k == key {
			return true
		}
	}
	w.fresh = append(w.fresh, key)
	return false
}

// recentlyFresh is how far back a batch looks for what it has written itself.
const recentlyFresh = 8

// lasting writes a message that does not expire.
func (w *writer) lasting(g *group, key chatBucket, m *chat.Message, end int64) {
	a := &w.arena
	a.begin(13)
	w.messageKey(key, m)
	a.lend(m.Content)
	if m.Media != "" {
		a.text(m.Media)
	} else {
		a.unset()
	}
	w.messageFacts(m)
	a.int64(m.At * 1000)
	a.int32(w.s.life(end))
	w.add(g, putMessage)
}

// expiring writes a message whose content goes at a time, while its id stays as
// long as it could be sent again.
func (w *writer) expiring(g *group, key chatBucket, m *chat.Message, end int64) {
	a := &w.arena
	a.begin(12)
	w.messageKey(key, m)
	w.messageFacts(m)
	a.int64(m.Expires)
	a.int64(m.At * 1000)
	a.int32(w.s.life(max(end, stubUntil(m.ID))))
	w.add(g, putStub)
	a.begin(7)
	a.int64(m.At * 1000)
	a.int32(w.s.life(end))
	a.lend(m.Content)
	if m.Media != "" {
		a.text(m.Media)
	} else {
		a.unset()
	}
	a.key(key.chat)
	a.int32(key.bucket)
	a.key(m.ID)
	w.add(g, putBody)
}

// messageKey encodes chat, bucket, id, sender and receiver.
func (w *writer) messageKey(key chatBucket, m *chat.Message) {
	w.arena.key(key.chat)
	w.arena.int32(key.bucket)
	w.arena.key(m.ID)
	w.arena.text(string(m.From))
	w.arena.text(string(m.To))
}

// messageFacts encodes status, place, at and suite.
func (w *writer) messageFacts(m *chat.Message) {
	w.arena.int8(uint8(chat.Sent))
	w.arena.pos(m.Place)
	w.arena.int64(m.At)
	if m.Suite != 0 {
		w.arena.int8(m.Suite)
	} else {
		w.arena.unset()
	}
}

// bucket writes by which the chat finds its messages.
func (w *writer) bucket(m *chat.Message, key chatBucket, end int64) {
	a := &w.arena
	a.begin(4)
	a.key(key.chat)
	a.int32(key.bucket)
	a.int64(m.At * 1000)
	a.int32(w.s.life(end + bucketMs))
	bucket := new(group)
	w.add(bucket, putBucket)
	w.sends.send(bucket)
}

// chatDay writes by which the users of a message find its chat.
func (w *writer) chatDay(m *chat.Message, day int32) {
	if m.To.IsGroup() {
		return // its members find it by their entries
	}
	w.peerDay(m.From, m.To, day)
	if m.From != m.To {
		w.peerDay(m.To, m.From, day)
	}
}

func (w *writer) peerDay(user, peer chat.User, day int32) {
	a := &w.arena
	a.begin(4)
	a.int64(int64(day)) // the latest day wins
	a.int32(day)
	a.text(string(user))
	a.text(string(peer))
	w.add(&w.user(user).group, putDay)
}

func (w *writer) entry(e *chat.Entry) {
	u := w.user(e.User)
	a := &w.arena
	a.begin(9)
	a.text(string(e.User))
	a.pos(e.Pos)
	a.int8(uint8(e.Kind))
	a.text(string(e.With()))
	a.key(e.Message.ID)
	a.int64(e.Message.At)
	a.pos(e.Prev)
	a.int64(e.Message.At * 1000)
	a.int32(w.s.life(e.Message.At + w.s.opt.InboxFor.Milliseconds()))
	w.add(&u.group, putEntry)
	w.linked(u, e)
}

// linked notes what an entry that is stored makes of its user's row and chats.
func (w *writer) linked(u *userGroup, e *chat.Entry) {
	u.head, u.last = max(u.head, e.Pos), max(u.last, e.Pos)
	if u.first == 0 || e.Pos < u.first {
		u.first = e.Pos
	}
	if g := e.Message.To; g.IsGroup() {
		if day := dayOf(e.Message.ID.UnixMilli()); !w.knows(w.s.known.groupDay(e.User, g, day)) {
			w.peerDay(e.User, g, day)
		}
	}
}

func (w *writer) receipt(r *storage.ReceiptAt) {
	u := w.user(r.User)
	a := &w.arena
	a.begin(6)
	a.int64(stamp(r.Pos))
	a.pos(r.Delivered)
	a.pos(r.Read)
	a.pos(r.Pos)
	a.text(string(r.User))
	a.text(string(r.Peer))
	w.add(&u.group, putRcpt)
	u.head = max(u.head, r.Pos)
}

// heads writes where a user's chain ends, and where the inbox in it ends and
// began.
func (w *writer) heads(u *userGroup) {
	switch {
	case u.head > 0 && u.head == u.last: // nearly always
		w.arena.begin(4)
		w.arena.int64(stamp(u.head))
		w.arena.pos(u.head)
		w.arena.pos(u.last)
		w.arena.text(string(u.user))
		w.add(&u.group, putEnds)
	case u.head > 0:
		w.userCell(u, putHead, stamp(u.head), u.head)
		if u.last > 0 {
			w.userCell(u, putLast, stamp(u.last), u.last)
		}
	}
	if u.first > 0 && !w.knows(w.s.known.user(u.user)) {
		w.userCell(u, putFirst, firstStamp(u.first), u.first)
	}
}

func (w *writer) userCell(u *userGroup, statement string, at int64, p chat.Position) {
	w.arena.begin(3)
	w.arena.int64(at)
	w.arena.pos(p)
	w.arena.text(string(u.user))
	w.add(&u.group, statement)
}

// partition sends the row that says how far the others are stored.
func (w *writer) partition(b *storage.Batch) {
	var g group
	a := &w.arena
	if b.Mark != (storage.Mark{}) {
		a.begin(5)
		a.int64(stamp(b.Mark.Position))
		a.key(b.Mark.Log)
		a.pos(b.Mark.Position)
		a.text(b.Mark.Owner)
		a.int32(int32(b.Partition))
		w.add(&g, putMark)
	}
	if b.Applied > 0 {
		a.begin(3)
		a.int64(stamp(b.Applied))
		a.pos(b.Applied)
		a.int32(int32(b.Partition))
		w.add(&g, putDone)
	}
	w.sends.send(&g)
}
