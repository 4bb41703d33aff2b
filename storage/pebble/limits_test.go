package pebble

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func memFS() vfs.FS { return vfs.NewMem() }

// fillInbox stores n messages to bob, each as change leaves it.
func fillInbox(t *testing.T, s *Store, n int, change func(i int, m *chat.Message)) {
	t.Helper()
	var b storage.Batch
	for i := range n {
		m := testMessage("alice", "bob", chat.Position(i+1))
		if change != nil {
			change(i, &m)
		}
		b.Messages = append(b.Messages, m)
		b.Inbox = append(b.Inbox, chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: m.Place, Message: m})
	}
	mustApply(t, s, &b)
}

// TestInboxSkips: a call steps over a bounded number of expired messages, and
// says how far it came.
func TestInboxSkips(t *testing.T) {
	s := openFS(t, memFS())
	const n = maxInboxSkips + 3*inboxChunk
	fillInbox(t, s, n, func(i int, m *chat.Message) {
		if i < n-1 {
			m.Expires = testStart
		}
	})
	entries, last, err := s.Inbox(t.Context(), "bob", 0, n, 10, testStart, nil)
	if err != nil || len(entries) != 0 || last < maxInboxSkips || last >= n {
		t.Fatalf("%d entries up to %d, %v", len(entries), last, err)
	}
	entries, last, err = s.Inbox(t.Context(), "bob", last, n, 10, testStart, nil)
	if err != nil || len(entries) != 1 || entries[0].Pos != n || last != n {
		t.Fatalf("%d entries up to %d, %v", len(entries), last, err)
	}
}

// TestInboxBytes: a call ends soon after maxInboxBytes, at its last entry, even
// where the chunk ends in rows left out.
func TestInboxBytes(t *testing.T) {
	s := openFS(t, memFS())
	const each = maxInboxBytes / inboxChunk
	fillInbox(t, s, 3*inboxChunk, func(i int, m *chat.Message) {
		m.Content = make([]byte, each)
		if i%inboxChunk == inboxChunk-1 {
			m.Expires = testStart
		}
	})
	entries, last, err := s.Inbox(t.Context(), "bob", 0, 3*inboxChunk, 1000, testStart, nil)
	want := 2 * (inboxChunk - 1) // the first chunk is one entry short of the bound
	if err != nil || len(entries) != want || last != entries[len(entries)-1].Pos {
		t.Fatalf("%d entries up to %d, not %d: %v", len(entries), last, want, err)
	}
}

// TestChatsLimit: of more chats than that, the first by the peer's name are
// looked at.
func TestChatsLimit(t *testing.T) {
	s := openFS(t, memFS())
	var b storage.Batch
	for i := range maxChats + 5 {
		b.Messages = append(b.Messages, testMessage("zoe", chat.User(fmt.Sprintf("peer%05d", i)), chat.Position(i+1)))
	}
	mustApply(t, s, &b)
	cs, err := s.Chats(t.Context(), "zoe", chat.ID{}, 3*maxChats, 0, nil)
	if err != nil || len(cs) != maxChats || cs[0].Peer != chat.User(fmt.Sprintf("peer%05d", maxChats-1)) {
		t.Fatalf("%d chats, %v", len(cs), err)
	}
}

// TestSweepIsBounded: a call does no more than it may, says so, and the calls
// after it do the rest.
func TestSweepIsBounded(t *testing.T) {
	s := openFS(t, memFS())
	const n = 2*sweepEntries + 10
	fillInbox(t, s, n, func(_ int, m *chat.Message) { m.Expires = testStart })
	more, err := s.Sweep(t.Context(), testStart, 0, 0)
	if st := s.Stats(); err != nil || !more || st.SweptMessagesTotal != sweepMessages {
		t.Fatalf("%d messages swept, more is %v, %v", st.SweptMessagesTotal, more, err)
	}
	more, err = s.Sweep(t.Context(), 0, testStart+n+1, 0)
	if st := s.Stats(); err != nil || !more || st.SweptEntriesTotal != sweepEntries {
		t.Fatalf("%d inbox rows swept, more is %v, %v", st.SweptEntriesTotal, more, err)
	}
	if at, err := s.Truncated(t.Context(), "bob", 0); err != nil || at != sweepEntries {
		t.Fatalf("truncated at %d, %v", at, err)
	}
	calls := 0
	for more = true; more; calls++ {
		if more, err = s.Sweep(t.Context(), testStart, testStart+n+1, 0); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.SweptEntriesTotal != n || st.SweptMessagesTotal != n || calls < 4 {
		t.Fatalf("%d rows and %d messages swept in %d calls", st.SweptEntriesTotal, st.SweptMessagesTotal, calls)
	}
	if s.sweepFrom != nil {
		t.Fatalf("the next sweep begins at %q", s.sweepFrom)
	}
}

// TestSweepGoesRound: an inbox that was passed is looked at again in the next
// round, and what does not go is looked at once a call.
func TestSweepGoesRound(t *testing.T) {
	s := openFS(t, memFS())
	var b storage.Batch
	for i := range sweepEntries + 100 {
		m := testMessage("alice", chat.User(fmt.Sprintf("peer%05d", i)), 1)
		b.Inbox = append(b.Inbox, chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: 1, Message: m})
	}
	mustApply(t, s, &b)
	for round := range 2 {
		for call, want := range []bool{true, false} {
			if more, err := s.Sweep(t.Context(), 0, testStart, 0); err != nil || more != want {
				t.Fatalf("round %d, call %d: more is %v, %v", round, call, more, err)
			}
		}
	}
	if more, err := s.Sweep(t.Context(), 0, testStart+2, 0); err != nil || !more || s.Stats().SweptEntriesTotal != sweepEntries {
		t.Fatalf("%d rows swept, more is %v, %v", s.Stats().SweptEntriesTotal, more, err)
	}
}

// TestPairs: what is forgotten is written again, what is remembered is not.
func TestPairs(t *testing.T) {
	s := openFS(t, memFS())
	s.pairs = newPairs(1)
	ab, cd := testMessage("a", "b", 1), testMessage("c", "d", 2)
	for _, c := range []struct {
		m    chat.Message
		rows uint64
	}{{ab, 2}, {ab, 2}, {cd, 4}, {cd, 4}, {ab, 6}} {
		mustApply(t, s, &storage.Batch{Messages: []chat.Message{c.m, c.m}})
		if got := s.Stats().ChatRowsTotal; got != c.rows {
			t.Fatalf("%d chat rows written, not %d", got, c.rows)
		}
	}
	for _, p := range [][2]chat.User{{"a", "b"}, {"b", "a"}, {"c", "d"}, {"d", "c"}} {
		if has, err := s.HasChat(t.Context(), p[0], p[1]); err != nil || !has {
			t.Fatalf("chat of %v: %v, %v", p, has, err)
		}
	}
}

// TestStubTable: a stub stands where no history has to step over it, and goes
// with its entry in the expiry table.
func TestStubTable(t *testing.T) {
	s := openFS(t, memFS())
	fillInbox(t, s, 1, func(_ int, m *chat.Message) { m.Expires = testStart + 5; m.Media = "https://media.example/1" })
	tables := func() string {
		var seen []byte
		if err := s.scan(t.Context(), []byte{0}, []byte{255}, func(key, _ []byte) (bool, error) {
			if key[0] != tableFormat {
				seen = append(seen, key[0])
			}
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return string(seen)
	}
	const day = 24 * 60 * 60 * 1000
	for _, c := range []struct {
		now  int64
		want string
	}{{testStart + 4, "ccimx"}, {testStart + 5, "ccisx"}, {testStart + stubDays*day, "ccisx"}, {testStart + 1 + stubDays*day, "cci"}} {
		if _, err := s.Sweep(t.Context(), c.now, 0, 0); err != nil {
			t.Fatal(err)
		}
		if got := tables(); got != c.want {
			t.Fatalf("at %d there are rows in tables %q, not %q", c.now, got, c.want)
		}
	}
}
