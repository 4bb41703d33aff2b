package shard

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// workload is what gateways append: messages, retries, lies, conflicts, marks,
// reads and rubbish among a few users.
type workload struct {
	r      *rand.Rand
	ring   *Ring
	log    *memLog
	users  []chat.User
	clocks map[string]*chat.Clock
	sent   []record.Record
	route  func(by chat.User) (*memLog, *Ring) // of who appends; nil is to log, by ring
	now    time.Time
}

func newWorkload(seed uint64, log *memLog, ring *Ring) *workload {
	return &workload{
		r: rand.New(rand.NewPCG(seed, 2)), ring: ring, log: log, clocks: map[string]*chat.Clock{},
		users: []chat.User{"ann", "bob", "cid", "dee", "acme/eve", "fay"},
		now:   time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func (w *workload) user() chat.User     { return w.users[w.r.IntN(len(w.users))] }
func (w *workload) device() chat.Device { return []chat.Device{"phone", "web"}[w.r.IntN(2)] }

func (w *workload) put(rec record.Record) chat.Position {
	rec.At = w.now.UnixMilli()
	by := rec.User
	if rec.Kind == record.Message {
		by = rec.Peer
	}
	log, ring := w.to(chat.User(by))
	return log.put(ring.Partition(rec.User), record.Append(nil, &rec))
}

func (w *workload) to(by chat.User) (*memLog, *Ring) {
	if w.route == nil {
		return w.log, w.ring
	}
	return w.route(by)
}

func (w *workload) place(user chat.User) chat.Position {
	log, ring := w.to(user)
	end := log.End(ring.PartitionOf(user))
	return end - end%(1<<48) + chat.Position(w.r.Uint64N(end.Offset()+3))
}

// fill appends n records.
func (w *workload) fill(n int) {
	for range n {
		w.now = w.now.Add(7 * time.Millisecond)
		switch k := w.r.IntN(100); {
		case k < 45 || len(w.sent) == 0:
			w.message()
		case k < 55: // the same bytes again
			rec := w.sent[w.r.IntN(len(w.sent))]
			rec.Flags |= record.FlagRetry
			w.put(rec)
		case k < 60: // the same again, without saying so
			rec := w.sent[w.r.IntN(len(w.sent))]
			rec.Flags &^= record.FlagRetry
			w.put(rec)
		case k < 65: // other bytes
			rec := w.sent[w.r.IntN(len(w.sent))]
			rec.Flags = uint8(w.r.IntN(2)) * record.FlagRetry
			rec.Content = append(slices.Clone(rec.Content), '!')
			w.put(rec)
		case k < 82:
			user := w.user()
			w.put(record.Record{Kind: record.Mark, User: []byte(user), Device: []byte(w.device()), Place: w.place(user)})
		case k < 97:
			user := w.user()
			w.put(record.Record{Kind: record.Read, User: []byte(user), Peer: []byte(w.user()), Device: []byte(w.device()), Place: w.place(user)})
		default: // rubbish
			w.log.put(w.r.IntN(len(w.log.parts)), []byte{record.Version, 9, 9, 9})
		}
	}
}

func (w *workload) message() {
	from, to, device := w.user(), w.user(), w.device()
	name := string(from) + " " + string(device)
	if w.clocks[name] == nil {
		w.clocks[name] = chat.NewClock(w.ring.Node(from, device), 1, chat.ID{})
	}
	rec := record.Record{
		Kind: record.Message, Flags: uint8(w.r.IntN(2))*record.FlagCopy | uint8(w.r.IntN(2))*record.FlagRetry, Suite: 1, User: []byte(to), Peer: []byte(from),
		Device: []byte(device), ID: w.clocks[name].Next(w.now), TTL: uint64(w.r.IntN(2)) * 1000,
		Media: []byte("m"), Content: fmt.Appendf(nil, "message %d", len(w.sent)),
	}
	w.sent = append(w.sent, rec)
	w.put(rec)
}

// model is the laws, written down as simply as they can be, over what gateways
// have appended.
type model struct {
	messages map[messageKey]chat.Message
	copies   map[messageKey]bool
	cursors  map[pair]chat.Position
	reads    map[pair]chat.Position
	places   map[pair][]chat.Position // (receiver, sender): of the messages
}

func modelOf(t testing.TB, log *memLog) *model {
	log.mu.Lock() // the owners may be appending
	defer log.mu.Unlock()
	m := &model{
		map[messageKey]chat.Message{}, map[messageKey]bool{}, map[pair]chat.Position{},
		map[pair]chat.Position{}, map[pair][]chat.Position{},
	}
	for p := range log.parts {
		for _, raw := range log.parts[p].records {
			var r record.Record
			if r.Decode(raw.raw) != nil {
				continue
			}
			user, peer := chat.User(r.User), chat.User(r.Peer)
			switch r.Kind {
			case record.Message:
				k := messageKey{chat.DirectChat(user, peer), r.ID}
				if _, taken := m.messages[k]; taken {
					continue
				}
				m.messages[k] = chat.Message{
					ID: r.ID, From: peer, To: user, Place: raw.pos, At: r.At, Expires: expires(&r),
					Suite: r.Suite, Content: r.Content, Media: string(r.Media),
				}
				m.places[pair{user, peer}] = append(m.places[pair{user, peer}], raw.pos)
				if r.Flags&record.FlagCopy != 0 && user != peer {
					m.copies[k] = true
				}
			case record.Mark:
				k := pair{user, chat.User(r.Device)}
				m.cursors[k] = max(m.cursors[k], min(r.Place, raw.pos))
			case record.Read:
				k := pair{user, peer}
				m.reads[k] = max(m.reads[k], min(r.Place, raw.pos))
			}
		}
	}
	return m
}

// receipt is what sender has to know of user in the end.
func (m *model) receipt(sender, user chat.User) (c chat.Receipt) {
	var delivered chat.Position
	for k, at := range m.cursors {
		if k.user == user {
			delivered = max(delivered, at)
		}
	}
	c.Read = m.reads[pair{user, sender}]
	c.Delivered = c.Read
	for _, place := range m.places[pair{user, sender}] {
		if place <= delivered {
			c.Delivered = max(c.Delivered, place)
		}
	}
	return c
}

func (m *model) check(t testing.TB, users []chat.User, rows *memRows) {
	t.Helper()
	if !reflect.DeepEqual(rows.messages, m.messages) {
		t.Errorf("messages stored: %v\nwant %v", rows.messages, m.messages)
	}
	messages, copies := 0, map[messageKey]bool{}
	for user, box := range rows.inbox {
		last := map[chat.User]chat.Position{}
		for _, e := range box {
			k := messageKey{e.Message.Chat(), e.Message.ID}
			place := m.messages[k].Place
			if e.Kind == chat.EntryMessage {
				messages++
				if e.Pos != place {
					t.Errorf("inbox of %s has message %v at %v, its place is %v", user, k.id, e.Pos, place)
				}
				continue
			}
			if copies[k] || e.Message.From != user {
				t.Errorf("copy %v in the inbox of %s twice, or of somebody else", k.id, user)
			}
			if place <= last[e.Message.To] {
				t.Errorf("copies of %s to %s are not in order", user, e.Message.To)
			}
			copies[k], last[e.Message.To] = true, place
		}
	}
	if messages != len(m.messages) || !reflect.DeepEqual(copies, m.copies) {
		t.Errorf("inboxes have %d messages and copies %v, want %d and %v", messages, copies, len(m.messages), m.copies)
	}
	for k, want := range m.cursors {
		if rows.cursors[k] != want {
			t.Errorf("cursor of %v is %v, want %v", k, rows.cursors[k], want)
		}
	}
	for _, user := range users {
		for _, peer := range users {
			k := pair{user, peer}
			if got := rows.reads[k].ReadTo; got != m.reads[k] {
				t.Errorf("%v read to %v, want %v", k, got, m.reads[k])
			}
			got, want := rows.receipts[k], m.receipt(user, peer)
			if got.Delivered != want.Delivered || got.Read != want.Read {
				t.Errorf("receipt %v is %v %v, want %v %v", k, got.Delivered, got.Read, want.Delivered, want.Read)
			}
		}
	}
}

// pure checks that what the crashes left is what the log alone gives, in
// whatever batches.
func (s *sim) pure() {
	s.t.Helper()
	for _, batch := range []int{1, 7, 1000} {
		store, to := s.again(batch)
		if !reflect.DeepEqual(store.rows, s.store.rows) {
			s.t.Errorf("batches of %d:\nthe log alone gives %+v\nthe crashes left %+v", batch, store.rows, s.store.rows)
		}
		if got, want := derivedOf(s.t, s.log), derivedOf(s.t, to.memLog); !reflect.DeepEqual(got, want) {
			s.t.Errorf("batches of %d: derived is %+v, the log alone gives %+v", batch, got, want)
		}
	}
}

// TestCrashAtEveryStep crashes a small workload before each of its steps in
// turn: appends, both sides of every Apply and of every Deliver.
func TestCrashAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		s := newSim(t, uint64(at), 2)
		s.dropped = 20
		w := newWorkload(3, s.log, s.ring)
		w.fill(40)
		s.crashAt = at
		whole := s.run()
		if !whole && !s.run() {
			t.Fatal("crashed twice")
		}
		s.check()
		modelOf(t, s.log).check(t, w.users, &s.store.rows)
		s.pure()
		if t.Failed() {
			t.Fatalf("crash at step %d of %v", at, s.ops)
		}
		if whole {
			if at < 50 {
				t.Errorf("only %d steps: %v", at, s.ops)
			}
			return
		}
	}
}

// TestCrashesAtRandom crashes larger workloads many times, some while a crash
// is being recovered from, and appends more in between.
func TestCrashesAtRandom(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	for seed := range uint64(seeds) {
		s := newSim(t, seed, 1+int(seed%4))
		s.dropped = int(seed%3) * 20
		s.opt.BatchRecords = 1 + int(seed%9)
		w := newWorkload(seed, s.log, s.ring)
		crashes := 0
		for range 6 {
			w.fill(30)
			s.op, s.crashAt = 0, 1+s.r.IntN(60)
			if !s.run() {
				crashes++
			}
			s.ops = nil
		}
		s.crashAt = 0
		s.run()
		s.check()
		modelOf(t, s.log).check(t, w.users, &s.store.rows)
		s.pure()
		if t.Failed() || crashes == 0 {
			t.Fatalf("seed %d, %d crashes", seed, crashes)
		}
	}
}

// TestCrashesWithGaps is TestCrashesAtRandom on a log whose positions leave
// gaps inside the batches that are read, so that cycles end between jumps.
func TestCrashesWithGaps(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 20
	}
	jumps := 0
	for seed := range uint64(seeds) {
		s := newSim(t, seed, 1+int(seed%3))
		s.log.aligned = true
		s.dropped = int(seed%3) * 20
		s.opt.BatchRecords = 1 + int(seed%9)
		w := newWorkload(seed, s.log, s.ring)
		for range 4 {
			w.fill(30)
			jumps += len(s.log.next(0, 0, 1<<20).Jumps)
			s.op, s.crashAt, s.ops = 0, 1+s.r.IntN(60), nil
			s.run()
		}
		s.crashAt = 0
		s.run()
		s.check()
		modelOf(t, s.log).check(t, w.users, &s.store.rows)
		s.pure()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if jumps < 10*seeds {
		t.Errorf("only %d jumps", jumps)
	}
}
