package shard

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/storage"
)

// groupTest is a group with its messages by hand.
type groupTest struct {
	*sim
	group chat.User
	n     uint64
}

func newGroupTest(t *testing.T, partitions int) *groupTest {
	g := &groupTest{sim: newSim(t, 1, partitions)}
	g.group = chat.NewGroup("", chat.NewID(1, 2, chat.Node{1}))
	return g
}

// turn has the owner of the only partition take all that is in the log.
func (g *groupTest) turn(w *worker) {
	for w.last < g.log.End(0) || len(g.log.pending) > 0 {
		if b := g.log.next(0, w.last, 1<<20); b.Count > 0 {
			for w.begin(b); w.left > 0; {
				g.must(w.cycle(g.t.Context()))
			}
		}
		g.log.flush(10)
		g.must(w.settle(g.t.Context()))
	}
}

func (g *groupTest) change(from chat.User, verb chat.Verb, users ...chat.User) chat.Position {
	c := chat.Change{Verb: verb, Users: users}
	return g.message(from, chat.SuiteGroup, c.AppendTo(nil))
}

func (g *groupTest) message(from chat.User, suite uint8, content []byte) chat.Position {
	g.n++
	return g.put(record.Record{
		Kind: record.Message, Suite: suite, At: 1, User: []byte(g.group), Peer: []byte(from), Device: []byte("web"),
		ID: chat.NewID(1_000_000+g.n, 3, g.ring.Node(from, "web")), Content: content, Place: 8,
	})
}

// codes are the outcomes since the last call.
func (g *groupTest) codes() (codes []chat.Code) {
	g.t.Helper()
	g.run()
	for _, o := range g.out {
		codes = append(codes, o.Code)
	}
	g.out = nil
	return codes
}

func (g *groupTest) want(codes ...chat.Code) {
	g.t.Helper()
	if got := g.codes(); fmt.Sprint(got) != fmt.Sprint(codes) {
		g.t.Errorf("outcomes %v, want %v", got, codes)
	}
}

func (g *groupTest) spans(user chat.User) []storage.Span {
	return g.store.rows.members[pair{g.group, user}].Spans
}

// TestSpansAreBounded makes somebody come and go as often as may be: then they
// cannot come back, but can always leave, and become an admin when there is none.
func TestSpansAreBounded(t *testing.T) {
	g := newGroupTest(t, 2)
	g.change("ann", chat.GroupCreate, "bob")
	for range storage.MaxSpans/2 - 1 { // 2 spans each: 30, and the first
		g.change("ann", chat.GroupAdmin, "bob")
		g.change("ann", chat.GroupMember, "bob")
	}
	g.want()
	if n := len(g.spans("bob")); n != storage.MaxSpans-1 {
		t.Fatalf("%d spans", n)
	}
	g.change("ann", chat.GroupAdmin, "bob")
	g.change("ann", chat.GroupAdd, "cid")
	g.want(chat.CodeGroupFull)
	g.change("ann", chat.GroupLeave)
	g.want()
	if s := g.spans("bob"); len(s) != storage.MaxSpans || !s[len(s)-1].Admin || s[len(s)-1].To != 0 {
		t.Fatalf("bob is no admin: %+v", s)
	}
	g.change("bob", chat.GroupAdmin, "cid")
	g.change("cid", chat.GroupMember, "bob")
	g.change("bob", chat.GroupLeave)
	g.change("cid", chat.GroupAdd, "bob")
	g.want(chat.CodeGroupFull, chat.CodeGroupFull)
	groupsOf(t, g.log).stored(t, &g.store.rows)
}

// TestGroupLimits crosses the number of members, and that of those who ever were.
func TestGroupLimits(t *testing.T) {
	g := newGroupTest(t, 3)
	var users []chat.User
	for n := range 8 {
		users = append(users, chat.User(fmt.Sprintf("u%d", n)))
	}
	g.change("ann", chat.GroupCreate, users...) // nine
	g.want(chat.CodeGroupFull)
	g.change("ann", chat.GroupCreate, users[:7]...)
	g.change("ann", chat.GroupAdd, "cid")
	g.change("ann", chat.GroupRemove, users[:7]...)
	g.change("ann", chat.GroupAdd, "cid")
	g.want(chat.CodeGroupFull)
	for n := range memberships*8 - 9 {
		user := chat.User(fmt.Sprintf("v%d", n))
		g.change("ann", chat.GroupAdd, user)
		g.change("ann", chat.GroupRemove, user)
	}
	g.want()
	g.change("ann", chat.GroupAdd, "dee")
	g.change("ann", chat.GroupAdd, users[0])
	g.want(chat.CodeGroupFull)
	m := groupsOf(t, g.log)
	m.stored(t, &g.store.rows)
	m.told(t, &g.store.rows)
}

// TestMarksOfAGroupAskNothing marks what has just come for several users of one
// partition: the store is not asked who sent it.
func TestMarksOfAGroupAskNothing(t *testing.T) {
	g := newGroupTest(t, 1)
	g.dropped, g.opt.Heads = 100, 1<<10
	users := []chat.User{"bob", "cid", "dee", "fay", "gil", "hal"}
	g.change("ann", chat.GroupCreate, users...)
	g.start()
	w := g.workers[0]
	turn := func() { g.turn(w) }
	mark := func() {
		for _, user := range users {
			g.put(record.Record{Kind: record.Mark, User: []byte(user), Device: []byte("web"), Place: g.log.End(0)})
		}
	}
	turn()
	mark()
	turn() // where they were is not known before
	asked := g.store.reads
	for range 20 {
		g.message("ann", chat.SuitePlain, []byte("hi"))
		turn()
		mark()
		turn()
	}
	if n := g.store.reads - asked; n != 20 { // each message's row is looked up once
		t.Errorf("the store was asked %d times", n)
	}
	groupsOf(t, g.log).told(t, &g.store.rows)
}

// TestCyclesOfGroupsAreBounded ends a cycle when what it derives, or what it
// links, is much.
func TestCyclesOfGroupsAreBounded(t *testing.T) {
	g := newGroupTest(t, 1)
	g.opt.BatchRecords, g.opt.DerivedBytes = 1000, 2000
	g.change("ann", chat.GroupCreate, "bob")
	for range 100 {
		g.message("ann", chat.SuitePlain, []byte("hi"))
	}
	g.start()
	w := g.workers[0]
	w.begin(g.log.next(0, 0, 1<<20))
	for w.left > 0 {
		g.must(w.cycle(t.Context()))
		if n := len(w.batch.Messages); n < 1 || n > 40 {
			t.Fatalf("%d messages in a cycle", n)
		}
	}
}

// TestWaitingForAGroupsPartition has a reference to what the group's partition
// has not come to: what is before it is stored and shown, what is after it waits,
// also over a stop, until the message is there.
func TestWaitingForAGroupsPartition(t *testing.T) {
	log, store, d := newMemLog(2), newMemStore(), newEntries()
	log.auto = true
	s, err := Start(t.Context(), quiet(), log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	// ann and the group are in different partitions.
	var group chat.User
	for n := uint64(1); ; n++ {
		if group = chat.NewGroup("", chat.NewID(n, 1, chat.Node{1})); s.Ring().PartitionOf(group) != s.Ring().PartitionOf("ann") {
			break
		}
	}
	p, other := s.Ring().PartitionOf("ann"), s.Ring().PartitionOf(group)
	id := chat.NewID(5, 1, s.Ring().Node("bob", "web"))
	log.put(p, message(s.Ring(), "ann", "bob", 1, 0))
	log.put(p, record.Append(nil, &record.Record{
		Kind: record.Fanout, User: []byte("ann"), Peer: []byte(group), Place: 1, ID: id, Content: record.AppendName(nil, []byte("ann")),
	}))
	log.put(p, message(s.Ring(), "ann", "bob", 2, 0))
	until(func() bool { return s.Stats()[p].Waits > 1 })
	if at := s.Applied(p); at != 1 {
		t.Errorf("applied is %v", at)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at := store.rows.marks[p].Position; at != 1 {
		t.Errorf("marked %v", at)
	}
	if s, err = Start(t.Context(), quiet(), log, store, d); err != nil {
		t.Fatal(err)
	}
	until(func() bool { return s.Stats()[p].Waits > 1 })
	c := chat.Change{Verb: chat.GroupCreate, Users: []chat.User{"cid"}}
	log.put(other, record.Append(nil, &record.Record{
		Kind: record.Message, Suite: chat.SuiteGroup, User: []byte(group), Peer: []byte("bob"), Device: []byte("web"), ID: id, Content: c.AppendTo(nil),
	}))
	until(func() bool { return s.Applied(p) >= 3 })
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if box := store.rows.inbox["ann"]; len(box) != 3 || box[1].Message.ID != id || box[1].Pos != 2 {
		t.Errorf("ann's inbox: %+v", box)
	}
}
