package shard

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/storage"
)

// blockLoad is a workload whose users block each other, and change their minds.
type blockLoad struct{ *workload }

func (w *blockLoad) fill(n int) {
	for range n {
		if w.r.IntN(100) < 25 {
			w.change()
			continue
		}
		w.workload.fill(1)
	}
}

func (w *blockLoad) change() {
	user, device := w.user(), w.device()
	c := chat.Change{Verb: []chat.Verb{chat.GroupAdd, chat.GroupAdd, chat.GroupRemove, chat.GroupRemove, chat.GroupAdmin}[w.r.IntN(5)]}
	for range 1 + w.r.IntN(2) {
		c.Users = append(c.Users, chat.User(w.user().Name()))
	}
	content := c.AppendTo(nil)
	if w.r.IntN(20) == 0 {
		content = content[:len(content)-1]
	}
	name := string(user) + " " + string(device)
	if w.clocks[name] == nil {
		w.clocks[name] = chat.NewClock(w.ring.Node(user, device), 1, chat.ID{})
	}
	rec := record.Record{
		Kind: record.Message, Suite: chat.SuiteGroup, User: []byte(user), Peer: []byte(user), Device: []byte(device),
		ID: w.clocks[name].Next(w.now), Content: content, Place: chat.Position(3 + w.r.IntN(2)),
	}
	w.sent = append(w.sent, rec)
	w.put(rec)
}

// blockModel is whom users have blocked, and which messages that hides, over
// what gateways have appended.
type blockModel struct {
	spans   map[pair][]storage.Span
	unseen  map[messageKey]bool
	seen    map[messageKey]bool
	refused int
}

func blocksOf(t testing.TB, log *memLog) *blockModel {
	t.Helper()
	m := &blockModel{map[pair][]storage.Span{}, map[messageKey]bool{}, map[messageKey]bool{}, 0}
	taken := map[messageKey]bool{}
	for p := range log.parts {
		for _, raw := range log.parts[p].records {
			var r record.Record
			if r.Decode(raw.raw) != nil || r.Kind != record.Message {
				continue
			}
			user, peer := chat.User(r.User), chat.User(r.Peer)
			k := messageKey{chat.DirectChat(user, peer), r.ID}
			if taken[k] {
				continue
			}
			if r.Suite == chat.SuiteGroup && !m.change(&r, raw.pos) {
				m.refused++
				continue
			}
			taken[k] = true
			if m.blocked(user, peer) {
				m.unseen[k] = true
			} else {
				m.seen[k] = true
			}
		}
	}
	return m
}

func (m *blockModel) blocked(user, peer chat.User) bool {
	spans := m.spans[pair{user, peer}]
	return user != peer && len(spans) > 0 && spans[len(spans)-1].To == 0
}

func (m *blockModel) change(r *record.Record, pos chat.Position) bool {
	c, err := chat.ParseChange(r.Content)
	user := chat.User(r.User)
	if err != nil || c.Verb != chat.GroupAdd && c.Verb != chat.GroupRemove {
		return false
	}
	after := map[chat.User]bool{}
	for k := range m.spans {
		if k.user == user && m.blocked(user, k.other) {
			after[k.other] = true
		}
	}
	for _, u := range c.Users {
		after[user.Beside(u)] = true
	}
	if c.Verb == chat.GroupAdd && len(after) > int(r.Place) {
		return false
	}
	for _, u := range c.Users {
		k := pair{user, user.Beside(u)}
		switch is := m.blocked(user, k.other); {
		case k.other == user || is == (c.Verb == chat.GroupAdd):
		case is:
			m.spans[k][len(m.spans[k])-1].To = pos
		default:
			m.spans[k] = append(m.spans[k], storage.Span{From: pos})
		}
	}
	return true
}

func (m *blockModel) check(t testing.TB, rows *memRows) {
	t.Helper()
	got := map[pair][]storage.Span{}
	for k, r := range rows.members {
		got[k] = r.Spans
	}
	if !reflect.DeepEqual(got, m.spans) {
		t.Errorf("blocks stored: %v\nwant %v", got, m.spans)
	}
	seen := map[messageKey]bool{}
	for _, box := range rows.inbox {
		for _, e := range box {
			if e.Kind == chat.EntryMessage {
				seen[messageKey{e.Message.Chat(), e.Message.ID}] = true
			}
		}
	}
	if !reflect.DeepEqual(seen, m.seen) {
		t.Errorf("inboxes have %d messages, want %d", len(seen), len(m.seen))
	}
	for k := range m.unseen {
		if _, ok := rows.messages[k]; !ok {
			t.Errorf("message %v of who is blocked is not stored", k.id)
		}
	}
}

// TestBlocksCrashAtEveryStep crashes a small workload with blocks before each of
// its steps in turn.
func TestBlocksCrashAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		s := newSim(t, uint64(at), 2)
		s.dropped = 20
		w := &blockLoad{newWorkload(7, s.log, s.ring)}
		w.fill(60)
		s.crashAt = at
		whole := s.run()
		if !whole && !s.run() {
			t.Fatal("crashed twice")
		}
		s.check()
		blocksOf(t, s.log).check(t, &s.store.rows)
		s.pure()
		if t.Failed() {
			t.Fatalf("crash at step %d of %v", at, s.ops)
		}
		if whole {
			return
		}
	}
}

// TestBlocksCrashAtRandom crashes larger workloads with blocks many times.
func TestBlocksCrashAtRandom(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 20
	}
	unseen, refused, ended := 0, 0, 0
	for seed := range uint64(seeds) {
		s := newSim(t, seed, 1+int(seed%4))
		s.dropped = int(seed%3) * 20
		s.log.aligned = seed%4 == 1
		s.opt.BatchRecords = 1 + int(seed%9)
		w := &blockLoad{newWorkload(seed, s.log, s.ring)}
		for range 5 {
			w.fill(40)
			s.op, s.crashAt, s.ops = 0, 1+s.r.IntN(80), nil
			s.run()
		}
		s.crashAt = 0
		s.run()
		s.check()
		m := blocksOf(t, s.log)
		m.check(t, &s.store.rows)
		s.pure()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		unseen, refused = unseen+len(m.unseen), refused+m.refused
		for _, spans := range m.spans {
			if len(spans) > 1 {
				ended++
			}
		}
	}
	t.Logf("%d messages of who was blocked, %d changes not taken, %d blocks that began again", unseen, refused, ended)
	if unseen < 5*seeds || refused < seeds || ended < seeds/2 {
		t.Error("this tests little")
	}
}

// Who is blocked is told nothing: neither of what they send nor of what the
// other reads of before. The block goes, and later messages are told of again.
func TestBlockedAreToldNothing(t *testing.T) {
	s := newSim(t, 3, 1)
	clock := chat.NewClock(s.ring.Node("bob", "phone"), 1, chat.ID{})
	own := chat.NewClock(s.ring.Node("ann", "phone"), 1, chat.ID{})
	w := newWorkload(3, s.log, s.ring)
	say := func() chat.Position {
		return w.put(record.Record{Kind: record.Message, Suite: 1, User: []byte("ann"), Peer: []byte("bob"), Device: []byte("phone"), ID: clock.Next(w.now)})
	}
	block := func(verb chat.Verb) {
		c := chat.Change{Verb: verb, Users: []chat.User{"bob"}}
		w.put(record.Record{Kind: record.Message, Suite: chat.SuiteGroup, User: []byte("ann"), Peer: []byte("ann"), Device: []byte("phone"), ID: own.Next(w.now), Content: c.AppendTo(nil)})
	}
	mark := func(place chat.Position) {
		w.put(record.Record{Kind: record.Mark, User: []byte("ann"), Device: []byte("phone"), Place: place})
		w.put(record.Record{Kind: record.Read, User: []byte("ann"), Peer: []byte("bob"), Device: []byte("phone"), Place: place})
	}
	receipt := func() chat.Position { return s.store.rows.receipts[pair{"bob", "ann"}].Delivered }
	before := say()
	block(chat.GroupAdd)
	hidden := say()
	mark(hidden)
	s.run()
	if n := len(s.store.rows.inbox["ann"]); n != 2 || receipt() != 0 {
		t.Fatalf("ann has %d entries, bob knows of %v", n, receipt())
	}
	block(chat.GroupRemove)
	after := say()
	mark(after)
	s.run()
	if n := len(s.store.rows.inbox["ann"]); n != 4 || receipt() != after {
		t.Fatalf("ann has %d entries, bob knows of %v, of %v at %v, %v and %v", n, receipt(), 3, before, hidden, after)
	}
}

// What a device got while its user blocked the sender is not told when another
// device gets it after that, though the owner began anew in between.
func TestALaterDeviceTellsNothingOfABlock(t *testing.T) {
	s := newSim(t, 3, 1)
	own := chat.NewClock(s.ring.Node("ann", "phone"), 1, chat.ID{})
	block := func(verb chat.Verb) {
		c := chat.Change{Verb: verb, Users: []chat.User{"bob"}}
		s.put(record.Record{Kind: record.Message, Suite: chat.SuiteGroup, User: []byte("ann"), Peer: []byte("ann"), Device: []byte("phone"), ID: own.Next(time.UnixMilli(1)), Content: c.AppendTo(nil)})
	}
	mark := func(device string, place chat.Position) {
		s.put(record.Record{Kind: record.Mark, User: []byte("ann"), Device: []byte(device), Place: place})
	}
	n := uint64(0)
	say := func() chat.Position {
		n++
		return s.put(record.Record{Kind: record.Message, Suite: 1, User: []byte("ann"), Peer: []byte("bob"), Device: []byte("phone"), ID: chat.NewID(n, 1, s.ring.Node("bob", "phone"))})
	}
	before := say()
	mark("phone", before)
	mark("web", before)
	hidden := say()
	block(chat.GroupAdd)
	mark("web", hidden)
	block(chat.GroupRemove)
	s.run()
	mark("phone", hidden)
	s.run()
	if got := s.store.rows.receipts[pair{"bob", "ann"}].Delivered; got != before {
		t.Errorf("bob knows of %v, want %v", got, before)
	}
	s.check()
	s.pure()
}

// At the most spans the block stays: it could not be asked any more.
func TestBlocksAreBounded(t *testing.T) {
	var spans []storage.Span
	for pos := chat.Position(1); pos < 200; pos++ {
		now, changed := turned(spans, pos, pos%2 == 1)
		if changed != (pos < 2*storage.MaxSpans) {
			t.Fatalf("change %d of %d spans: %v", pos, len(spans), changed)
		}
		spans = now
	}
	if len(spans) != storage.MaxSpans || spans[len(spans)-1].To != 0 {
		t.Errorf("in the end %v", spans)
	}
}

func TestBlockers(t *testing.T) {
	var b, other blockers
	w := &worker{ring: NewRing(1, [16]byte{1})}
	hash := func(i int) uint64 { return w.hashKey(keyBlocks, fmt.Appendf(nil, "u%d", i), nil, nil) }
	if b.has(hash(1)) {
		t.Error("nobody is in it")
	}
	for i := range 1600 {
		if i%2 == 0 {
			b.add(hash(i))
		} else {
			other.add(hash(i))
		}
	}
	b.join(other)
	b.join(nil)
	for i := range 1600 {
		if !b.has(hash(i)) {
			t.Fatalf("%d is not in it", i)
		}
	}
	wrong := 0
	for i := range 10_000 {
		if b.has(hash(100_000 + i)) {
			wrong++
		}
	}
	if wrong > 300 {
		t.Errorf("%d of 10,000 others are taken for it", wrong)
	}
	full := slices.Clone(b)
	full.fill()
	if !full.has(hash(-1)) || !full.has(1) {
		t.Error("a full one has everybody")
	}
}
