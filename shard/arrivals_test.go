package shard

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// TestArrivals puts messages of senders with names of every length, and asks
// for all again: what is remembered is right, and the newest is.
func TestArrivals(t *testing.T) {
	var a arrivals
	a.reset()
	sender := func(pos int) chat.User {
		return chat.User(fmt.Sprintf("%0*d", 1+pos%200, pos))
	}
	const last = 3 * maxArrivals
	for pos := 1; pos <= last; pos++ {
		e := chat.Entry{Pos: chat.Position(pos), Prev: chat.Position(pos - 1)}
		a.put(uint64(pos%7), &e, e.Prev, sender(pos))
		a.missed = pos%1000 == 0 // as a question too far back does
		for back := range min(pos, 20) {
			at := pos - back
			s := a.ask(uint64(at%7), chat.Position(at))
			if s == nil || a.sender(s) != sender(at) || s.prev != chat.Position(at-1) {
				t.Fatalf("at %d, %d is %+v, want it from %q", pos, at, s, sender(at))
			}
		}
	}
	if len(a.slots) != maxArrivals {
		t.Errorf("%d slots, want %d", len(a.slots), maxArrivals)
	}
	known := 0
	for pos := 1; pos <= last; pos++ {
		if s := a.ask(uint64(pos%7), chat.Position(pos)); s != nil {
			known++
			if a.sender(s) != sender(pos) {
				t.Fatalf("%d is from %q, want %q", pos, a.sender(s), sender(pos))
			}
		}
	}
	if known < maxArrivals/8 || a.ask(1, last+1) != nil || a.at(uint64((last+1)%7), last) != nil {
		t.Errorf("%d known", known)
	}
}

// A burst takes one slot, whatever its length, and forgets nothing on its way.
func TestABurstForgetsNothingElse(t *testing.T) {
	const users, burst = 8, 64
	var a arrivals
	a.reset()
	pos := chat.Position(0)
	last := map[uint64]chat.Position{}
	for range firstArrivals / (4 * users) { // a quarter of the slots
		for user := uint64(1); user <= users; user++ {
			prev := last[user]
			for range burst {
				pos++
				a.put(user, &chat.Entry{Pos: pos, Prev: prev, Message: chat.Message{Place: pos}}, prev, "ann")
				prev = pos
			}
			last[user] = pos
		}
	}
	known := 0
	for user, at := range last {
		for s := a.at(user, at); s != nil; s = a.at(user, s.prev) {
			known++
			if int(s.older) != burst-1 {
				t.Fatalf("a burst of %d messages", s.older+1)
			}
		}
	}
	if known != firstArrivals/4 {
		t.Errorf("%d of %d bursts are known", known, firstArrivals/4)
	}
}

// TestArrivalsGrow grows only when it was asked for what had been written over.
func TestArrivalsGrow(t *testing.T) {
	var a arrivals
	a.reset()
	put := func(from, to chat.Position) {
		for pos := from; pos <= to; pos++ {
			a.put(1, &chat.Entry{Pos: pos}, 0, "ann")
		}
	}
	put(1, 10*firstArrivals)
	if a.ask(1, 10*firstArrivals+1) != nil || a.missed {
		t.Error("what has not come yet counts as forgotten")
	}
	put(10*firstArrivals, 11*firstArrivals)
	if len(a.slots) != firstArrivals {
		t.Errorf("%d slots", len(a.slots))
	}
	if a.ask(1, 5) != nil || !a.missed {
		t.Error("what was written over is known")
	}
	put(11*firstArrivals+1, 14*firstArrivals)
	if len(a.slots) != 2*firstArrivals || a.missed || a.ask(1, 13*firstArrivals) == nil {
		t.Errorf("%d slots", len(a.slots))
	}
}

// bobMarks starts the owner of bob's partition, which has one message of ann's
// that is marked: so his head is known. mark appends a mark of his, turn takes
// what has been appended.
func (s *sim) bobMarks() (w *worker, mark func(chat.Position), turn func()) {
	mark = func(place chat.Position) {
		s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: place})
	}
	mark(s.from("ann", 1, "m", 0))
	s.start()
	w = s.workers[0]
	turn = func() {
		w.begin(s.log.next(0, w.last, 1<<20))
		for w.left > 0 {
			s.must(w.cycle(s.t.Context()))
		}
		s.log.flush(10)
		s.must(w.settle(s.t.Context()))
	}
	turn()
	return w, mark, turn
}

// TestMarksOfTheNewestAskNothing marks what has just come, by one batch and by
// a later one: the store is not asked who sent it, nor how far the user was.
func TestMarksOfTheNewestAskNothing(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords, s.dropped = 7, 100 // nobody is connected
	w, mark, turn := s.bobMarks()
	asked := s.store.reads
	var last chat.Position
	for n := range uint64(30) {
		last = s.from([]string{"ann", "cid", "dee"}[n%3], 10+n, "m", 0)
		mark(last - 1)
	}
	for w.last < s.log.End(0) {
		turn()
	}
	if n := s.store.reads - asked; n != 3 { // the first receipts of three peers
		t.Errorf("the store was asked %d times", n)
	}
	modelOf(t, s.log).check(t, nil, &s.store.rows)
}

// TestArrivalsSparse remembers as much of a log that gives every 256th position.
func TestArrivalsSparse(t *testing.T) {
	for _, step := range []chat.Position{1, 256} {
		var a arrivals
		a.reset()
		for n := range chat.Position(firstArrivals) {
			a.put(1, &chat.Entry{Pos: (n + 1) * step}, 0, "ann")
		}
		known := 0
		for n := range chat.Position(firstArrivals) {
			if a.ask(1, (n+1)*step) != nil {
				known++
			}
		}
		if known < firstArrivals-1 {
			t.Errorf("every %d positions: %d known of %d", step, known, firstArrivals)
		}
	}
}

// TestMarksWithinBursts marks places in the middle of bursts, whose messages are
// remembered together: receipts are of the messages up to there, none is owed
// twice, and the store is not asked.
func TestMarksWithinBursts(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords, s.dropped = 16, 1000 // nobody is connected
	w, mark, turn := s.bobMarks()
	asked := s.store.reads
	id := uint64(10)
	for n := range 40 {
		var last chat.Position
		for range 1 + n%13 {
			last = s.from([]string{"ann", "cid"}[n%2], id, "m", 0)
			id++
		}
		mark(last - chat.Position(n%5))
	}
	for w.last < s.log.End(0) {
		turn()
	}
	if n := s.store.reads - asked; n != 2 { // the first receipts of two peers
		t.Errorf("the store was asked %d times", n)
	}
	if !slices.ContainsFunc(w.arrivals.slots, func(a arrival) bool { return a.older > 0 }) {
		t.Error("no burst is remembered as one")
	}
	modelOf(t, s.log).check(t, nil, &s.store.rows)
}

// TestMarksAskNothingOfWhatIsNoMessage marks a message that came long after the
// one before it, with more receipts in between than arrivals have room for, and the
// first one behind receipts: the store is not asked who sent them.
func TestMarksAskNothingOfWhatIsNoMessage(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords, s.dropped = 100, 1000 // nobody is connected
	w, mark, turn := s.bobMarks()
	asked := s.store.reads
	place := chat.Position(0)
	receipts := func(user string) {
		for range 2 * firstArrivals {
			place++
			s.put(record.Record{Kind: record.Receipt, User: []byte(user), Peer: []byte("cid"), Place: place})
		}
	}
	all := func() {
		for w.last < s.log.End(0) {
			turn()
		}
	}
	for range 2 {
		receipts("bob")
		mark(s.from("ann", uint64(10+s.log.End(0)), "m", 0))
		all()
	}
	if n := s.store.reads - asked; n != 1 { // the first receipt of one peer
		t.Errorf("the store was asked %d times of bob's", n)
	}
	asked = s.store.reads
	receipts("eve")
	all()
	at := s.put(record.Record{Kind: record.Message, ID: chat.NewID(5000, 1, s.ring.Node("ann", "phone")), User: []byte("eve"), Peer: []byte("ann"), Device: []byte("phone"), Content: []byte("m")})
	s.put(record.Record{Kind: record.Mark, User: []byte("eve"), Device: []byte("web"), Place: at})
	all()
	if n := s.store.reads - asked; n != 5 { // the first receipts of two peers, her cursor ahead and, as she has none, again and those of her other devices
		t.Errorf("the store was asked %d times of eve's", n)
	}
	modelOf(t, s.log).check(t, nil, &s.store.rows)
}
