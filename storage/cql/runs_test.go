package cql

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// runsOf are n entries of bob's inbox at positions 5, 7, 9 and so on, from some
// users and a group, as an owner makes them.
func runsOf(n int) (ms []chat.Message, es []chat.Entry) {
	group := chat.NewGroup("", idAt(day0, 9))
	prev := chat.Position(2)
	for i := range n {
		from, to := chat.User("alice"), chat.User("bob")
		switch i % 4 {
		case 1:
			from = "carol"
		case 2, 3:
			to = group
		}
		pos := chat.Position(2*i + 5)
		m := text(from, to, day0+int64(i), pos)
		e := chat.Entry{Kind: chat.EntryMessage, User: "bob", Pos: pos, Prev: prev, Message: m}
		ms, es, prev = append(ms, m), append(es, e), pos
	}
	return ms, es
}

// rowsOf is how many rows the inbox of bob has.
func rowsOf(t *testing.T, o Options) (n int) {
	t.Helper()
	s := session(t, o, o.Keyspace)
	defer s.Close()
	must(t, s.Query("SELECT COUNT(*) FROM inbox WHERE user = 'bob'").Scan(&n))
	return n
}

// checkRuns holds every page between any two positions against the entries.
func checkRuns(t *testing.T, s *Store, es []chat.Entry, limits ...int) {
	t.Helper()
	end := es[len(es)-1].Pos + 2
	for after := chat.Position(0); after < end; after += 3 { // at an entry, and between two
		for upTo := after; upTo <= end; upTo++ {
			var want []chat.Position
			for _, e := range es {
				if after < e.Pos && e.Pos <= upTo {
					want = append(want, e.Pos)
				}
			}
			for _, limit := range limits {
				var inbox, senders []chat.Position
				for at := after; at < upTo; {
					page, last, err := s.Inbox(t.Context(), "bob", at, upTo, limit, 0, nil)
					must(t, err)
					if len(page) > limit || len(page) > 0 && page[0].Prev != at || last <= at {
						t.Fatalf("a page of %d after %d of (%d, %d] with %d, up to %d, from %+v", limit, at, after, upTo, len(page), last, page)
					}
					for _, e := range page {
						inbox = append(inbox, e.Pos)
					}
					at = last
				}
				for at := after; at < upTo; {
					page, last, err := s.Senders(t.Context(), "bob", at, upTo, limit, nil)
					must(t, err)
					for _, e := range page {
						senders = append(senders, e.Pos)
					}
					if last <= at {
						t.Fatalf("senders after %d of (%d, %d] end at %d", at, after, upTo, last)
					}
					at = last
				}
				n, err := s.Waiting(t.Context(), "bob", after, upTo, limit)
				must(t, err)
				if !reflect.DeepEqual(inbox, want) || !reflect.DeepEqual(senders, want) || n != min(len(want), limit) {
					t.Fatalf("(%d, %d] by %d has %v, from %v, %d wait; want %v", after, upTo, limit, inbox, senders, n, want)
				}
			}
		}
	}
}

// TestRun: what a batch has for an inbox is one row, of which every part is read,
// also by who writes none.
func TestRun(t *testing.T) {
	o := fresh(t)
	o.InboxRuns = true
	s := open(t, o)
	ms, es := runsOf(9)
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: ms[:1], Inbox: es[:1]}))
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: ms[1:], Inbox: es[1:]}))
	if n := rowsOf(t, o); n != 2 {
		t.Errorf("%d rows, want one of an entry and one of eight", n)
	}
	page, last, err := s.Inbox(t.Context(), "bob", 2, 100, 100, 0, nil)
	if err != nil || last != 100 || !reflect.DeepEqual(page, es) {
		t.Errorf("the inbox has\n%+v up to %d, %v, want\n%+v", page, last, err, es)
	}
	senders, _, err := s.Senders(t.Context(), "bob", 0, 100, 100, nil)
	must(t, err)
	for i, e := range es {
		want := storage.Sender{From: e.With(), Pos: e.Pos}
		if e.Message.To.IsGroup() {
			want.Place = e.Message.Place
		}
		if senders[i] != want {
			t.Errorf("the %d. sender is %+v, want %+v", i, senders[i], want)
		}
	}
	checkRuns(t, s, es, 1, 100)
	o.InboxRuns = false
	checkRuns(t, open(t, o), es, 100)
}

// TestRunsOfTwoOwners: an owner had cut its cycles at other places than the one
// before it, which was killed, or woke up as none: all is there, once, in order.
func TestRunsOfTwoOwners(t *testing.T) {
	o := fresh(t)
	o.InboxRuns = true
	s := open(t, o)
	ms, es := runsOf(12)
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: ms}))
	apply := func(from, to int) {
		must(t, s.Apply(t.Context(), &storage.Batch{Inbox: es[from:to]}))
	}
	apply(0, 4) // marked; what follows of the first owner's is not
	apply(4, 5)
	apply(5, 9)
	apply(4, 8) // the second owner's
	apply(8, 12)
	apply(9, 10) // the first wakes up
	checkRuns(t, s, es, 2, 100)
}

// TestRunsByPages: an inbox of more rows than are asked for at once, each of more
// entries than a page.
func TestRunsByPages(t *testing.T) {
	o := fresh(t)
	o.InboxRuns = true
	s := open(t, o)
	const each = 7
	ms, es := runsOf(each * (2*runsOnce + 1))
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: ms}))
	for from := 0; from < len(es); from += each {
		must(t, s.Apply(t.Context(), &storage.Batch{Inbox: es[from : from+each]}))
	}
	end := es[len(es)-1].Pos
	for _, limit := range []int{5, inboxChunk, 1000} {
		var got []chat.Entry
		for at := chat.Position(2); at < end; {
			page, last, err := s.Inbox(t.Context(), "bob", at, end, limit, 0, nil)
			must(t, err)
			got, at = append(got, page...), last
		}
		if !reflect.DeepEqual(got, es) {
			t.Errorf("by %d there are %d entries, want %d", limit, len(got), len(es))
		}
	}
	n, err := s.Waiting(t.Context(), "bob", 2, end, 10_000)
	if err != nil || n != len(es) {
		t.Errorf("%d wait, %v, want %d", n, err, len(es))
	}
}

// TestRunTruncated: of a run whose first entries have been swept the others are
// there, and a device that stands among the swept is told up to where they went.
func TestRunTruncated(t *testing.T) {
	o := fresh(t)
	o.InboxRuns = true
	s := open(t, o)
	ms, es := runsOf(8)
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: ms, Inbox: es}))
	if _, err := s.Sweep(t.Context(), 0, es[3].Message.At, 0); err != nil {
		t.Fatal(err)
	}
	for after := range es[7].Pos + 2 {
		want := es[2].Pos
		if after >= want {
			want = 0
		}
		if got, err := s.Truncated(t.Context(), "bob", after); err != nil || got != want {
			t.Errorf("after %d the inbox is truncated up to %d, %v, not %d", after, got, err, want)
		}
	}
	page, _, err := s.Inbox(t.Context(), "bob", 2, 100, 100, 0, nil)
	if err != nil || len(page) != 5 || page[0].Pos != es[3].Pos {
		t.Errorf("%d entries are left, %v: %+v", len(page), err, page)
	}
}

// TestRunBroken: a run that is cut off, or of a later version, is an error.
func TestRunBroken(t *testing.T) {
	_, es := runsOf(3)
	refs := []*chat.Entry{&es[0], &es[1], &es[2]}
	row := appendRun(nil, refs)
	read := func(row []byte) (n int, err error) {
		err = eachEntry(inboxRow{pos: es[2].Pos}, 0, row, func(inboxRow, chat.Position) bool { n++; return true })
		return n, err
	}
	if n, err := read(row); n != 3 || err != nil {
		t.Fatalf("%d entries, %v", n, err)
	}
	for cut := 1; cut < len(row); cut++ {
		if n, err := read(row[:cut]); err == nil {
			t.Errorf("of %d bytes %d are %d entries", len(row), cut, n)
		}
	}
	later := append([]byte{runVersion + 1}, row[1:]...)
	if _, err := read(later); err == nil {
		t.Error("a later version is read: ", fmt.Sprint(later))
	}
}
