package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// change sends a change of a group ("" makes one) and returns the group.
func (w *wire) change(group string, verb chat.Verb, users ...chat.User) string {
	w.t.Helper()
	id := w.clock.Next(time.Now())
	if group == "" {
		group = string(chat.NewGroup("", id))
	}
	c := chat.Change{Verb: verb, Users: users}
	if verb == chat.GroupCreate {
		c.Info = []byte("info")
	}
	w.n++
	w.put(&packet.Send{N: w.n, ID: id, To: []byte(group), Suite: chat.SuiteGroup, Content: c.AppendTo(nil)})
	return group
}

// told returns the next message to a group.
func (w *wire) told(group string) *packet.GroupMessage {
	w.t.Helper()
	m := expect[*packet.GroupMessage](w)
	if string(m.Group) != group {
		w.t.Fatalf("%s: %+v is not of %s", w.user, m, group)
	}
	return m
}

// refusedFor returns why the next answer refuses a send or a request.
func (w *wire) refusedFor() chat.Code {
	w.t.Helper()
	for {
		switch p := w.next().(type) {
		case nil:
			w.t.Fatalf("%s: the server closed", w.user)
		case *packet.Refused:
			w.n--
			return p.Code
		case *packet.Error:
			return p.Code
		case *packet.Outcome:
			return p.Code
		default:
			w.link(p)
		}
	}
}

func (w *wire) history(group string) (texts []string) {
	w.t.Helper()
	w.put(&packet.History{Req: 7, Peer: group})
	page := expect[*packet.HistoryPage](w)
	for _, r := range slices.Backward(page.Rows) {
		if r.Suite == chat.SuiteGroup {
			texts = append(texts, fmt.Sprintf("change %d", r.Content[1]))
			continue
		}
		texts = append(texts, string(r.Content))
	}
	if page.More {
		w.t.Errorf("%s: history of %s has more", w.user, group)
	}
	return texts
}

func wantTexts(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s reads %q, want %q", who, got, want)
	}
}

// TestAGroup is the life of a group: made, written to, read, joined and left,
// and all of it again after a restart.
func TestAGroup(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, nil)
	alice, bob, carol := dial(t, s, "alice", "phone", packet.ResumeCursor), dial(t, s, "bob", "phone", packet.ResumeCursor), dial(t, s, "carol", "phone", packet.ResumeCursor)
	if alice.welcome.Limits[packet.LimitGroupMembers] != 1024 || alice.welcome.Limits[packet.LimitGroupInfo] != 16<<10 {
		t.Errorf("limits %v", alice.welcome.Limits)
	}
	group := alice.change("", chat.GroupCreate, "bob")
	if m := bob.told(group); string(m.From) != "alice" || m.Suite != chat.SuiteGroup {
		t.Errorf("bob got %+v", m)
	}
	if c := expect[*packet.Copy](alice); string(c.To) != group || len(c.Content) > 0 {
		t.Errorf("alice got %+v", c)
	}

	// Receipts are of all others, whoever they are.
	id := alice.send(group, "one")
	m := bob.told(group)
	if m.ID != id || string(m.Content) != "one" || m.Place == 0 {
		t.Errorf("bob got %+v", m)
	}
	if c := expect[*packet.Copy](alice); c.Place != m.Place {
		t.Errorf("alice is told the place %v, bob %v", c.Place, m.Place)
	}
	bob.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); string(r.Peer) != group || r.Delivered != m.Place || r.Read >= m.Place {
		t.Errorf("delivered to all: %+v, the place is %v", r, m.Place)
	}
	bob.put(&packet.Read{Peer: []byte(group), Pos: m.Place})
	if r := expect[*packet.Receipt](alice); r.Read != m.Place {
		t.Errorf("read by all: %+v", r)
	}

	// Who joins has what is sent from then on.
	alice.change(group, chat.GroupAdd, "carol")
	joined := carol.told(group)
	bob.told(group)
	bob.send(group, "two")
	two := alice.told(group)
	carol.told(group)
	wantTexts(t, "bob", bob.history(group), "change 1", "one", "change 2", "two")
	wantTexts(t, "carol", carol.history(group), "change 2", "two")
	alice.put(&packet.Mark{Pos: two.Pos})
	carol.put(&packet.Mark{Pos: carol.pos})
	for r := expect[*packet.Receipt](bob); r.Delivered < two.Place; r = expect[*packet.Receipt](bob) {
	}
	settle(t, s)
	alice.put(&packet.GroupGet{Req: 3, Group: group})
	page := expect[*packet.GroupPage](alice)
	if len(page.Members) != 3 || page.More || string(page.Info) != "info" || !page.Members[0].Admin || page.Members[1].Admin || page.Members[2].Since != joined.Place {
		t.Errorf("page %+v", page)
	}
	alice.put(&packet.GroupGet{Req: 4, Group: group, Beyond: "alice", Limit: 1})
	if page := expect[*packet.GroupPage](alice); len(page.Members) != 1 || page.Members[0].User != "bob" || !page.More {
		t.Errorf("page %+v", page)
	}

	// Who is removed gets that, and nothing after.
	bob.change(group, chat.GroupRemove, "carol")
	if code := bob.refusedFor(); code != chat.CodeNotAdmin {
		t.Errorf("bob removes: %v", code)
	}
	alice.change(group, chat.GroupRemove, "bob")
	bob.told(group)
	alice.send(group, "three")
	if m := carol.told(group); m.Suite != chat.SuiteGroup {
		t.Errorf("carol got %+v", m)
	}
	if m := carol.told(group); string(m.Content) != "three" {
		t.Errorf("carol got %+v", m)
	}
	bob.send(group, "four")
	if code := bob.refusedFor(); code != chat.CodeNotMember {
		t.Errorf("bob sends: %v", code)
	}
	wantTexts(t, "bob", bob.history(group), "change 1", "one", "change 2", "two", "change 3")
	bob.put(&packet.GroupGet{Req: 5, Group: group})
	if code := bob.refusedFor(); code != chat.CodeForbidden {
		t.Errorf("bob asks for members: %v", code)
	}
	bob.put(&packet.Chats{Req: 6})
	if page := expect[*packet.ChatsPage](bob); len(page.Chats) != 0 {
		t.Errorf("bob's chats: %+v", page.Chats)
	}
	dave := dial(t, s, "dave", "phone", packet.ResumeCursor)
	dave.put(&packet.History{Req: 1, Peer: group})
	if code := dave.refusedFor(); code != chat.CodeForbidden {
		t.Errorf("dave asks for history: %v", code)
	}

	// Again, by who comes back, and by who was away for all of it.
	stopServer(t, s)
	s = startServer(t, dir, nil)
	carol = dial(t, s, "carol", "tablet", packet.ResumeCursor)
	expect[*packet.CaughtUp](carol) // after what her phone had not marked
	wantTexts(t, "carol", carol.history(group), "change 2", "two", "change 3", "three")
	carol.put(&packet.Chats{Req: 2})
	if page := expect[*packet.ChatsPage](carol); len(page.Chats) != 1 || page.Chats[0].Peer != group || string(page.Chats[0].Last.Content) != "three" {
		t.Errorf("carol's chats: %+v", page.Chats)
	}
	bob = dial(t, s, "bob", "new", 0)
	var got []string
	for len(got) < 4 {
		m := bob.told(group)
		got = append(got, string(m.From)+" "+strings.TrimLeft(string(m.Content), "\x01"))
	}
	if expect[*packet.CaughtUp](bob); got[1] != "alice one" || !strings.Contains(got[3], "bob") {
		t.Errorf("bob's inbox has %q", got)
	}
	alice = dial(t, s, "alice", "phone", packet.ResumeCursor)
	alice.send(group, "five")
	if m := carol.told(group); string(m.Content) != "five" {
		t.Errorf("carol got %+v", m)
	}
	alice.change(group, chat.GroupLeave)
	carol.told(group)
	settle(t, s)
	carol.put(&packet.GroupGet{Req: 9, Group: group})
	if page := expect[*packet.GroupPage](carol); len(page.Members) != 1 || !page.Members[0].Admin {
		t.Errorf("who is left is the admin: %+v", page)
	}
}

// TestGroupSendsThatAreRefused has what a gateway knows to be wrong without
// asking anybody, and limits on both sides of them.
func TestGroupSendsThatAreRefused(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Groups.Members, c.Groups.Info = 3, 8 })
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	group := alice.change("", chat.GroupCreate, "bob", "carol")
	expect[*packet.Copy](alice)
	send := func(to string, content []byte) chat.Code {
		alice.n++
		alice.put(&packet.Send{N: alice.n, ID: alice.clock.Next(time.Now()), To: []byte(to), Suite: chat.SuiteGroup, Content: content})
		return alice.refusedFor()
	}
	info := chat.Change{Verb: chat.GroupInfo, Info: make([]byte, 9)}
	many := chat.Change{Verb: chat.GroupAdd, Users: []chat.User{"a", "b", "c", "d"}}
	one := chat.Change{Verb: chat.GroupAdd, Users: []chat.User{"dave"}}
	create := chat.Change{Verb: chat.GroupCreate}
	for _, c := range []struct {
		name, to string
		content  []byte
		want     chat.Code
	}{
		{"rubbish", group, []byte{9}, chat.CodeBadChange},
		{"a change to a user", "bob", one.AppendTo(nil), chat.CodeBadChange},
		{"another group's name", group, create.AppendTo(nil), chat.CodeBadChange},
		{"too much info", group, info.AppendTo(nil), chat.CodeTooLarge},
		{"more users than a group has", group, many.AppendTo(nil), chat.CodeGroupFull},
		{"one member too many", group, one.AppendTo(nil), chat.CodeGroupFull},
		{"a malformed name", group + "x", one.AppendTo(nil), chat.CodeBadName},
	} {
		if code := send(c.to, c.content); code != c.want {
			t.Errorf("%s: %v, want %v", c.name, code, c.want)
		}
	}
	alice.put(&packet.GroupGet{Req: 1, Group: "bob"})
	if code := alice.refusedFor(); code != chat.CodeBadName {
		t.Errorf("the members of a user: %v", code)
	}
	alice.put(&packet.Typing{Peer: []byte(group), On: true})
	if code := alice.refusedFor(); code != chat.CodeBadName {
		t.Errorf("typing to a group: %v", code)
	}
}

// TestWithoutGroups is a server that has none, and says so.
func TestWithoutGroups(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Groups.Members = 0 })
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	if _, ok := alice.welcome.Limits[packet.LimitGroupMembers]; ok {
		t.Error("the welcome tells of groups")
	}
	group := string(chat.NewGroup("", alice.clock.Next(time.Now())))
	alice.send(group, "hi")
	if code := alice.refusedFor(); code != chat.CodeBadName {
		t.Errorf("a send: %v", code)
	}
	alice.put(&packet.History{Req: 1, Peer: group})
	if code := alice.refusedFor(); code != chat.CodeBadName {
		t.Errorf("history: %v", code)
	}
}

// TestAGroupCrossesTheCluster has the members of a group at two gateways, its
// owner in a processor, and another processor in its place later.
func TestAGroupCrossesTheCluster(t *testing.T) {
	cl := newCluster(t)
	p := cl.start("processor", nil)
	a, b := cl.start("gateway", nil), cl.start("gateway", nil)
	alice, bob, carol := dial(t, a, "alice", "phone", packet.ResumeCursor), dial(t, b, "bob", "phone", packet.ResumeCursor), dial(t, b, "carol", "phone", packet.ResumeCursor)
	group := alice.change("", chat.GroupCreate, "bob", "carol")
	bob.told(group)
	carol.told(group)
	alice.send(group, "one")
	m := bob.told(group)
	bob.put(&packet.Mark{Pos: m.Pos})
	carol.told(group)
	carol.put(&packet.Mark{Pos: carol.pos})
	for r := expect[*packet.Receipt](alice); r.Delivered < m.Place; r = expect[*packet.Receipt](alice) {
	}
	bob.put(&packet.Read{Peer: []byte(group), Pos: m.Place})
	carol.put(&packet.Read{Peer: []byte(group), Pos: m.Place})
	for r := expect[*packet.Receipt](alice); r.Read < m.Place; r = expect[*packet.Receipt](alice) {
	}
	alice.change(group, chat.GroupRemove, "carol")
	carol.told(group)

	stopServer(t, p)
	cl.start("processor", nil)
	alice.send(group, "two")
	carol.send(group, "three")
	if code := carol.refusedFor(); code != chat.CodeNotMember {
		t.Errorf("carol sends: %v", code)
	}
	for {
		if m := bob.told(group); string(m.Content) == "two" {
			break
		}
	}
	wantTexts(t, "bob", bob.history(group), "change 1", "one", "change 3", "two")
	wantTexts(t, "carol", carol.history(group), "change 1", "one", "change 3")
	bob.put(&packet.GroupGet{Req: 1, Group: group})
	page := expect[*packet.GroupPage](bob)
	if len(page.Members) != 2 || string(page.Info) != "info" || !page.Members[0].Admin || page.Members[1].Delivered < m.Place {
		t.Errorf("page %+v", page)
	}
}

// TestAGroupOfItsMost has as many members as a group may have, few of them
// connected: each gets all, in order, and pages of members come to all.
func TestAGroupOfItsMost(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	var users []chat.User
	for n := range 1023 {
		users = append(users, chat.User(fmt.Sprintf("user%04d", n)))
	}
	group := alice.change("", chat.GroupCreate, users...)
	expect[*packet.Copy](alice)
	here := []*wire{dial(t, s, "user0000", "phone", packet.ResumeCursor), dial(t, s, "user0500", "phone", packet.ResumeCursor), dial(t, s, "user1022", "phone", packet.ResumeCursor)}
	const count = 50
	for n := range count {
		alice.send(group, fmt.Sprint(n))
	}
	for _, w := range here {
		w.told(group) // that it was made
		for n := range count {
			if m := w.told(group); string(m.Content) != fmt.Sprint(n) {
				t.Fatalf("%s got %q, want %d", w.user, m.Content, n)
			}
		}
	}
	away := dial(t, s, "user0007", "phone", packet.ResumeCursor)
	away.told(group)
	for n := range count {
		if m := away.told(group); string(m.Content) != fmt.Sprint(n) {
			t.Fatalf("who was away got %q, want %d", m.Content, n)
		}
	}
	members, beyond := 0, ""
	for more := true; more; {
		alice.put(&packet.GroupGet{Req: 1, Group: group, Beyond: beyond})
		page := expect[*packet.GroupPage](alice)
		members, more = members+len(page.Members), page.More
		beyond = page.Members[len(page.Members)-1].User
	}
	if members != 1024 {
		t.Errorf("%d members", members)
	}
	alice.change(group, chat.GroupAdd, "bob")
	if code := alice.refusedFor(); code != chat.CodeGroupFull {
		t.Errorf("one more: %v", code)
	}
}
