package e2ee

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// group makes a group of others by a device.
func (w *world) group(c *Client, info GroupInfo, users ...string) string {
	w.Helper()
	group, _, err := c.CreateGroup(w.ctx(), info, users...)
	w.must(err)
	return group
}

func (w *world) change(c *Client, group string, verb chat.Verb, users ...string) {
	w.Helper()
	_, err := c.ChangeGroup(w.ctx(), group, verb, users...)
	w.must(err)
}

// inGroup returns the next event of a device that is not a change of a group.
func (w *world) inGroup(c *Client) client.Event {
	w.Helper()
	for {
		e := w.next(c)
		switch m := e.(type) {
		case client.Message:
			if m.Suite == chat.SuiteGroup {
				continue
			}
		case client.Copy:
			if m.Suite == chat.SuiteGroup {
				continue
			}
		}
		return e
	}
}

// allHear wants the next event of each device, but for changes, to be a text.
func (w *world) allHear(text string, devices ...*Client) {
	w.Helper()
	for _, c := range devices {
		e := w.inGroup(c)
		got := chat.Message{}
		switch m := e.(type) {
		case client.Message:
			got = m.Message
		case client.Copy:
			got = m.Message
		}
		if string(got.Content) != text || got.Suite != chat.SuiteMegolm {
			w.Fatalf("%s of %s: %T %+v, want %q", c.device, c.user, e, e, text)
		}
	}
}

// sees wants the next event to be a change of a group.
func (w *world) sees(c *Client, verb chat.Verb) chat.Message {
	w.Helper()
	e := w.next(c)
	m, ok := e.(client.Message)
	if !ok || m.Suite != chat.SuiteGroup || m.Content[1] != byte(verb) {
		w.Fatalf("%s of %s: %T %+v, want a change %d", c.device, c.user, e, e, verb)
	}
	return m.Message
}

// keyless wants a message as it lies on the server to be one that a device has
// no key of.
func (w *world) keyless(c *Client, m chat.Message) {
	w.Helper()
	s, err := parseSealed(m.Content)
	w.must(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	in, err := c.in.get(string(m.From), s.session)
	w.must(err)
	if in == nil {
		return
	}
	if index, ok := indexOf(s.megolm); !ok || in.ratchet.FirstKnownIndex() <= index {
		w.Errorf("%s of %s has the key of index %d from %d on", c.device, c.user, index, in.ratchet.FirstKnownIndex())
	}
}

// newest is the newest message of a group as it lies on the server.
func (w *world) newest(c *Client, group string) chat.Message {
	w.Helper()
	page, err := c.Client.History(w.ctx(), group, chat.ID{}, 1)
	w.must(err)
	if len(page.Messages) != 1 || page.Messages[0].Suite != chat.SuiteMegolm {
		w.Fatalf("%+v", page.Messages)
	}
	return page.Messages[0]
}

// Three members with five devices: all read, each message is one ciphertext, and
// the name travels with them.
func TestGroup(t *testing.T) {
	w := newWorld(t)
	alice, alice2 := w.device("alice", "phone"), w.device("alice", "tablet")
	bob, bob2, carol := w.device("bob", "phone"), w.device("bob", "tablet"), w.device("carol", "phone")
	group := w.group(alice, GroupInfo{Name: "the walrus club"}, "bob", "carol")
	for _, c := range []*Client{alice2, bob, bob2, carol} {
		if n, ok := w.inGroup(c).(GroupNamed); !ok || n.Info.Name != "the walrus club" {
			t.Errorf("%s of %s: %+v", c.device, c.user, n)
		}
		if info, known := c.GroupInfo(group); !known || info.Name != "the walrus club" {
			t.Errorf("%s of %s knows %+v", c.device, c.user, info)
		}
	}
	w.send(alice, group, "one")
	w.allHear("one", alice2, bob, bob2, carol)
	w.send(bob2, group, "two")
	w.allHear("two", alice, alice2, bob, carol)
	w.send(carol, group, "three")
	w.allHear("three", alice, alice2, bob, bob2)

	rows := map[chat.ID]string{}
	for _, c := range []*Client{alice, bob, carol} {
		page, err := c.Client.History(w.ctx(), group, chat.ID{}, 50)
		w.must(err)
		for _, m := range page.Messages {
			if before, ok := rows[m.ID]; ok && before != string(m.Content) {
				t.Error("a message has several ciphertexts")
			}
			rows[m.ID] = string(m.Content)
		}
		read, err := c.History(w.ctx(), group, chat.ID{}, 3)
		w.must(err)
		if len(read.Messages) != 3 || string(read.Messages[0].Content) != "three" || string(read.Messages[2].Content) != "one" {
			t.Errorf("%s: history %+v", c.user, read.Messages)
		}
		chats, err := c.Chats(w.ctx(), chat.ID{}, 10)
		w.must(err)
		if len(chats.Chats) != 1 || string(chats.Chats[0].Peer) != group || string(chats.Chats[0].Last.Content) != "three" {
			t.Errorf("%s: key shares made chats: %+v", c.user, chats.Chats)
		}
	}
	if len(rows) != 5 { // the create, the name, three messages
		t.Errorf("%d rows", len(rows))
	}
	members, err := bob.GroupMembers(w.ctx(), group)
	w.must(err)
	if len(members) != 3 || members[0] != (GroupMember{"alice", true, true}) || members[2] != (GroupMember{"carol", false, true}) {
		t.Errorf("%+v", members)
	}
}

// Who joins reads what comes, by the sessions that there are, and nothing of
// before; who leaves or is removed gets no key of what follows.
func TestGroupComingAndGoing(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.device("alice", "phone"), w.device("bob", "phone"), w.device("carol", "phone")
	dave, dave2 := w.device("dave", "phone"), w.device("dave", "tablet")
	group := w.group(alice, GroupInfo{Name: "a club"}, "bob", "carol")
	for _, c := range []*Client{bob, carol} {
		w.sees(c, chat.GroupCreate)
		w.inGroup(c) // its name
	}
	w.send(alice, group, "before")
	w.allHear("before", bob, carol)
	before := w.newest(alice, group)
	session := alice.out[group].id()

	w.change(alice, group, chat.GroupAdd, "dave")
	w.sees(bob, chat.GroupAdd)
	for _, c := range []*Client{dave, dave2} {
		if n, ok := w.inGroup(c).(GroupNamed); !ok || n.Info.Name != "a club" {
			t.Errorf("who joined knows as its name %+v", n)
		}
	}
	w.send(alice, group, "hello dave")
	w.allHear("hello dave", dave, dave2)
	if alice.out[group].id() != session {
		t.Error("a new session, though somebody only joined")
	}
	w.keyless(dave, before)
	if page, err := dave.History(w.ctx(), group, chat.ID{}, 50); err != nil || string(page.Messages[len(page.Messages)-1].Content) == "before" {
		t.Errorf("%+v, %v", page, err)
	}
	w.inGroup(bob) // the name again
	w.inGroup(carol)
	w.allHear("hello dave", bob, carol)

	w.change(alice, group, chat.GroupRemove, "carol") // who stays connected
	w.send(alice, group, "carol is gone")
	if alice.out[group].id() == session {
		t.Error("the session stayed when somebody was removed")
	}
	w.allHear("carol is gone", bob, dave, dave2)
	w.sees(carol, chat.GroupRemove)
	w.keyless(carol, w.newest(alice, group))
	if _, err := carol.Send(w.ctx(), group, []byte("still here?")); !errors.Is(err, ErrNotMember) {
		t.Errorf("who was removed sends: %v", err)
	}

	w.change(bob, group, chat.GroupLeave)
	for _, c := range []*Client{alice, dave, dave2} {
		if e := w.sees(c, chat.GroupLeave); e.From != "bob" {
			t.Errorf("%+v", e)
		}
	}
	session = dave.sessionTo(w, group)
	w.send(alice, group, "bob is gone")
	w.allHear("bob is gone", dave, dave2)
	w.keyless(bob, w.newest(alice, group))
	if dave.sessionTo(w, group) != session {
		t.Error("nothing happened, and dave has another session")
	}

	w.change(alice, group, chat.GroupAdd, "carol") // again
	w.send(alice, group, "welcome back")
	if n, ok := w.inGroup(carol).(GroupNamed); !ok {
		t.Errorf("%+v", n)
	}
	w.allHear("welcome back", carol)
	w.send(carol, group, "thanks")
	w.inGroup(dave)
	w.allHear("welcome back", dave)
	w.allHear("thanks", alice, dave)

	// When the server gives dave what was before he asks for the key, and does not
	// get it.
	if e := gets(dave, before); e != nil || dave.Waiting() != 1 {
		t.Errorf("dave is shown %+v", e)
	}
	w.answers(alice)
	if f, ok := w.inGroup(dave).(Failed); !ok || !errors.Is(f.Err, ErrNoKey) || f.Message.ID != before.ID {
		t.Errorf("%+v", f)
	}
}

// sessionTo is the session by which a device would send.
func (c *Client) sessionTo(w *world, to string) sessionID {
	w.Helper()
	s, err := c.outboundTo(w.ctx(), to)
	w.must(err)
	return s.id()
}

// A member's device that is removed, and stays connected, has no key of what
// follows; one that is added has.
func TestGroupDevices(t *testing.T) {
	w := newWorld(t)
	alice, bob, stolen := w.device("alice", "phone"), w.device("bob", "phone"), w.device("bob", "stolen")
	group := w.group(alice, GroupInfo{}, "bob")
	w.send(alice, group, "one")
	w.allHear("one", bob, stolen)
	stolen.publishesNoMore()
	w.must(bob.RemoveDevice(w.ctx(), "stolen"))
	w.send(alice, group, "two")
	w.allHear("two", bob)
	w.keyless(stolen, w.newest(alice, group))
	tablet := w.device("bob", "tablet")
	w.send(alice, group, "three")
	w.allHear("three", bob, tablet)
	w.send(tablet, group, "four") // it has not seen who is in the group, and asks
	w.allHear("four", alice, bob)
}

// A session ends after so many messages, and so long a time.
func TestGroupRotation(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone", func(o *Options) { o.RotateMessages = 3 }), w.device("bob", "phone")
	group := w.group(alice, GroupInfo{}, "bob")
	ids := map[sessionID]bool{}
	for i := range 7 {
		w.send(alice, group, fmt.Sprint(i))
		ids[alice.out[group].id()] = true
		w.allHear(fmt.Sprint(i), bob)
	}
	if len(ids) != 3 {
		t.Errorf("%d sessions for 7 messages", len(ids))
	}
	before := alice.out[group].id()
	alice.out[group].Created -= alice.opt.RotateAfter.Milliseconds()
	w.send(alice, group, "a week later")
	if alice.out[group].id() == before {
		t.Error("the session outlived its time")
	}
	w.allHear("a week later", bob)
}

// Between all steps everybody ends and begins again from their files.
func TestGroupRestart(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.device("alice", "phone"), w.device("bob", "phone"), w.device("carol", "phone")
	again := func() {
		t.Helper()
		for _, c := range []**Client{&alice, &bob, &carol} {
			(*c).Handled()
			w.must((*c).Close(context.Background()))
			*c = w.device((*c).user, (*c).device)
		}
	}
	group := w.group(alice, GroupInfo{Name: "n"}, "bob")
	again()
	w.send(alice, group, "one")
	again()
	w.inGroup(bob)
	w.allHear("one", bob)
	again()
	w.send(bob, group, "two")
	w.allHear("two", alice)
	again()
	session := alice.sessionTo(w, group)
	w.change(alice, group, chat.GroupAdd, "carol")
	again()
	w.send(alice, group, "three")
	w.inGroup(carol)
	w.allHear("three", carol)
	w.inGroup(bob)
	w.allHear("three", bob)
	again()
	if alice.out[group] != nil && alice.out[group].id() != session {
		t.Error("another session")
	}
	w.change(alice, group, chat.GroupRemove, "bob")
	again()
	w.send(alice, group, "four")
	w.allHear("four", carol)
	w.keyless(bob, w.newest(alice, group))
	again()
	if info, known := carol.GroupInfo(group); !known || info.Name != "n" {
		t.Errorf("carol knows %+v", info)
	}
}

// A share that is lost is asked for, and the message waits.
func TestGroupLostShare(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	group := w.group(alice, GroupInfo{}, "bob")
	w.send(alice, group, "first")
	w.raw(bob, chat.SuiteKeyShare) // and forgotten; the change may come before it or after
	m := w.raw(bob, chat.SuiteMegolm)
	w.answers(alice)
	if e := gets(bob, m); e != nil || bob.Waiting() != 1 {
		t.Fatalf("%+v, %d wait", e, bob.Waiting())
	}
	w.allHear("first", bob)
	w.send(alice, group, "second")
	w.allHear("second", bob)
}

// answers has a device receive, and so answer, until it is closed.
func (w *world) answers(c *Client) {
	go func() {
		for {
			if _, err := c.Receive(context.Background()); err != nil {
				return
			}
		}
	}()
}

// Who joined when a sender did not know it yet reads what the sender sent
// meanwhile, and nothing of before.
func TestGroupJoinsUnnoticed(t *testing.T) {
	w := newWorld(t)
	slow := func(o *Options) { o.Refresh = time.Hour }
	alice, bob, carol := w.device("alice", "phone", slow), w.device("bob", "phone"), w.device("carol", "phone")
	group := w.group(bob, GroupInfo{}, "alice")
	w.sees(alice, chat.GroupCreate)
	w.send(alice, group, "before")
	w.allHear("before", bob)
	before := w.newest(alice, group)
	w.change(bob, group, chat.GroupAdd, "carol")
	w.sees(carol, chat.GroupAdd)
	w.send(alice, group, "meanwhile")
	w.allHear("meanwhile", bob)
	m := w.newest(alice, group)
	w.answers(alice)
	w.allHear("meanwhile", carol)
	w.keyless(carol, before)
	if carol.Readable(m).Content == nil {
		t.Error("it is not in her history")
	}
}

// Members without keys do not keep the others from talking, and it is told.
func TestGroupWithoutKeys(t *testing.T) {
	w := newWorld(t)
	alice := w.device("alice", "phone")
	group := w.group(alice, GroupInfo{}, "bob", "nobody")
	if _, err := alice.Send(w.ctx(), group, []byte("x")); !errors.Is(err, ErrNoKeys) {
		t.Errorf("sent to nobody: %v", err)
	}
	bob := w.device("bob", "phone")
	w.send(alice, group, "hi")
	w.allHear("hi", bob)
	if e, ok := w.inGroup(alice).(LeftOut); !ok || !slices.Equal(e.Users, []chat.User{"nobody"}) || string(e.Group) != group {
		t.Errorf("%+v", e)
	}
	alone := w.group(alice, GroupInfo{})
	w.send(alice, alone, "a note")
	if _, err := bob.Send(w.ctx(), alone, []byte("x")); !errors.Is(err, ErrNotMember) {
		t.Errorf("who is none sends: %v", err)
	}
}
