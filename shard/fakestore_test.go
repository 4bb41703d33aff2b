package shard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// memStore is a store in memory that can go back to any Apply since its last
// Sync, as after a crash.
type memStore struct {
	mu      sync.Mutex
	op      func(string)
	failing int // calls that get an error from now on; below 0 all do
	batches []storage.Batch
	synced  int
	syncs   int
	reads   int // calls of an owner that asked for rows
	rows    memRows
	applied map[int]chat.Position // as the process that stores knows it
}

type messageKey struct {
	chat chat.ChatID
	id   chat.ID
}

type pair struct{ user, other chat.User }

type memRows struct {
	messages map[messageKey]chat.Message
	inbox    map[chat.User][]chat.Entry
	receipts map[pair]storage.ReceiptAt
	reads    map[pair]storage.ReadMark
	cursors  map[pair]chat.Position // other is the device
	marks    map[int]storage.Mark
	infos    map[chat.User]storage.GroupAt
	members  map[pair]storage.MemberAt
	come     map[pair]storage.GroupMark
}

func newRows() memRows {
	return memRows{
		map[messageKey]chat.Message{}, map[chat.User][]chat.Entry{}, map[pair]storage.ReceiptAt{},
		map[pair]storage.ReadMark{}, map[pair]chat.Position{}, map[int]storage.Mark{},
		map[chat.User]storage.GroupAt{}, map[pair]storage.MemberAt{}, map[pair]storage.GroupMark{},
	}
}

func newMemStore() *memStore {
	return &memStore{op: func(string) {}, rows: newRows(), applied: map[int]chat.Position{}}
}

var errAway = errors.New("the store is away")

func (s *memStore) enter() error {
	s.mu.Lock()
	if s.failing != 0 {
		s.failing--
		s.mu.Unlock()
		return errAway
	}
	return nil
}

func (s *memStore) read() error {
	err := s.enter()
	if err == nil {
		s.reads++
	}
	return err
}

func own[S ~string](s S) S { return S(strings.Clone(string(s))) }

func ownMessage(m chat.Message) chat.Message {
	m.From, m.To, m.Media, m.Content = own(m.From), own(m.To), own(m.Media), slices.Clone(m.Content)
	return m
}

// ownBatch copies a batch with all that it points to.
func ownBatch(b *storage.Batch) storage.Batch {
	c := storage.Batch{Partition: b.Partition, Applied: b.Applied, Mark: b.Mark}
	c.Mark.Owner = own(b.Mark.Owner)
	for _, m := range b.Messages {
		c.Messages = append(c.Messages, ownMessage(m))
	}
	for _, e := range b.Inbox {
		e.User, e.Message = own(e.User), ownMessage(e.Message)
		c.Inbox = append(c.Inbox, e)
	}
	for _, r := range b.Receipts {
		r.User, r.Peer = own(r.User), own(r.Peer)
		c.Receipts = append(c.Receipts, r)
	}
	for _, r := range b.Reads {
		r.User, r.Peer = own(r.User), own(r.Peer)
		c.Reads = append(c.Reads, r)
	}
	for _, u := range b.Cursors {
		u.User, u.Device = own(u.User), own(u.Device)
		c.Cursors = append(c.Cursors, u)
	}
	for _, g := range b.Groups {
		g.Group, g.Info = own(g.Group), slices.Clone(g.Info)
		c.Groups = append(c.Groups, g)
	}
	for _, m := range b.Members {
		m.Group, m.User, m.Spans = own(m.Group), own(m.User), slices.Clone(m.Spans)
		c.Members = append(c.Members, m)
	}
	for _, m := range b.GroupMarks {
		m.Group, m.User = own(m.Group), own(m.User)
		c.GroupMarks = append(c.GroupMarks, m)
	}
	return c
}

func (s *memStore) Apply(_ context.Context, b *storage.Batch) error {
	s.op("before apply")
	if err := s.enter(); err != nil {
		return err
	}
	c := ownBatch(b)
	s.batches = append(s.batches, c)
	s.rows.apply(&c)
	s.applied[c.Partition] = max(s.applied[c.Partition], c.Applied, c.Mark.Position)
	s.mu.Unlock()
	s.op("after apply")
	return nil
}

func (r *memRows) apply(b *storage.Batch) {
	for _, m := range b.Messages {
		k := messageKey{m.Chat(), m.ID}
		if old, ok := r.messages[k]; ok && !slices.Equal(old.Content, m.Content) {
			panic(fmt.Sprintf("message %v is written over by other bytes", m.ID))
		}
		r.messages[k] = m
	}
	for _, e := range b.Inbox {
		box := r.inbox[e.User]
		i := sort.Search(len(box), func(i int) bool { return box[i].Pos >= e.Pos })
		if i == len(box) || box[i].Pos != e.Pos {
			box = slices.Insert(box, i, chat.Entry{})
		}
		m := e.Message
		box[i] = chat.Entry{Kind: e.Kind, User: e.User, Pos: e.Pos, Message: chat.Message{ID: m.ID, From: m.From, To: m.To, At: m.At}}
		r.inbox[e.User] = box
	}
	for _, c := range b.Receipts {
		r.receipts[pair{c.User, c.Peer}] = c
	}
	for _, c := range b.Reads {
		r.reads[pair{c.User, c.Peer}] = c
	}
	for _, c := range b.Cursors {
		k := pair{c.User, chat.User(c.Device)}
		if c.Position < r.cursors[k] {
			panic(fmt.Sprintf("cursor of %v goes from %v back to %v", k, r.cursors[k], c.Position))
		}
		r.cursors[k] = c.Position
	}
	for _, g := range b.Groups {
		if g.Pos < r.infos[g.Group].Pos {
			panic(fmt.Sprintf("info of %s goes back to %v", g.Group, g.Pos))
		}
		r.infos[g.Group] = g
	}
	for _, m := range b.Members {
		k := pair{m.Group, m.User}
		if m.Pos < r.members[k].Pos {
			panic(fmt.Sprintf("spans of %v go from %+v back to %+v", k, r.members[k], m))
		}
		r.members[k] = m
	}
	for _, m := range b.GroupMarks {
		k := pair{m.Group, m.User}
		if old := r.come[k]; m.Pos < old.Pos || m.Delivered < old.Delivered || m.Read < old.Read || m.Sent < old.Sent {
			panic(fmt.Sprintf("how far %v has come goes from %+v back to %+v", k, old, m))
		}
		r.come[k] = m
	}
	if b.Mark != (storage.Mark{}) {
		if b.Mark.Position < r.marks[b.Partition].Position {
			panic(fmt.Sprintf("mark goes from %v back to %v", r.marks[b.Partition], b.Mark))
		}
		r.marks[b.Partition] = b.Mark
	}
}

// back goes back to the first n batches.
func (s *memStore) back(n int) {
	s.batches = s.batches[:n]
	s.rows = newRows()
	for i := range s.batches {
		s.rows.apply(&s.batches[i])
	}
	clear(s.applied)
	for p, m := range s.rows.marks {
		s.applied[p] = m.Position
	}
}

func (s *memStore) Sync(context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.synced = len(s.batches)
	s.syncs++
	return nil
}

func (s *memStore) Mark(_ context.Context, p int) (storage.Mark, error) {
	if err := s.enter(); err != nil {
		return storage.Mark{}, err
	}
	defer s.mu.Unlock()
	return s.rows.marks[p], nil
}

func (s *memStore) Message(_ context.Context, c chat.ChatID, id chat.ID, _ int64) (chat.Message, bool, error) {
	if err := s.read(); err != nil {
		return chat.Message{}, false, err
	}
	defer s.mu.Unlock()
	m, ok := s.rows.messages[messageKey{c, id}]
	return m, ok, nil
}

func (s *memStore) Inbox(_ context.Context, user chat.User, after, upTo chat.Position, limit int, _ int64, dst []chat.Entry) ([]chat.Entry, chat.Position, error) {
	if err := s.read(); err != nil {
		return dst, after, err
	}
	defer s.mu.Unlock()
	prev := after
	for _, e := range s.rows.inbox[user] {
		if e.Pos <= after || e.Pos > upTo {
			continue
		}
		if limit == 0 {
			return dst, prev, nil
		}
		m, ok := s.rows.messages[messageKey{e.Message.Chat(), e.Message.ID}]
		if ok {
			e.Message = m
		}
		e.Prev, prev = prev, e.Pos
		dst = append(dst, e)
		limit--
	}
	return dst, upTo, nil
}

func (s *memStore) Senders(_ context.Context, user chat.User, after, upTo chat.Position, limit int, dst []storage.Sender) ([]storage.Sender, chat.Position, error) {
	if err := s.read(); err != nil {
		return dst, after, err
	}
	defer s.mu.Unlock()
	for _, e := range s.rows.inbox[user] {
		if e.Pos <= after || e.Pos > upTo {
			continue
		}
		if e.Kind == chat.EntryMessage {
			from, place := e.With(), chat.Position(0)
			if from.IsGroup() {
				place = s.rows.messages[messageKey{chat.GroupChat(from), e.Message.ID}].Place
			}
			dst = append(dst, storage.Sender{From: from, Pos: e.Pos, Place: place})
		}
		if limit--; limit == 0 {
			return dst, e.Pos, nil
		}
	}
	return dst, upTo, nil
}

func (s *memStore) Receipts(_ context.Context, user chat.User, after, upTo chat.Position, beyond chat.User, limit int, dst []chat.Receipt) ([]chat.Receipt, error) {
	if err := s.read(); err != nil {
		return dst, err
	}
	defer s.mu.Unlock()
	var found []chat.Receipt
	for k, r := range s.rows.receipts {
		if k.user == user && after < r.Pos && r.Pos <= upTo && r.Peer > beyond {
			found = append(found, r.Receipt)
		}
	}
	slices.SortFunc(found, func(a, b chat.Receipt) int { return strings.Compare(string(a.Peer), string(b.Peer)) })
	return append(dst, found[:min(limit, len(found))]...), nil
}

// ReadReceipts is one call, however many receipts.
func (s *memStore) ReadReceipts(_ context.Context, receipts []storage.ReceiptAt) error {
	if err := s.read(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for i := range receipts {
		r := &receipts[i]
		if row, ok := s.rows.receipts[pair{r.User, r.Peer}]; ok {
			r.Delivered, r.Read, r.Pos = row.Delivered, row.Read, row.Pos
		}
	}
	return nil
}

func (s *memStore) ReadTo(_ context.Context, user, peer chat.User) (chat.Position, error) {
	if err := s.read(); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.rows.reads[pair{user, peer}].ReadTo, nil
}

func (s *memStore) Cursors(_ context.Context, user chat.User) (all []storage.Cursor, err error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, k := range slices.SortedFunc(maps.Keys(s.rows.cursors), func(a, b pair) int { return strings.Compare(string(a.other), string(b.other)) }) {
		if k.user == user {
			all = append(all, storage.Cursor{Device: chat.Device(k.other), Position: s.rows.cursors[k]})
		}
	}
	return all, nil
}

func (s *memStore) ReadCursors(_ context.Context, cursors []storage.UserCursor) error {
	if err := s.read(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for i := range cursors {
		c := &cursors[i]
		at, ok := s.rows.cursors[pair{c.User, chat.User(c.Device)}]
		if c.Position = at; !ok {
			*c = storage.UserCursor{}
		}
	}
	return nil
}

func (s *memStore) Delivered(ctx context.Context, user chat.User) (furthest chat.Position, err error) {
	cursors, err := s.Cursors(ctx, user)
	for _, c := range cursors {
		furthest = max(furthest, c.Position)
	}
	return furthest, err
}

func (s *memStore) Applied(_ context.Context, p int) (chat.Position, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.applied[p], nil
}

func (s *memStore) GroupInfo(_ context.Context, group chat.User) ([]byte, chat.Position, error) {
	if err := s.read(); err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	g := s.rows.infos[group]
	return g.Info, g.Pos, nil
}

func (s *memStore) Members(_ context.Context, group, beyond chat.User, limit int, dst []storage.Member) ([]storage.Member, error) {
	if err := s.read(); err != nil {
		return dst, err
	}
	defer s.mu.Unlock()
	var all []storage.Member
	for k := range s.rows.members {
		if k.user == group && k.other > beyond {
			all = append(all, s.member(k))
		}
	}
	slices.SortFunc(all, func(a, b storage.Member) int { return strings.Compare(string(a.User), string(b.User)) })
	return append(dst, all[:min(limit, len(all))]...), nil
}

func (s *memStore) Member(_ context.Context, group, user chat.User) (storage.Member, error) {
	if err := s.read(); err != nil {
		return storage.Member{}, err
	}
	defer s.mu.Unlock()
	return s.member(pair{group, user}), nil
}

func (s *memStore) member(k pair) storage.Member {
	m, c := s.rows.members[k], s.rows.come[k]
	return storage.Member{User: k.other, Spans: slices.Clone(m.Spans), Changed: m.Pos, Delivered: c.Delivered, Read: c.Read, Sent: c.Sent}
}
