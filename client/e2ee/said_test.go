package e2ee

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
)

// says sends a body and waits until it is durable.
func (w *world) says(c *Client, to string, b content.Body, o ...client.SendOptions) chat.ID {
	w.Helper()
	s, err := c.SendBody(w.ctx(), to, b, o...)
	w.must(err)
	w.must(s.Durable(w.ctx()))
	return s.ID()
}

// hears puts the next message into a timeline and returns what changed.
func (w *world) hears(c *Client, t *content.Timeline) (changed chat.ID, ok bool) {
	w.Helper()
	e := w.next(c)
	m, b, is := Said(e)
	if !is {
		w.Fatalf("%T %+v says nothing", e, e)
	}
	return t.Put(m, b)
}

// history makes a timeline of a chat's history alone, from the newest back.
func (w *world) history(c *Client, peer string, limit int) *content.Timeline {
	w.Helper()
	t := content.NewTimeline()
	for before := (chat.ID{}); ; {
		page, err := c.SaidBefore(w.ctx(), peer, before, limit)
		w.must(err)
		for i, m := range page.Messages {
			t.Put(m, page.Bodies[i])
		}
		if before = page.Next; !page.More {
			return t
		}
	}
}

func show(t *content.Timeline) (lines []string) {
	for _, it := range t.Items() {
		line := fmt.Sprintf("%s: %s", it.From, it.Body.Text)
		if it.Body.Kind == content.KindTimer {
			line = fmt.Sprintf("%s: disappear after %v", it.From, it.Body.Life())
		}
		if it.Deleted {
			line = fmt.Sprintf("%s deleted this", it.From)
		}
		if !it.Edited.Zero() {
			line += " (edited)"
		}
		if r := t.Item(it.Body.Target); r != nil {
			line += " > " + r.Body.Text
		}
		for _, r := range it.Reactions {
			if r.Text != "" {
				line += " " + r.Text + string(r.User)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func (w *world) shows(who string, t *content.Timeline, want ...string) {
	w.Helper()
	if got := show(t); fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s sees\n%q\nwant\n%q", who, got, want)
	}
}

// TestReplyEditDeleteReact: what two users and a second device see live, and
// what history makes of the same, on a device that was away and in small pages
// from the newest back.
func TestReplyEditDeleteReact(t *testing.T) {
	w := newWorld(t)
	alice, tablet, bob := w.device("alice", "phone"), w.device("alice", "tablet"), w.device("bob", "phone")
	onTablet, atBobs := content.NewTimeline(), content.NewTimeline()

	first := w.says(alice, "bob", content.Body{Kind: content.KindText, Text: "helo"})
	w.hears(bob, atBobs)
	reply := w.says(bob, "alice", content.Body{Kind: content.KindText, Text: "hi", Target: first})
	w.says(bob, "alice", content.Body{Kind: content.KindReaction, Text: "👍", Target: first})
	regretted := w.says(alice, "bob", content.Body{Kind: content.KindText, Text: "regretted"})
	w.says(alice, "bob", content.Body{Kind: content.KindEdit, Text: "hello", Target: first})
	w.says(alice, "bob", content.Body{Kind: content.KindDelete, Target: regretted})
	// What is not alice's is not hers to change.
	w.says(alice, "bob", content.Body{Kind: content.KindEdit, Text: "forged", Target: reply})
	w.says(alice, "bob", content.Body{Kind: content.KindDelete, Target: reply})
	w.says(alice, "bob", content.Body{Kind: content.KindReaction, Text: "🎉", Target: reply})

	for range 6 {
		w.hears(bob, atBobs)
	}
	for range 9 { // seven of her own, two of bob's
		w.hears(tablet, onTablet)
	}
	for range 2 { // with them comes bob's key, which history takes
		w.hears(alice, content.NewTimeline())
	}
	// Bob's device does not hear what it sent itself: its app has put that in.
	atBobs.Put(chat.Message{ID: reply, From: "bob", To: "alice"}, content.Body{Kind: content.KindText, Text: "hi", Target: first})
	want := []string{"alice: hello (edited) 👍bob", "bob: hi > hello 🎉alice", "alice deleted this"}
	w.shows("alice's tablet", onTablet, want...)
	w.shows("bob", atBobs, "alice: hello (edited)", "bob: hi > hello 🎉alice", "alice deleted this")
	for _, limit := range []int{1, 2, 100} {
		w.shows("bob in history", w.history(bob, "alice", limit), want...)
		w.shows("alice in history", w.history(alice, "bob", limit), want...)
	}
	// The server has the deleted text as ciphertext alone, and none of the rest in the clear.
	for _, known := range []string{"regretted", "forged", "helo"} {
		if found := inFolder(t, w.data, known); found != "" {
			t.Errorf("%q lies in the clear in %s", known, found)
		}
	}
}

// A later version's kind is shown as that, and changes nothing.
func TestNewerContent(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	for _, b := range [][]byte{{0x92, 1, 0x7f}, {0x91, 9}, []byte("no array")} {
		s, err := alice.SendTyped(w.ctx(), "bob", TypeContent, b)
		w.must(err)
		w.must(s.Durable(w.ctx()))
		_, body, ok := Said(w.next(bob))
		if !ok || body.Kind != content.KindNewer {
			t.Errorf("% x says %+v, %v", b, body, ok)
		}
	}
	if _, err := alice.SendBody(w.ctx(), "bob", content.Body{Kind: content.KindEdit, Text: "x"}); chat.CodeOf(err) != chat.CodeBadPacket {
		t.Errorf("an edit of nothing was sent: %v", err)
	}
}

// A message that disappears: the receiver knows of its end from the sender, and
// it is nowhere at the server afterwards.
func TestDisappears(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	atBobs := content.NewTimeline()
	stays := w.says(bob, "alice", content.Body{Kind: content.KindText, Text: "stays"}) // of before the timer
	w.says(alice, "bob", content.Body{Kind: content.KindTimer, Seconds: 2})
	w.hears(bob, atBobs)
	if atBobs.Timer() != 2*time.Second {
		t.Fatalf("the timer is %v", atBobs.Timer())
	}
	id := w.says(alice, "bob", content.Body{Kind: content.KindText, Text: "soon gone"}, client.SendOptions{TTL: atBobs.Timer()})
	w.hears(bob, atBobs)
	it := atBobs.Item(id)
	ends, ok := it.Ends()
	if !ok || it.Body.Seconds != 2 || it.Expires == 0 || ends.After(time.UnixMilli(it.Expires)) || ends.Before(id.Time().Add(time.Second)) {
		t.Fatalf("it ends at %v, %v; the server says %v, the sender %d s", ends, ok, it.Expires, it.Body.Seconds)
	}
	if gone, _ := atBobs.Expire(ends.Add(-time.Millisecond)); len(gone) != 0 {
		t.Errorf("%v disappeared too early", gone)
	}
	if gone, next := atBobs.Expire(ends); len(gone) != 1 || gone[0] != id || !next.IsZero() {
		t.Errorf("%v disappeared, next at %v", gone, next)
	}
	for { // the server's clock has to pass its end
		h := w.history(bob, "alice", 100)
		if h.Item(id) == nil {
			if h.Item(stays) == nil {
				t.Error("another message has gone too")
			}
			break
		}
		if err := w.ctx().Err(); err != nil || alice.Now().After(time.UnixMilli(it.Expires).Add(10*time.Second)) {
			t.Fatalf("it is still in history after its end: %v", err)
		}
	}
}

// What is unread is what other devices of the user have not read either, after a
// start on a new one; what changes a message is not counted.
func TestUnread(t *testing.T) {
	w := newWorld(t)
	alice, tablet, bob := w.device("alice", "phone"), w.device("alice", "tablet"), w.device("bob", "phone")
	u := client.NewUnread("alice")
	hear := func(c *Client) client.Message {
		m, b, ok := Said(w.next(c))
		if !ok {
			t.Fatal("nothing is said")
		}
		if b.Counts() {
			u.Put(client.Message{Message: m})
		}
		return client.Message{Message: m}
	}
	first := w.send(bob, "alice", "one")
	w.send(bob, "alice", "two")
	w.says(bob, "alice", content.Body{Kind: content.KindReaction, Text: "x", Target: first})
	w.says(bob, "alice", content.Body{Kind: content.KindEdit, Text: "1", Target: first})
	one := hear(alice)
	hear(alice)
	hear(alice)
	hear(alice)
	hear1 := u.Count("bob")
	w.must(alice.MarkRead("bob", one.Place))
	u.Read("bob", one.Place)
	if hear1 != 2 || u.Count("bob") != 1 {
		t.Fatalf("unread are %d, then %d", hear1, u.Count("bob"))
	}
	for range 4 {
		w.next(tablet)
	}
	// Until the server has the mark.
	for at := client.NewUnread("alice"); ; at = client.NewUnread("alice") {
		w.must(tablet.LoadUnread(w.ctx(), at, 10))
		if n := at.Count("bob"); n == 1 {
			break
		} else if n != 2 {
			t.Fatalf("the tablet counts %d", n)
		}
	}
	w.send(tablet, "bob", "an answer")
	at := client.NewUnread("alice")
	w.must(tablet.LoadUnread(w.ctx(), at, 10))
	if at.Count("bob") != 1 || fmt.Sprint(at.Chats()) != "[bob]" {
		t.Fatalf("after an answer the tablet counts %d, in %v", at.Count("bob"), at.Chats())
	}
}

// Of a group, history has its changes beside what was said, and its name is
// nothing to be read.
func TestGroupSaid(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	group := w.group(alice, GroupInfo{Name: "cliff"}, "bob")
	id := w.send(alice, group, "hi")
	w.says(alice, group, content.Body{Kind: content.KindReaction, Text: "👍", Target: id})
	for heard := false; !heard; {
		m, b, ok := Said(w.next(bob))
		heard = ok && m.ID == id && b.Text == "hi"
	}
	w.shows("bob in history", w.history(bob, group, 1), "alice: hi 👍alice")
	page, err := bob.SaidBefore(w.ctx(), group, chat.ID{}, 0)
	w.must(err)
	if len(page.Changes) != 1 || len(page.Messages) != 2 {
		t.Fatalf("history has the changes %+v and the messages %+v", page.Changes, page.Messages)
	}
	if c, err := chat.ParseChange(page.Changes[0].Content); err != nil || c.Verb != chat.GroupCreate {
		t.Errorf("%+v, %v", c, err)
	}
	plain, err := bob.History(w.ctx(), group, chat.ID{}, 0)
	w.must(err)
	if made := plain.Messages[len(plain.Messages)-1]; made.Suite != chat.SuiteGroup || made.Content == nil {
		t.Errorf("the oldest message of history is %+v", made)
	}
	u := client.NewUnread("bob")
	w.must(bob.LoadUnread(w.ctx(), u, 10))
	if n := u.Count(chat.User(group)); n != 1 {
		t.Errorf("%d are unread", n)
	}
}
