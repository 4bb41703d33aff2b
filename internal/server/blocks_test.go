package server

import (
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// blocks changes whom a user has blocked, and waits until this device has it.
func (w *wire) blocks(verb chat.Verb, users ...chat.User) {
	w.t.Helper()
	w.change(w.user, verb, users...)
	for {
		if m := expect[*packet.Message](w); m.Suite == chat.SuiteGroup && string(m.From) == w.user {
			return
		}
	}
}

// says wants the next message to be of somebody, with a text.
func (w *wire) says(from, text string) {
	w.t.Helper()
	if m := expect[*packet.Message](w); string(m.From) != from || string(m.Content) != text {
		w.t.Errorf("%s got %q of %s, want %q of %s", w.user, m.Content, m.From, text, from)
	}
}

func (w *wire) blockedNow() (users []string) {
	w.t.Helper()
	w.put(&packet.GroupGet{Req: 41, Group: w.user})
	for _, m := range expect[*packet.GroupPage](w).Members {
		users = append(users, m.User)
	}
	return users
}

func (w *wire) lasts() (texts []string) {
	w.t.Helper()
	w.put(&packet.Chats{Req: 42})
	for _, c := range expect[*packet.ChatsPage](w).Chats {
		texts = append(texts, c.Peer+" "+string(c.Last.Content))
	}
	return texts
}

// blockingWorks is one story of three users, at servers of one cluster.
func blockingWorks(t *testing.T, ofAlice, ofBob *Server, settle func()) {
	alice, tablet := dial(t, ofAlice, "alice", "phone", packet.ResumeCursor), dial(t, ofBob, "alice", "tablet", packet.ResumeCursor)
	bob, carol := dial(t, ofBob, "bob", "phone", packet.ResumeCursor), dial(t, ofBob, "carol", "phone", packet.ResumeCursor)
	bobs := dial(t, ofAlice, "bob", "tablet", packet.ResumeCursor)
	bob.send("alice", "before")
	alice.says("bob", "before")
	settle()
	bob.put(&packet.Watch{Req: 1, Users: []string{"alice"}})
	if p := expect[*packet.Presence](bob); !p.Online {
		t.Errorf("alice is here, but presence says %+v", p)
	}

	alice.blocks(chat.GroupAdd, "bob")
	for m := expect[*packet.Message](tablet); m.Suite != chat.SuiteGroup; m = expect[*packet.Message](tablet) {
	}
	unseen := bob.send("alice", "hidden")
	expect[*packet.Copy](bobs)
	if c := expect[*packet.Copy](bobs); c.ID != unseen {
		t.Errorf("bob's tablet got %+v", c)
	}
	carol.send("alice", "of carol")
	alice.says("carol", "of carol")
	alice.put(&packet.Mark{Pos: alice.pos}, &packet.Read{Peer: []byte("bob"), Pos: alice.pos})
	settle()
	settle()
	wantTexts(t, "alice", alice.history("bob"), "before")
	wantTexts(t, "bob", bob.history("alice"), "before", "hidden")
	bob.put(&packet.History{Req: 2, Peer: "alice"})
	if p := expect[*packet.HistoryPage](bob); p.Delivered != 0 || p.Read != 0 {
		t.Errorf("bob is told %v and %v", p.Delivered, p.Read)
	}
	wantTexts(t, "alice's chats", alice.lasts(), "carol of carol", "bob before")
	wantTexts(t, "bob's chats", bob.lasts(), "alice hidden")
	wantTexts(t, "alice's blocks", alice.blockedNow(), "bob")
	wantTexts(t, "bob's blocks", bob.blockedNow())

	// Of presence bob hears that alice is as one who was never seen, once: now, or
	// before, where who is here was not known everywhere until after the block.
	alice.net.Close()
	tablet.net.Close()
	for bob.presences[len(bob.presences)-1].Online {
		expect[*packet.Presence](bob)
	}
	alice = dial(t, ofAlice, "alice", "phone", packet.ResumeCursor)
	expect[*packet.CaughtUp](alice)
	bob.put(&packet.Watch{Req: 3, Users: []string{"alice"}})
	if p := expect[*packet.Presence](bob); p.Online || p.Seen != 0 {
		t.Errorf("bob is told %+v of who is here", p)
	}
	hidden := 0
	for _, p := range bob.presences {
		if !p.Online {
			hidden++
		}
		if p.Seen != 0 {
			t.Errorf("bob is told %+v", p)
		}
	}
	if hidden != 2 {
		t.Errorf("bob is told %d times that alice is not here, not once for each watch", hidden)
	}

	// A new device of alice's that reads everything from the start has nothing of it.
	fresh := dial(t, ofAlice, "alice", "new", 0)
	fresh.says("bob", "before")
	if m := expect[*packet.Message](fresh); m.Suite != chat.SuiteGroup {
		t.Errorf("alice's new device got %+v", m)
	}
	fresh.says("carol", "of carol")

	alice.blocks(chat.GroupRemove, "bob")
	after := bob.send("alice", "after")
	m := expect[*packet.Message](alice)
	if m.ID != after {
		t.Errorf("alice got %+v", m)
	}
	alice.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](bob); r.Delivered != m.Pos {
		t.Errorf("bob is told %+v", r)
	}
	settle()
	wantTexts(t, "alice", alice.history("bob"), "before", "after")
	wantTexts(t, "alice's blocks", alice.blockedNow())
}

func TestBlocking(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	blockingWorks(t, s, s, func() { settle(t, s) })
}

// Blocking holds across gateways.
func TestBlockingAcrossTheCluster(t *testing.T) {
	cl := newCluster(t)
	owner := cl.start("processor", nil)
	first, second := cl.start("gateway", nil), cl.start("gateway", nil)
	l := cl.log()
	defer l.Close()
	blockingWorks(t, first, second, func() {
		must(t, l.Refresh(t.Context()))
		ends := make([]chat.Position, l.Partitions())
		for p := range ends {
			ends[p] = l.End(p)
		}
		must(t, owner.awaitApplied(t.Context(), ends))
	})
}

// Blocks hold over a restart, and are bounded; nobody makes them for somebody
// else.
func TestBlocksLast(t *testing.T) {
	dir := t.TempDir()
	change := func(c *config.Config) { c.Session.Blocks = 2 }
	s := startServer(t, dir, change)
	alice, bob := dial(t, s, "alice", "phone", packet.ResumeCursor), dial(t, s, "bob", "phone", packet.ResumeCursor)
	if alice.welcome.Limits[packet.LimitBlocks] != 2 {
		t.Errorf("limits %v", alice.welcome.Limits)
	}
	bob.change("alice", chat.GroupRemove, "bob")
	if code := bob.refusedFor(); code != chat.CodeBadChange {
		t.Errorf("a change for somebody else: %v", code)
	}
	alice.change("alice", chat.GroupLeave)
	if code := alice.refusedFor(); code != chat.CodeBadChange {
		t.Errorf("leaving oneself: %v", code)
	}
	alice.change("alice", chat.GroupAdd, "b", "c", "d")
	if code := alice.refusedFor(); code != chat.CodeTooMany {
		t.Errorf("three at once: %v", code)
	}
	alice.blocks(chat.GroupAdd, "bob", "carol")
	alice.change("alice", chat.GroupAdd, "dave")
	if code := alice.refusedFor(); code != chat.CodeTooMany {
		t.Errorf("one more: %v", code)
	}
	settle(t, s)
	wantTexts(t, "alice's blocks", alice.blockedNow(), "bob", "carol")
	stopServer(t, s)
	s = startServer(t, dir, change)
	alice, bob = dial(t, s, "alice", "phone", packet.ResumeCursor), dial(t, s, "bob", "phone", packet.ResumeCursor)
	dave := dial(t, s, "dave", "phone", packet.ResumeCursor)
	bob.send("alice", "hidden")
	expect[*packet.Accepted](bob)
	dave.send("alice", "seen")
	for m := expect[*packet.Message](alice); ; m = expect[*packet.Message](alice) {
		if string(m.From) == "bob" {
			t.Fatalf("alice got %+v", m)
		}
		if string(m.From) == "dave" {
			break
		}
	}
	alice.blocks(chat.GroupRemove, "carol")
	alice.blocks(chat.GroupAdd, "dave")
	settle(t, s)
	wantTexts(t, "alice's blocks", alice.blockedNow(), "bob", "dave")
	alice.put(&packet.GroupGet{Req: 1, Group: "alice", Limit: 1})
	if p := expect[*packet.GroupPage](alice); len(p.Members) != 1 || !p.More || p.Members[0].Since == 0 {
		t.Errorf("a page of one: %+v", p)
	}
}
