package delivery

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// here is a process with sessions: its mails, as they were posted.
type here struct {
	*Delivery
	table *presence.Memory
	mu    sync.Mutex
	mails []*Mail
}

func newHere(partitions, loops int) *here {
	h := &here{table: presence.NewMemory()}
	h.Delivery = New(partitions, loops, h.table, func(r presence.Ref) int { return int(r) % loops }, func(_ int, m *Mail) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.mails = append(h.mails, m)
	})
	return h
}

// took returns the mails so far.
func (h *here) took() []*Mail {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.mails)
}

// free frees them.
func (h *here) free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.mails {
		m.Free()
	}
	h.mails = h.mails[:0]
}

func message(user, from chat.User, pos chat.Position, content string) chat.Entry {
	return chat.Entry{Kind: chat.EntryMessage, User: user, Pos: pos, Prev: pos - 1,
		Message: chat.Message{ID: chat.ID{byte(pos), 15: 9}, From: from, To: user, Content: []byte(content)}}
}

func hintOf(e *chat.Entry) Hint {
	h := Hint{User: []byte(e.User), Kind: e.Kind, Pos: e.Pos, Prev: e.Prev, Node: e.Message.ID.Node(), Packet: AppendEntry(nil, e, false)}
	if e.Kind == chat.EntryCopy {
		h.Bare = AppendEntry(nil, e, true)
	}
	return h
}

// TestTakenIsAsDelivered holds that a hint from another process becomes the
// same mail as an entry of an owner here.
func TestTakenIsAsDelivered(t *testing.T) {
	h := newHere(1, 2)
	for i, ref := range []presence.Ref{2, 3, 4} {
		h.table.Register("bob", chat.Node{byte(i)}, ref)
	}
	entries := []chat.Entry{message("bob", "alice", 7, "seven"), message("bob", "alice", 8, "eight")}
	entries[1].Kind = chat.EntryCopy
	h.Deliver(0, entries, nil)
	want := h.took()
	h.mails = nil
	if absent := h.Take([]Hint{hintOf(&entries[0]), hintOf(&entries[1])}, nil); len(absent) > 0 {
		t.Fatalf("absent %q", absent)
	}
	got := h.took()
	if len(got) != 2 || len(want) != 2 {
		t.Fatalf("%d mails, want %d: one a loop", len(got), len(want))
	}
	for i, m := range got {
		w := want[i]
		if len(m.Items) != len(w.Items) {
			t.Fatalf("mail %d has %d items, want %d", i, len(m.Items), len(w.Items))
		}
		for j := range m.Items {
			a, b := &m.Items[j], &w.Items[j]
			if a.Ref != b.Ref || a.Kind != b.Kind || a.Pos != b.Pos || a.Prev != b.Prev || a.Node != b.Node || !bytes.Equal(m.User(a), w.User(b)) ||
				!bytes.Equal(m.Packet(a), w.Packet(b)) || !bytes.Equal(m.Bare(a), w.Bare(b)) {
				t.Errorf("mail %d, item %d: %+v, want %+v", i, j, a, b)
			}
		}
	}
}

// A key share is pushed to nobody: the message that it is for follows.
func TestAKeyShareIsNotPushed(t *testing.T) {
	h := newHere(1, 1)
	var pushed []chat.Position
	h.Nowhere = func(_, _ chat.User, pos chat.Position) { pushed = append(pushed, pos) }
	share, m := message("bob", "alice", 1, "a key"), message("bob", "alice", 2, "x")
	share.Message.Suite = chat.SuiteKeyShare
	h.Deliver(0, []chat.Entry{share, m}, nil)
	if !slices.Equal(pushed, []chat.Position{2}) {
		t.Errorf("pushed: %v", pushed)
	}
}

func TestTakeTellsWhoIsAbsent(t *testing.T) {
	h := newHere(0, 1)
	h.table.Register("bob", chat.Node{1}, 1)
	m := message("bob", "alice", 1, "x")
	n := message("carol", "alice", 1, "x")
	absent := h.Take([]Hint{hintOf(&m), hintOf(&n)}, nil)
	if len(absent) != 1 || string(absent[0]) != "carol" || h.Stats.Absent.Load() != 1 {
		t.Errorf("absent %q, counted %d", absent, h.Stats.Absent.Load())
	}
}

// TestTakeWaitsForSlowLoops crosses takenBytes.
func TestTakeWaitsForSlowLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHere(0, 1)
		h.table.Register("bob", chat.Node{1}, 1)
		e := message("bob", "alice", 1, string(make([]byte, takenBytes/4)))
		hints := []Hint{hintOf(&e)}
		taken := 0
		go func() {
			for range 9 {
				h.Take(hints, nil)
				taken++
			}
		}()
		for _, want := range []int{4, 8, 9} { // four of them reach the bound
			synctest.Wait()
			if taken != want {
				t.Fatalf("%d taken before the loop worked, want %d", taken, want)
			}
			h.free()
		}
		if h.gate.bytes != 0 {
			t.Errorf("%d bytes are counted when nothing is held", h.gate.bytes)
		}
	})
}

func TestTakeDoesNotAllocate(t *testing.T) {
	table := presence.NewMemory()
	d := New(0, 1, table, func(presence.Ref) int { return 0 }, func(_ int, m *Mail) { m.Free() })
	table.Register("bob", chat.Node{1}, 1)
	e := message("bob", "alice", 1, "hello")
	hints := []Hint{hintOf(&e), hintOf(&e)}
	if n := testing.AllocsPerRun(1000, func() { d.Take(hints, nil) }); n != 0 && !raceEnabled {
		t.Errorf("%v allocations for two hints", n)
	}
}
