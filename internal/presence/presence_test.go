package presence

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

func TestOneDeviceIsTakenOverByItsNewerSession(t *testing.T) {
	m, phone := NewMemory(), chat.Node{1}
	if _, replaced, first := m.Register("bob", phone, 1); replaced || !first {
		t.Fatalf("first session: replaced %v, first %v", replaced, first)
	}
	if old, replaced, first := m.Register("bob", phone, 2); !replaced || old != 1 || first {
		t.Fatalf("second session: old %d, replaced %v, first %v", old, replaced, first)
	}
	if m.Unregister("bob", 1) {
		t.Error("the session that was taken over took the newer one with it")
	}
	if got := m.Lookup([]byte("bob"), nil); !slices.Equal(got, []Ref{2}) {
		t.Errorf("sessions %v, want 2 alone", got)
	}
	if !m.Unregister("bob", 2) {
		t.Error("the last session left and it was not noticed")
	}
	if got := m.Lookup([]byte("bob"), nil); len(got) != 0 {
		t.Errorf("sessions %v of nobody", got)
	}
}

func TestSeveralDevices(t *testing.T) {
	m := NewMemory()
	for i := range 5 {
		m.Register("bob", chat.Node{byte(i + 1)}, Ref(i+1))
	}
	if old, replaced, _ := m.Register("bob", chat.Node{3}, 30); !replaced || old != 3 {
		t.Errorf("takeover of one of five: old %d, replaced %v", old, replaced)
	}
	for _, ref := range []Ref{1, 30, 5, 2} {
		if m.Unregister("bob", ref) {
			t.Errorf("session %d was called the last", ref)
		}
	}
	if got := m.Lookup([]byte("bob"), nil); !slices.Equal(got, []Ref{4}) {
		t.Errorf("sessions %v, want 4 alone", got)
	}
	if _, _, first := m.Register("bob", chat.Node{9}, 9); first {
		t.Error("a second device was called the first")
	}
	m.Unregister("bob", 9)
	if !m.Unregister("bob", 4) {
		t.Error("the last of five left and it was not noticed")
	}
}

func TestWatch(t *testing.T) {
	m := NewMemory()
	if online, fresh := m.Watch("bob", 7); online || !fresh {
		t.Errorf("before bob came he is online: %v, the watcher new: %v", online, fresh)
	}
	m.Register("bob", chat.Node{1}, 1)
	for _, first := range []bool{true, false} {
		if online, fresh := m.Watch("bob", 8); !online || fresh != first {
			t.Errorf("bob is online: %v, the watcher new: %v", online, fresh)
		}
	}
	got := m.Watchers("bob", nil)
	slices.Sort(got)
	if !slices.Equal(got, []Ref{7, 8}) {
		t.Errorf("watchers %v", got)
	}
	for _, c := range []struct {
		ref   Ref
		known bool
	}{{7, true}, {8, true}, {8, false}} {
		if known := m.Unwatch("bob", c.ref); known != c.known {
			t.Errorf("watcher %d was known: %v", c.ref, known)
		}
	}
	if got := m.Watchers("bob", nil); len(got) != 0 {
		t.Errorf("watchers %v after all left", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	m := NewMemory()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				user := chat.User(fmt.Sprintf("u%d", i%50))
				ref := Ref(w*10_000 + i)
				m.Register(user, chat.Node{byte(w)}, ref)
				m.Lookup([]byte(user), nil)
				m.Watch(user, ref)
				m.Watchers(user, nil)
				m.Unwatch(user, ref)
				m.Unregister(user, ref)
			}
		})
	}
	wg.Wait()
	for i := range 50 {
		if got := m.Lookup(fmt.Appendf(nil, "u%d", i), nil); len(got) != 0 {
			t.Fatalf("u%d still has sessions %v", i, got)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	m := NewMemory()
	m.Register("bob", chat.Node{1}, 1)
	name, dst := []byte("bob"), make([]Ref, 0, 4)
	if n := testing.AllocsPerRun(1000, func() { dst = m.Lookup(name, dst[:0]) }); n != 0 {
		t.Errorf("%v allocations a look-up", n)
	}
}
