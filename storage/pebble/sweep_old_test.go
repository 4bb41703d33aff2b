package pebble

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

const (
	hourMs = 60 * 60 * 1000
	dayMs  = 24 * hourMs
)

// agedMessage is the n-th of a chat that has one an hour.
func agedMessage(peer, n int) chat.Message {
	m := testMessage("alice", chat.User(fmt.Sprintf("peer%04d", peer)), chat.Position(n+1))
	m.At, m.Content = testStart+int64(n)*hourMs, []byte{byte(n)}
	m.ID = chat.NewID(uint64(m.At)*10_000+0x01b21dd213814000, 7, chat.Node{1, byte(n)})
	if n%50 == 0 {
		m.Expires = testStart + 400*dayMs
	}
	return m
}

// fillAged stores chats with messages, synced.
func fillAged(t *testing.T, s *Store, chats, each int) {
	t.Helper()
	var b storage.Batch
	for c := range chats {
		for n := range each {
			b.Messages = append(b.Messages, agedMessage(c, n))
		}
	}
	mustApply(t, s, &b)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// tables counts the rows of each table.
func tables(t *testing.T, s *Store) map[byte]int {
	t.Helper()
	rows := map[byte]int{}
	if err := s.scan(t.Context(), []byte{0}, []byte{255}, func(key, _ []byte) (bool, error) {
		rows[key[0]]++
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestSweepOldIsBounded: a call looks at no more than it may, a round is made
// once for a time, and what is long old goes without being looked at.
func TestSweepOldIsBounded(t *testing.T) {
	s := openFS(t, memFS())
	const chats, each, days = 40, 24 * 50, 40
	fillAged(t, s, chats, each)
	before := int64(testStart + days*dayMs)
	calls := 0
	for more := true; more; calls++ {
		swept := s.Stats().SweptMessagesTotal
		var err error
		if more, err = s.Sweep(t.Context(), 0, 0, before); err != nil {
			t.Fatal(err)
		}
		if now := s.Stats().SweptMessagesTotal; now-swept > sweepOldRows {
			t.Fatalf("a call swept %d messages", now-swept)
		}
	}
	// A chat takes a look at its newest, at 31 days of messages and at the end.
	if looks := chats * (1 + stubDays*24 + 1); calls != looks/sweepOldRows+1 {
		t.Errorf("%d looks in %d calls", looks, calls)
	}
	if swept := s.Stats().SweptMessagesTotal; swept != chats*(stubDays*24+1) {
		t.Errorf("%d swept", swept)
	}
	if rows := tables(t, s); rows[tableMessage] != chats*(each-days*24) || rows[tableStub] == 0 {
		t.Errorf("rows that stay: %v", rows)
	}
	m := agedMessage(0, 0)
	if err := s.db.Set(appendMessageKey(nil, tableMessage, m.Chat(), m.ID), appendMessage(nil, &m), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		before int64
		swept  uint64
	}{{before, 0}, {before - dayMs, 0}, {before + 1, chats + 1}} { // the next of each chat, and what came back
		swept := s.Stats().SweptMessagesTotal
		for more := true; more; {
			var err error
			if more, err = s.Sweep(t.Context(), 0, 0, c.before); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Stats().SweptMessagesTotal - swept; got != c.swept {
			t.Errorf("a round for %d swept %d", c.before, got)
		}
	}
	if _, found, err := s.Message(t.Context(), m.Chat(), m.ID, 1); found || err != nil {
		t.Errorf("what came back is shown: %v", err)
	}
}

// TestSweepOldLeavesNothing: when the stubs' time has come too, nothing of the
// messages is left but that there were chats.
func TestSweepOldLeavesNothing(t *testing.T) {
	s := openFS(t, memFS())
	fillAged(t, s, 3, 24*50)
	for _, now := range []int64{testStart + 50*dayMs, testStart + 90*dayMs, testStart + 401*dayMs} {
		for more := true; more; {
			var err error
			if more, err = s.Sweep(t.Context(), now, 0, testStart+50*dayMs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rows := tables(t, s); rows[tableChat] != 6 || rows[tableKept] != 1 || rows[tableFormat] != 1 || len(rows) != 3 {
		t.Errorf("left: %v", rows)
	}
}

// histories is all that a store shows of fillAged.
func histories(s *Store, chats int) (string, error) {
	var out strings.Builder
	for c := range chats {
		m := agedMessage(c, 0)
		ms, err := s.History(context.Background(), m.Chat(), chat.ID{}, 1<<20, 0, nil)
		if err != nil {
			return "", err
		}
		for i := range ms {
			fmt.Fprintln(&out, c, ms[i].ID, len(ms[i].Content))
		}
	}
	return out.String(), nil
}

// agedCuts cuts the power in sweeps of a store filled by fillAged, and checks
// what is shown then, and what is left when the sweep is done once more.
type agedCuts struct {
	t                  *testing.T
	disk               *vfs.MemFS
	chats              int
	now, before        int64
	whole, young, rows string      // shown before and after the sweep, and left in the end
	hidden             atomic.Bool // a call has returned

	mu                          sync.Mutex
	on                          bool
	writes, cuts, wholes, parts int
}

func (c *agedCuts) String() string { return "cuts" }

func (c *agedCuts) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		c.cut(false)
	}
	return nil
}

func (c *agedCuts) turn(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on, c.writes = on, 0
}

// cut cuts at some of the writes, and now where that is asked for; then nothing
// survives that is not synced.
func (c *agedCuts) cut(now bool) {
	c.mu.Lock() // Pebble writes from several goroutines
	defer c.mu.Unlock()
	if c.writes++; !c.on || !now && c.writes > 20 && c.writes%12 != 0 {
		return
	}
	percent := c.writes * 50 % 101
	if now {
		percent = 0
	}
	hidden := c.hidden.Load()
	c.cuts++
	left := c.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(c.cuts), 5))})
	s, err := openMem(left)
	if err != nil {
		c.t.Errorf("cut %d: %v", c.cuts, err)
		return
	}
	defer s.Close()
	shown, err := histories(s, c.chats)
	switch {
	case err != nil:
		c.t.Errorf("cut %d: %v", c.cuts, err)
	case shown == c.whole && !hidden:
		c.wholes++
	case shown != c.young:
		c.t.Errorf("cut %d shows %d bytes; all are %d, the young %d, which were to be shown is %v", c.cuts, len(shown), len(c.whole), len(c.young), hidden)
	case tables(c.t, s)[tableStub] == 0:
	default:
		c.parts++
	}
	for more := true; more; {
		if more, err = s.Sweep(context.Background(), c.now, 0, c.before); err != nil {
			c.t.Errorf("cut %d: %v", c.cuts, err)
			return
		}
	}
	if rows := dump(c.t, s); rows != c.rows {
		c.t.Errorf("cut %d: the sweep that follows leaves other rows", c.cuts)
	}
}

// TestSweepOldCrash cuts the power at writes all through a sweep of several calls.
// What is shown is all or only what stays, the latter for ever once a call has
// returned; and the next sweep leaves what one without a crash leaves.
func TestSweepOldCrash(t *testing.T) {
	const chats, each = 3, 24 * 48
	disk := vfs.NewCrashableMem()
	c := &agedCuts{t: t, disk: disk, chats: chats, now: testStart + 51*dayMs, before: testStart + 45*dayMs}
	show := func(s *Store) string {
		shown, err := histories(s, chats)
		if err != nil {
			t.Fatal(err)
		}
		return shown
	}
	sweep := func(s *Store, after func()) {
		for more := true; more; after() {
			var err error
			if more, err = s.Sweep(t.Context(), c.now, 0, c.before); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := openFS(t, vfs.NewMem())
	fillAged(t, whole, chats, each)
	c.whole = show(whole)
	sweep(whole, func() {})
	c.young, c.rows = show(whole), dump(t, whole)
	if c.young == c.whole || c.young == "" {
		t.Fatal("the sweep sweeps nothing, or all")
	}

	s := openFS(t, errorfs.Wrap(disk, c))
	fillAged(t, s, chats, each)
	c.turn(true)
	sweep(s, func() {
		c.hidden.Store(true)
		c.cut(true)
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.cut(true)
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	c.turn(false)
	t.Logf("%d cuts, %d show all, %d are in the middle", c.cuts, c.wholes, c.parts)
	if c.wholes == 0 || c.parts == 0 || dump(t, s) != c.rows {
		t.Error("the cuts test nothing")
	}
}
