package server

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

func TestTheFirstMessage(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	if up := expect[*packet.CaughtUp](bob); up.Pos != 0 {
		t.Errorf("an empty inbox is caught up to %v", up.Pos)
	}
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	id := alice.send("bob", "hi")

	accepted := expect[*packet.Accepted](alice)
	if accepted.N != 1 || accepted.Count != 1 || accepted.Pos == 0 {
		t.Errorf("accepted %+v", accepted)
	}
	m := expect[*packet.Message](bob)
	if m.ID != id || string(m.From) != "alice" || string(m.Content) != "hi" || m.Pos != accepted.Pos {
		t.Errorf("bob got %+v, accepted at %v", m, accepted.Pos)
	}

	bob.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); string(r.Peer) != "bob" || r.Delivered != m.Pos || r.Read != 0 {
		t.Errorf("after mark: %+v", r)
	}
	bob.put(&packet.Read{Peer: []byte("alice"), Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Read != m.Pos || r.Delivered != m.Pos {
		t.Errorf("after read: %+v", r)
	}
}

func TestWhoWasAwayGetsEverythingInOrderThenCaughtUp(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	const count = 700 // several pages
	var ids []chat.ID
	for i := range count {
		ids = append(ids, alice.send("bob", fmt.Sprint("m", i)))
	}
	for got := uint64(0); got < count; {
		got += expect[*packet.Accepted](alice).Count
	}
	settle(t, s)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	var last chat.Position
	for i := range count {
		m := expect[*packet.Message](bob)
		if m.ID != ids[i] || string(m.Content) != fmt.Sprint("m", i) {
			t.Fatalf("message %d is %+v", i, m)
		}
		last = m.Pos
	}
	if up := expect[*packet.CaughtUp](bob); up.Pos < last {
		t.Errorf("caught up to %v, the last message is at %v", up.Pos, last)
	}

	// A resume from the middle sends the rest, whatever the cursor says.
	again := dial(t, s, "bob", "phone", int64(last)-10)
	if m := expect[*packet.Message](again); m.ID != ids[count-10] {
		t.Errorf("resumed at message %q", m.Content)
	}
	if again.welcome.Waiting != 10 {
		t.Errorf("welcome says %d wait, want 10", again.welcome.Waiting)
	}
}

// What a device persisted and could not mark before its connection broke, it
// marks after the next welcome.
func TestAMarkOfTheResumedPositionCounts(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	alice.send("bob", "hi")
	m := expect[*packet.Message](bob)
	bob.net.Close()
	bob = dial(t, s, "bob", "phone", int64(m.Pos))
	bob.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Delivered != m.Pos {
		t.Errorf("receipt %+v", r)
	}
}

// A user's later device gets what no device has persisted, and only that.
func TestALaterDeviceBeginsAtTheFurthestMark(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	alice.send("bob", "marked")
	phone := dial(t, s, "bob", "phone", packet.ResumeCursor)
	m := expect[*packet.Message](phone) // the first device gets what was before it
	phone.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Delivered != m.Pos {
		t.Fatalf("after the phone's mark: %+v", r)
	}
	alice.send("bob", "not marked")
	expect[*packet.Message](phone)
	laptop := dial(t, s, "bob", "laptop", packet.ResumeCursor)
	m = expect[*packet.Message](laptop)
	if string(m.Content) != "not marked" {
		t.Fatalf("the laptop got %+v first", m)
	}
	laptop.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Delivered != m.Pos {
		t.Errorf("after the laptop's mark: %+v", r)
	}
}

// Who begins now, above what no device has marked, makes none of it delivered.
func TestMarksOfWhoPassedOverEntriesAreNone(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	phone := dial(t, s, "bob", "phone", packet.ResumeCursor)
	alice.send("bob", "passed over")
	first := expect[*packet.Message](phone)
	tablet := dial(t, s, "bob", "tablet", packet.ResumeNow)
	alice.send("bob", "from now on")
	m := expect[*packet.Message](tablet)
	if string(m.Content) != "from now on" {
		t.Fatalf("the tablet got %+v", m)
	}
	tablet.put(&packet.Mark{Pos: m.Pos}, &packet.Ping{})
	expect[*packet.Pong](tablet) // the mark was taken before
	phone.put(&packet.Mark{Pos: first.Pos})
	if r := expect[*packet.Receipt](alice); r.Delivered != first.Pos {
		t.Errorf("delivered up to %d, the phone has persisted %d", r.Delivered, first.Pos)
	}
	// With nothing passed over, marks from now on count.
	expect[*packet.Message](phone)
	phone.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Delivered != m.Pos {
		t.Fatalf("after the phone's second mark: %+v", r)
	}
	for at := chat.Position(0); at < m.Pos; { // the receipt comes before the cursor is stored
		var err error
		if at, err = s.store.Delivered(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
	}
	tablet = dial(t, s, "bob", "tablet", packet.ResumeNow)
	alice.send("bob", "later")
	m = expect[*packet.Message](tablet)
	tablet.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Delivered != m.Pos {
		t.Errorf("after the tablet's mark: %+v", r)
	}
}

func TestWindowStopsUntilMarked(t *testing.T) {
	s := startServer(t, t.TempDir(), windowOf(8))
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	for i := range 30 {
		alice.send("bob", fmt.Sprint(i))
	}
	for got := uint64(0); got < 30; {
		got += expect[*packet.Accepted](alice).Count
	}
	settle(t, s)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	for i := range 30 {
		m := expect[*packet.Message](bob)
		if string(m.Content) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Content)
		}
		if i%8 == 7 {
			// Nothing but the answer to a ping comes while the window is full.
			bob.put(&packet.Ping{Data: uint64(i)})
			if p, ok := bob.next().(*packet.Pong); !ok || p.Data != uint64(i) {
				t.Fatalf("with a full window came %+v", p)
			}
			bob.put(&packet.Mark{Pos: m.Pos})
		}
	}
	expect[*packet.CaughtUp](bob)
}

// acceptedAndOutcome waits for both, in whichever order they come: the owner
// may be faster than the log's answer to the gateway.
func acceptedAndOutcome(w *wire) (o *packet.Outcome) {
	w.t.Helper()
	for accepted := false; o == nil || !accepted; {
		p := w.next()
		w.link(p)
		switch p := p.(type) {
		case nil:
			w.t.Fatalf("%s: the server closed (%+v)", w.user, w.closed)
		case *packet.Accepted:
			accepted = true
		case *packet.Outcome:
			o = p
		}
	}
	return o
}

func TestRetryIsStoredOnce(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	id := alice.send("bob", "once")
	first := expect[*packet.Accepted](alice)

	again := dial(t, s, "alice", "phone", packet.ResumeCursor)
	again.put(&packet.Send{N: 1, ID: id, To: []byte("bob"), Content: []byte("once"), Flags: packet.SendRetry})
	if o := acceptedAndOutcome(again); o.ID != id || o.Code != chat.CodeOK || o.Place != first.Pos || o.To != "bob" {
		t.Errorf("outcome of a retry: %+v, first at %v", o, first.Pos)
	}
	// The same id with other bytes.
	again.put(&packet.Send{N: 2, ID: id, To: []byte("bob"), Content: []byte("other"), Flags: packet.SendRetry})
	if o := expect[*packet.Outcome](again); o.Code != chat.CodeIDConflict {
		t.Errorf("outcome of other bytes: %+v", o)
	}
	again.n = 2
	again.clock.See(id)
	again.send("bob", "end")

	if m := expect[*packet.Message](bob); string(m.Content) != "once" {
		t.Errorf("bob got %q first", m.Content)
	}
	if m := expect[*packet.Message](bob); string(m.Content) != "end" {
		t.Errorf("bob got %q second: the retry was not recognised", m.Content)
	}
}

func TestSendersOtherDevicesGetCopies(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	phone := dial(t, s, "alice", "phone", packet.ResumeCursor)
	laptop := dial(t, s, "alice", "laptop", packet.ResumeCursor)
	expect[*packet.CaughtUp](phone)
	expect[*packet.CaughtUp](laptop)
	id := phone.send("bob", "hello")
	place := expect[*packet.Accepted](phone).Pos
	c := expect[*packet.Copy](laptop)
	if c.ID != id || string(c.To) != "bob" || string(c.Content) != "hello" || c.Place != place {
		t.Errorf("laptop got %+v, placed at %v", c, place)
	}
	if own := expect[*packet.Copy](phone); own.ID != id || own.Content != nil || own.Place != place {
		t.Errorf("the sending device got %+v, want its place without content", own)
	}
	// Away, then back.
	laptop.put(&packet.Mark{Pos: c.Pos})
	laptop.net.Close()
	id2 := phone.send("bob", "while away")
	back := dial(t, s, "alice", "laptop", int64(c.Pos))
	if c := expect[*packet.Copy](back); c.ID != id2 || string(c.Content) != "while away" {
		t.Errorf("after the break the laptop got %+v", c)
	}
}

func TestNewerSessionOfADeviceTakesOver(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	old := dial(t, s, "bob", "phone", packet.ResumeCursor)
	other := dial(t, s, "bob", "laptop", packet.ResumeCursor)
	expect[*packet.CaughtUp](other)
	fresh := dial(t, s, "bob", "phone", packet.ResumeCursor)
	if code, closeCode := old.byeCode(); code != chat.CodeReplaced || closeCode != 4000+uint16(chat.CodeReplaced) {
		t.Errorf("the older session ended with %v, close %d", code, closeCode)
	}
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	alice.send("bob", "both")
	expect[*packet.Message](fresh)
	expect[*packet.Message](other)
}

func TestHistoryAndChats(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	var ids []chat.ID
	for i := range 5 {
		ids = append(ids, alice.send("bob", fmt.Sprint(i)))
		expect[*packet.Message](bob)
	}
	bob.send("carol", "to carol")
	expect[*packet.Accepted](bob)
	carol := dial(t, s, "carol", "phone", packet.ResumeCursor)
	m := expect[*packet.Message](carol)

	bob.put(&packet.History{Req: 3, Peer: "alice", Limit: 2})
	page := expect[*packet.HistoryPage](bob)
	if page.Req != 3 || len(page.Rows) != 2 || !page.More || page.Rows[0].ID != ids[4] || page.Rows[1].ID != ids[3] {
		t.Fatalf("first page %+v", page)
	}
	bob.put(&packet.History{Req: 4, Peer: "alice", Limit: 10, Before: page.Rows[1].ID})
	if page = expect[*packet.HistoryPage](bob); len(page.Rows) != 3 || page.More || page.Rows[2].ID != ids[0] || page.Rows[0].From != "alice" {
		t.Fatalf("second page %+v", page)
	}
	carol.put(&packet.History{Req: 5, Peer: "alice", Limit: 10})
	if page = expect[*packet.HistoryPage](carol); len(page.Rows) != 0 {
		t.Errorf("carol sees %+v of a chat with alice that there is not", page)
	}

	carol.put(&packet.Mark{Pos: m.Pos})
	expect[*packet.Receipt](bob)
	bob.put(&packet.Chats{Req: 6, Limit: 10})
	chats := expect[*packet.ChatsPage](bob)
	if len(chats.Chats) != 2 || chats.Chats[0].Peer != "carol" || chats.Chats[1].Peer != "alice" {
		t.Fatalf("bob's chats, newest first: %+v", chats)
	}
	if c := chats.Chats[0]; c.Delivered != m.Pos || string(c.Last.Content) != "to carol" {
		t.Errorf("the chat with carol: %+v", c)
	}
	bob.put(&packet.Chats{Req: 7, Limit: 1, Before: chats.Chats[0].Last.ID})
	if chats = expect[*packet.ChatsPage](bob); len(chats.Chats) != 1 || chats.More || chats.Chats[0].Peer != "alice" {
		t.Fatalf("bob's chats before the newest: %+v", chats)
	}
}

func TestTypingAndPresenceAreForThoseWithAChat(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	mallory := dial(t, s, "mallory", "phone", packet.ResumeCursor)
	mallory.put(&packet.Watch{Req: 9, Users: []string{"bob"}})
	if e, ok := nextOf[*packet.Error](mallory); !ok || e.Code != chat.CodeForbidden || e.Req != 9 {
		t.Errorf("a stranger's watch was answered with %+v", e)
	}
	alice.send("bob", "hi")
	expect[*packet.Message](bob)

	alice.put(&packet.Watch{Req: 1, Users: []string{"bob"}})
	if p := expect[*packet.Presence](alice); p.Peer != "bob" || !p.Online {
		t.Errorf("bob is here, but presence says %+v", p)
	}
	bob.put(&packet.Typing{Peer: []byte("alice"), On: true})
	if p := expect[*packet.TypingFrom](alice); string(p.Peer) != "bob" || !p.On {
		t.Errorf("typing: %+v", p)
	}
	bob.net.Close()
	if p := expect[*packet.Presence](alice); p.Online || p.Seen == 0 {
		t.Errorf("bob left, but presence says %+v", p)
	}
	dial(t, s, "bob", "phone", packet.ResumeCursor)
	if p := expect[*packet.Presence](alice); !p.Online {
		t.Errorf("bob is back, but presence says %+v", p)
	}
	alice.put(&packet.Unwatch{Users: []string{"bob"}}, &packet.Ping{Data: 5})
	expect[*packet.Pong](alice)
}

// nextOf returns the next packet that is an answer, if it is a P.
func nextOf[P any](w *wire) (P, bool) {
	w.t.Helper()
	for {
		p := w.next()
		switch p.(type) {
		case *packet.CaughtUp, *packet.Receipt, *packet.Copy:
			w.link(p)
			continue
		}
		want, ok := p.(P)
		return want, ok
	}
}

func TestEverythingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	id := alice.send("bob", "remember me")
	place := expect[*packet.Accepted](alice).Pos
	stopServer(t, s)
	if code, _ := alice.byeCode(); code != chat.CodeDraining {
		t.Errorf("alice was told %v", code)
	}

	s = startServer(t, dir, nil)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	m := expect[*packet.Message](bob)
	if m.ID != id || m.Pos != place {
		t.Errorf("after the restart bob got %+v, want %v at %v", m, id, place)
	}
	bob.put(&packet.Mark{Pos: m.Pos})
	alice = dial(t, s, "alice", "phone", packet.ResumeCursor)
	if r := expect[*packet.Receipt](alice); r.Delivered != place {
		t.Errorf("receipt after the restart: %+v", r)
	}
}

func windowOf(entries int) func(*config.Config) {
	return func(c *config.Config) { c.Session.Window = entries }
}
