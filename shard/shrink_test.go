package shard

import (
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// TestShrink gives memory back between two loads: nothing that is needed goes
// with it.
func TestShrink(t *testing.T) {
	s := newSim(t, 1, 1)
	s.start()
	w := s.workers[0]
	turn := func() {
		for w.last < s.log.End(0) {
			w.begin(s.log.next(0, w.last, 1<<20))
			for w.left > 0 {
				s.must(w.cycle(t.Context()))
			}
			s.log.flush(10)
			s.must(w.settle(t.Context()))
		}
	}
	mark := func(place chat.Position) {
		s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: place})
	}
	for n := range uint64(1000) {
		mark(s.from([]string{"ann", "cid"}[n%2], 10+n, "m", record.FlagCopy) - 1)
		w.arrivals.missed = true
	}
	turn()
	last := s.from("ann", 5000, "before", record.FlagCopy)
	turn()
	w.shrink()
	if len(w.arrivals.slots) != firstArrivals || cap(w.batch.Messages) != 0 || cap(w.out.targets[0].sent.data) != 0 {
		t.Errorf("%d arrivals, room for %d messages and %d derived bytes are kept",
			len(w.arrivals.slots), cap(w.batch.Messages), cap(w.out.targets[0].sent.data))
	}
	mark(last)
	s.from("ann", 5000, "before", record.FlagRetry)
	s.from("ann", 6000, "after", record.FlagCopy)
	turn()
	modelOf(t, s.log).check(t, nil, &s.store.rows)
	s.check()
}
