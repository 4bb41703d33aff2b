package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/storagetest"
)

// TestContractOfRuns: the contract holds where whatever may be a run is one,
// and where rows of both kinds lie side by side.
func TestContractOfRuns(t *testing.T) {
	for _, least := range []int{1, 2} {
		t.Run(fmt.Sprint(least), func(t *testing.T) {
			disks := map[string]vfs.FS{}
			storagetest.Run(t, func(t *testing.T) storage.Store {
				if disks[t.Name()] == nil {
					disks[t.Name()] = vfs.NewMem()
				}
				s, err := Open(Options{Dir: "db", Logger: quiet(), FS: disks[t.Name()]})
				if err != nil {
					t.Fatal(err)
				}
				s.runLeast = least
				return s
			})
		})
	}
}

// talk is n messages to bob from a few senders, some milliseconds apart, in
// bursts; some expire.
func talk(rnd *rand.Rand, n int) (all []chat.Message) {
	from, ms := 0, int64(0)
	for i := range n {
		if rnd.IntN(12) == 0 {
			from = rnd.IntN(4)
		}
		ms += rnd.Int64N(80)
		m := testMessage(chat.User(fmt.Sprintf("peer%d", from)), "bob", chat.Position(i+1))
		m.At = testStart + ms
		m.ID = chat.NewID(uint64(m.At-rnd.Int64N(200))*10_000+0x01b21dd213814000+uint64(i), 7, chat.Node{1, byte(from)})
		if rnd.IntN(40) == 0 {
			m.Expires = m.At + hourMs
		}
		all = append(all, m)
	}
	return all
}

// batchOf stores the messages.
func batchOf(ms []chat.Message) *storage.Batch {
	b := &storage.Batch{Messages: ms}
	for i := range ms {
		b.Inbox = append(b.Inbox, chat.Entry{Kind: chat.EntryMessage, User: ms[i].To, Pos: ms[i].Place, Message: ms[i]})
	}
	return b
}

// shows fails unless the store shows exactly these messages of talk, whichever
// way it is asked.
func shows(t *testing.T, s *Store, all []chat.Message) {
	t.Helper()
	ctx, upTo := t.Context(), chat.Position(len(all))
	var entries []chat.Entry
	for after := chat.Position(0); after < upTo; {
		page, last, err := s.Inbox(ctx, "bob", after, upTo, 7, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		entries, after = append(entries, page...), last
	}
	senders, _, err := s.Senders(ctx, "bob", 0, upTo, 1<<20, nil)
	if err != nil || len(entries) != len(all) || len(senders) != len(all) {
		t.Fatalf("%d entries, %d senders of %d messages, %v", len(entries), len(senders), len(all), err)
	}
	byChat := map[chat.ChatID][]chat.Message{}
	for i, m := range all {
		if !reflect.DeepEqual(entries[i].Message, m) || entries[i].Pos != m.Place || senders[i] != (storage.Sender{From: m.From, Pos: m.Place}) {
			t.Fatalf("entry %d is %+v", i, entries[i])
		}
		if got, found, err := s.Message(ctx, m.Chat(), m.ID, 0); err != nil || !found || !reflect.DeepEqual(got, m) {
			t.Fatalf("message %d is %+v, %v, %v", i, got, found, err)
		}
		byChat[m.Chat()] = append(byChat[m.Chat()], m)
	}
	for c, want := range byChat {
		slices.SortFunc(want, func(a, b chat.Message) int { return b.ID.Compare(a.ID) })
		var got []chat.Message
		for before := (chat.ID{}); ; before = got[len(got)-1].ID {
			had := len(got)
			if got, err = s.History(ctx, c, before, 5, 0, got); err != nil {
				t.Fatal(err)
			}
			if len(got) == had {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("history has %d of %d messages, or in another order", len(got), len(want))
		}
	}
}

// TestRunsCutElsewhere: an owner that goes on from its mark after a crash cuts
// its batches at other places. What is read is the same (law 3).
func TestRunsCutElsewhere(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := openFS(t, vfs.NewMem())
		s.runLeast = 1 + rnd.IntN(4)
		all := talk(rnd, 400)
		mark, runs := 0, 0
		for done := 0; done < len(all); {
			n := min(1+rnd.IntN(60), len(all)-done)
			mustApply(t, s, batchOf(all[done:done+n]))
			done += n
			switch rnd.IntN(6) {
			case 0, 1:
				mark = done
			case 2:
				done = mark
			}
		}
		shows(t, s, all)
		for table, n := range tables(t, s) {
			if table == tableRun || table == tableStretch {
				runs += n
			}
		}
		if runs == 0 {
			t.Fatal("there are no runs")
		}
	}
}

// TestRunsOfTwoOwners: the owners of a chat's two ends write runs that begin
// with the same message and have others. Nothing is written over.
func TestRunsOfTwoOwners(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		s := openFS(t, vfs.NewMem())
		s.runLeast = 1 + rnd.IntN(3)
		all := talk(rnd, 400)
		owners := [2]*storage.Batch{batchOf(all), {}}
		owners[0].Messages = nil
		for _, m := range all {
			first := rnd.IntN(3) // 2: both have it
			if first != 1 {
				owners[0].Messages = append(owners[0].Messages, m)
			}
			if first != 0 {
				owners[1].Messages = append(owners[1].Messages, m)
			}
		}
		mustApply(t, s, owners[0])
		mustApply(t, s, owners[1])
		shows(t, s, all)
	}
}

// TestRunsAreFound: a burst is two rows, and the chat's.
func TestRunsAreFound(t *testing.T) {
	s := openFS(t, vfs.NewMem())
	fillInbox(t, s, 64, nil)
	if rows := tables(t, s); rows[tableRun] != 1 || rows[tableStretch] != 1 || rows[tableMessage]+rows[tableInbox] != 0 {
		t.Fatalf("a burst has %v rows", rows)
	}
	heads, err := s.Heads(t.Context(), []chat.User{"bob"}, nil)
	if err != nil || heads[0] != 64 {
		t.Fatalf("the head is %v, %v", heads, err)
	}
	m := testMessage("alice", "bob", 1000) // of no run
	if _, found, err := s.Message(t.Context(), m.Chat(), m.ID, 0); found || err != nil {
		t.Fatalf("found %v, %v", found, err)
	}
}

// TestRunLimits: what expires, is not newer than the one before, is too long
// after it or too much begins another run.
func TestRunLimits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(i int, m *chat.Message)
		want   int
	}{
		"all":     {func(int, *chat.Message) {}, runMost},
		"expires": {func(i int, m *chat.Message) { m.Expires = int64(i / 5) }, 0},
		"older":   {func(i int, m *chat.Message) { m.ID = testMessage("a", "b", chat.Position(i%9)).ID }, 3},
		"span":    {func(i int, m *chat.Message) { m.ID = testMessage("a", "b", chat.Position(i*100)).ID }, 10},
		"content": {func(i int, m *chat.Message) { m.Content = make([]byte, runBytes/8) }, 8},
	} {
		ms, order := []chat.Message{}, []int32{}
		for i := range 300 {
			m := testMessage("a", "b", chat.Position(i))
			c.change(i, &m)
			ms, order = append(ms, m), append(order, int32(299-i))
		}
		if got := runLength(ms, order); got != c.want {
			t.Errorf("%s: %d in a run, not %d", name, got, c.want)
		}
	}
}

// TestSweepRuns: old messages of a run are hidden at once and go with its last,
// with stubs while their ids could come again; of a stretch the old entries go.
func TestSweepRuns(t *testing.T) {
	s := openFS(t, vfs.NewMem())
	fillInbox(t, s, 64, nil) // a millisecond apart
	for _, c := range []struct {
		days         int64
		before       int64
		shown, stubs int
	}{{0, 20, 45, 0}, {0, 100, 0, 64}, {stubDays + 1, 100, 0, 0}} {
		for more := true; more; {
			var err error
			if more, err = s.Sweep(t.Context(), testStart+c.days*dayMs, testStart+c.before, testStart+c.before); err != nil {
				t.Fatal(err)
			}
		}
		history, err := s.History(t.Context(), chat.DirectChat("alice", "bob"), chat.ID{}, 99, 1, nil)
		if err != nil || len(history) != c.shown {
			t.Errorf("before %d: %d messages are shown, %v", c.before, len(history), err)
		}
		waiting, err := s.Waiting(t.Context(), "bob", 0, 99, 99)
		if err != nil || waiting != c.shown {
			t.Errorf("before %d: %d entries are left, %v", c.before, waiting, err)
		}
		want := min(chat.Position(c.before-1), 64)
		if at, err := s.Truncated(t.Context(), "bob", 0); err != nil || at != want {
			t.Errorf("before %d: truncated at %d, %v", c.before, at, err)
		}
		rows := tables(t, s)
		if rows[tableStub] != c.stubs || (rows[tableRun] == 0) != (c.shown == 0) || (rows[tableStretch] == 0) != (c.shown == 0) {
			t.Errorf("before %d: rows %v", c.before, rows)
		}
	}
	if n := s.Stats().SweptMessagesTotal; n != 64 {
		t.Errorf("%d swept", n)
	}
}

// TestSweepRunsLongOld: runs that are older than stubs are kept go as a range;
// one that reaches over the bound does not.
func TestSweepRunsLongOld(t *testing.T) {
	s := openFS(t, vfs.NewMem())
	s.runLeast = 1
	const n = 40
	fillInbox(t, s, n, func(i int, m *chat.Message) {
		m.At = testStart + int64(i)*300
		m.ID = chat.NewID(uint64(m.At)*10_000+0x01b21dd213814000, 7, chat.Node{1, byte(i)})
	})
	for i := range int64(n) {
		before := testStart + i*300 + 1 + stubMs
		for more := true; more; {
			var err error
			if more, err = s.Sweep(t.Context(), testStart, 0, before); err != nil {
				t.Fatal(err)
			}
		}
		m := testMessage("alice", "bob", 1)
		history, err := s.History(t.Context(), m.Chat(), chat.ID{}, 99, 1, nil)
		if err != nil || len(history) != 0 {
			t.Fatalf("before %d: %d messages are shown, %v", before, len(history), err)
		}
	}
	if rows := tables(t, s); rows[tableRun] != 0 {
		t.Errorf("left: %v", rows)
	}
}

// TestCorruptRuns: a read that meets a run or stretch it cannot read says so.
func TestCorruptRuns(t *testing.T) {
	burst := make([]chat.Message, runLeast)
	for i := range burst {
		burst[i] = testMessage("alice", "bob", chat.Position(i+1))
	}
	m, ctx := burst[0], t.Context()
	for _, broken := range [][]byte{{}, {1}, {2, 2, 3}, {1, 2, 3}, {1, 0, 0xff, 0xff}, bytes.Repeat([]byte{1}, 17)} {
		s := openFS(t, vfs.NewMem())
		mustApply(t, s, batchOf(burst))
		key := append(appendMessageKey(nil, tableRun, m.Chat(), m.ID), make([]byte, 8)...)
		s.db.Set(key, broken, nil)
		_, _, messageErr := s.Message(ctx, m.Chat(), m.ID, 0)
		_, historyErr := s.History(ctx, m.Chat(), chat.ID{}, 9, 0, nil)
		_, chatsErr := s.Chats(ctx, "bob", chat.ID{}, 9, 0, nil)
		_, _, inboxMessageErr := s.Inbox(ctx, "bob", 0, 9, 9, 0, nil)
		_, sweepErr := s.Sweep(ctx, 0, 0, testStart+runLeast+1)
		s.db.Set(appendInboxKey(nil, tableStretch, "bob", runLeast), broken, nil)
		_, _, inboxErr := s.Inbox(ctx, "bob", 0, 9, 9, 0, nil)
		_, _, sendersErr := s.Senders(ctx, "bob", 0, 9, 9, nil)
		_, sweepInboxErr := s.Sweep(ctx, 0, testStart, 0)
		for i, err := range []error{messageErr, historyErr, chatsErr, inboxMessageErr, sweepErr, inboxErr, sendersErr, sweepInboxErr} {
			if !errors.Is(err, errCorrupt) {
				t.Errorf("row %v, read %d: %v", broken, i, err)
			}
		}
	}
}

// TestFormat: a store of before is taken over, one of a later program refused.
func TestFormat(t *testing.T) {
	disk := vfs.NewMem()
	for _, c := range []struct {
		has uint64
		err error
	}{{1, nil}, {format, nil}, {format + 1, ErrFormat}} {
		s, err := openMem(disk)
		if err != nil {
			t.Fatal(err)
		}
		if c.has == 1 {
			err = s.db.Delete([]byte{tableFormat}, nil)
		} else {
			err = s.db.Set([]byte{tableFormat}, appendUint64s(nil, c.has), nil)
		}
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err = openMem(disk); !errors.Is(err, c.err) {
			t.Fatalf("a store of format %d: %v", c.has, err)
		}
		if err != nil {
			continue
		}
		var has uint64
		if _, err := s.getUint64s([]byte{tableFormat}, &has); err != nil || has != format {
			t.Fatalf("the format is %d, %v", has, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParts(f *testing.F) {
	f.Add([]byte{1, 0, 3, 1, 2, 3, 1, 0})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, row []byte) {
		p, err := partsOf(row)
		for q := p; err == nil && len(q.rest) > 0; {
			had := len(q.rest)
			if _, _, err = q.message(); err == nil && len(q.rest) >= had {
				t.Fatal("a message of no bytes")
			}
		}
		for err = nil; err == nil && len(p.rest) > 0; {
			had := len(p.rest)
			if _, _, err = p.entry(1 << 40); err == nil && len(p.rest) >= had {
				t.Fatal("an entry of no bytes")
			}
		}
		if err != nil && !errors.Is(err, errCorrupt) {
			t.Fatal(err)
		}
	})
}
