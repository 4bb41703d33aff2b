package shard

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// TestAskAhead: what an owner that remembers nothing needs of the store is asked
// before the cycle, and the cycle itself asks nothing.
func TestAskAhead(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.Heads, s.opt.BatchRecords = 1<<10, 1000
	var places []chat.Position
	for n := range uint64(8) {
		places = append(places, s.from(fmt.Sprintf("s%d", n), 1, "m", 0))
	}
	s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: places[3]})
	s.run()
	first := s.workers[0].last

	s.opt.ReadsAhead = 1
	s.start()
	w := s.workers[0]
	for n := range uint64(8) { // the same again, as retries
		s.from(fmt.Sprintf("s%d", n), 1, "m", record.FlagRetry)
	}
	s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: places[7]})
	s.put(record.Record{Kind: record.Read, User: []byte("bob"), Peer: []byte("s1"), Place: places[1]})
	s.put(record.Record{Kind: record.Receipt, User: []byte("s2"), Peer: []byte("bob"), Place: places[7]})
	w.begin(s.log.next(0, first, 1<<20))
	before := s.store.reads
	w.askAhead(t.Context())
	asked := s.store.reads - before
	if asked == 0 || w.counts.Ahead < 8+1+1+1+1 { // messages, cursors, read, receipt, senders
		t.Fatalf("%d questions were asked, the store was read %d times", w.counts.Ahead, asked)
	}
	before = s.store.reads
	s.must(w.build(t.Context()))
	if n := s.store.reads - before; n != 0 {
		t.Errorf("the cycle asked %d more", n)
	}
	if w.counts.Duplicates != 8 {
		t.Errorf("%d of 8 messages are known to be stored already", w.counts.Duplicates)
	}
}

// TestAskAheadFails: what the store did not answer is asked when it is needed.
func TestAskAheadFails(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.ReadsAhead = 1
	place := s.from("ann", 1, "m", 0)
	s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: place})
	s.start()
	w := s.workers[0]
	w.begin(s.log.next(0, 0, 1<<20))
	s.store.failing = 1
	s.must(w.cycle(t.Context()))
	s.log.flush(10)
	s.must(w.settle(t.Context()))
	if got := s.store.rows.cursors[pair{"bob", "web"}]; got != place {
		t.Errorf("the cursor is %v, want %v", got, place)
	}
}

// TestReceiptsAtOnce: an owner that remembers nothing reads the receipts of a cycle
// in one call, or by as many goroutines as it may in one each, and what it read
// counts: none goes backwards. A read that fails is made again one by one.
func TestReceiptsAtOnce(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.Heads, s.opt.BatchRecords = 1<<10, 1000
	receipt := func(sender int, place, read chat.Position) {
		s.put(record.Record{Kind: record.Receipt, User: fmt.Appendf(nil, "s%d", sender), Peer: []byte("bob"), Place: place, ReadTo: read})
	}
	receipt(0, 4, 4)
	s.run()
	first := s.workers[0].last
	for n := range 8 {
		receipt(n, 5, 0)
		receipt(n, 6, 0)
	}
	for _, c := range []struct {
		readsAhead, failing, reads int
		ahead                      uint64
	}{{0, 0, 1, 8}, {0, 1, 8, 0}, {1, 0, 1, 8}, {4, 0, 3, 8}} {
		s.opt.ReadsAhead = c.readsAhead
		s.start()
		w := s.workers[0]
		w.begin(s.log.next(0, first, 1<<20))
		before := s.store.reads
		s.store.failing = c.failing
		w.askAhead(t.Context())
		s.must(w.build(t.Context()))
		if n := s.store.reads - before; n != c.reads || w.counts.Ahead != c.ahead {
			t.Errorf("the store was read %d times, %d receipts ahead, want %d and %d", n, w.counts.Ahead, c.reads, c.ahead)
		}
		if len(w.batch.Receipts) != 8 {
			t.Fatalf("%d receipts", len(w.batch.Receipts))
		}
		for i, got := range w.batch.Receipts {
			want := chat.Receipt{User: chat.User(fmt.Sprint("s", i)), Peer: "bob", Delivered: 6}
			if i == 0 {
				want.Read = 4
			}
			if got.Receipt != want {
				t.Errorf("%+v, want %+v", got.Receipt, want)
			}
		}
	}
}
