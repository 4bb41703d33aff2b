package server

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// A reader that stops reading costs a bounded piece of memory and nothing of
// its neighbours; when it reads again, it gets everything.
func TestFrozenReader(t *testing.T) {
	const size, count = 16 << 10, 600
	const most = 512 << 10 // what may wait for a socket: the bound at which live entries wait, and a page
	s := startServer(t, t.TempDir(), func(c *config.Config) {
		c.Session.RateMessages, c.Session.RateBurst, c.Session.RateBytes = 1e6, 1e6, 1<<30
		c.Session.Window, c.Session.WindowBytes = 1e5, 64<<20
		c.Engine.OutBytesPerConnection = 64 << 20 // so that only the gateway holds back
	})
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	carol := dial(t, s, "carol", "phone", packet.ResumeCursor)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	content := func(i int) string { return string(bytes.Repeat([]byte(fmt.Sprintf("%08d", i)), size/8)) }
	waiting, blocked := int64(0), int64(0)
	for i := range count {
		alice.send("bob", content(i)) // bob does not read
		alice.send("carol", fmt.Sprint(i))
		if m := expect[*packet.Message](carol); string(m.Content) != fmt.Sprint(i) {
			t.Fatalf("carol got %q, want %d", m.Content, i)
		}
		st := s.engine.Stats()
		waiting, blocked = max(waiting, st.UnsentBytes), max(blocked, st.Blocked)
	}
	if blocked == 0 || waiting > most {
		t.Errorf("%d bytes waited for %d sockets at most, want some for one, up to %d", waiting, blocked, most)
	}
	for i := range count {
		if m := expect[*packet.Message](bob); string(m.Content) != content(i) {
			t.Fatalf("bob got %.8q, want %d", m.Content, i)
		}
	}
}

// A member of a group that stops reading costs a bounded piece of memory and
// nothing of the others, who talk on. When it reads again it gets all of them, each
// once and in order; and so it does who was cut off instead, and comes back.
func TestFrozenMember(t *testing.T) {
	const size, count = 16 << 10, 300 // a socket's buffers hold less than half of it
	const most = 512 << 10            // as in TestFrozenReader
	s := startServer(t, t.TempDir(), func(c *config.Config) {
		c.Session.RateMessages, c.Session.RateBurst, c.Session.RateBytes = 1e6, 1e6, 1<<30
		c.Session.Window, c.Session.WindowBytes = 1e5, 64<<20
		c.Engine.OutBytesPerConnection = 64 << 20
	})
	talkers := []*wire{dial(t, s, "alice", "phone", packet.ResumeCursor), dial(t, s, "carol", "phone", packet.ResumeCursor)}
	bob, dave := dial(t, s, "bob", "phone", packet.ResumeCursor), dial(t, s, "dave", "phone", packet.ResumeCursor)
	group := talkers[0].change("", chat.GroupCreate, "bob", "carol", "dave")
	for _, w := range []*wire{talkers[1], bob, dave} {
		w.told(group)
	}
	content := func(i int) string { return string(bytes.Repeat([]byte(fmt.Sprintf("%08d", i)), size/8)) }
	waiting, blocked := int64(0), int64(0)
	for i := range count {
		from, to := talkers[i%2], talkers[1-i%2]
		from.send(group, content(i)) // bob and dave do not read
		if m := to.told(group); string(m.Content) != content(i) {
			t.Fatalf("%s got %.8q, want %d", to.user, m.Content, i)
		}
		st := s.engine.Stats()
		waiting, blocked = max(waiting, st.UnsentBytes), max(blocked, st.Blocked)
	}
	if blocked != 2 || waiting > 2*most {
		t.Errorf("%d bytes waited for %d sockets at most, want some for 2, up to %d each", waiting, blocked, most)
	}
	dave.net.Close() // and says nothing of what it got
	again := dial(t, s, "dave", "phone", packet.ResumeCursor)
	again.told(group) // the change
	for i := range count {
		for _, w := range []*wire{bob, again} {
			if m := w.told(group); string(m.Content) != content(i) {
				t.Fatalf("%s got %.8q, want %d", w.user, m.Content, i)
			}
		}
	}
	settle(t, s)
	talkers[0].send(group, "and then")
	for _, w := range []*wire{bob, again} { // nothing came twice
		if m := w.told(group); string(m.Content) != "and then" {
			t.Errorf("%s got %.8q", w.user, m.Content)
		}
	}
}
