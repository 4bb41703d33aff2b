package shard

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

func (s *sim) put(rec record.Record) chat.Position {
	return s.log.put(s.ring.Partition(rec.User), record.Append(nil, &rec))
}

// TestOrderOfACycle follows one message with a copy: stored before it is
// published, derived after, marked when that is durable.
func TestOrderOfACycle(t *testing.T) {
	s := newSim(t, 1, 1)
	s.from("ann", 1, "hi", record.FlagCopy)
	s.start()
	w := s.workers[0]
	w.begin(s.log.next(0, 0, 1<<20))
	s.must(w.cycle(t.Context()))
	if want := []string{"before apply", "after apply", "deliver", "after deliver", "append"}; !slices.Equal(s.ops, want) {
		t.Errorf("steps %v, want %v", s.ops, want)
	}
	if m := s.store.rows.marks[0]; m.Position != 0 || s.log.parts[0].released != 0 {
		t.Errorf("marked %v and released %v before the copy is durable", m.Position, s.log.parts[0].released)
	}
	s.must(w.settle(t.Context()))
	if m := s.store.rows.marks[0]; m.Position != 0 {
		t.Errorf("marked %v before the copy is durable", m.Position)
	}
	s.log.flush(1)
	s.must(w.settle(t.Context()))
	if m := s.store.rows.marks[0]; m.Position != 1 || s.log.parts[0].released != 1 {
		t.Errorf("marked %v and released %v, want 1", m.Position, s.log.parts[0].released)
	}
}

// TestCursorsWaitForReceipts marks a message, and loses the receipt to a crash.
func TestCursorsWaitForReceipts(t *testing.T) {
	s := newSim(t, 1, 1)
	place := s.from("ann", 1, "hi", 0)
	s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: place})
	s.start()
	w := s.workers[0]
	w.begin(s.log.next(0, 0, 1<<20))
	s.must(w.cycle(t.Context()))
	if len(s.store.rows.cursors) != 0 {
		t.Error("the cursor is stored before the receipt is durable")
	}
	s.log.pending = nil
	s.run()
	if got := s.store.rows.receipts[pair{"ann", "bob"}].Delivered; got != place {
		t.Errorf("ann knows of %v, want %v", got, place)
	}
	if got := s.store.rows.cursors[pair{"bob", "web"}]; got != place {
		t.Errorf("cursor is %v, want %v", got, place)
	}
}

// TestOpenCyclesAreBounded lets cycles without derived records follow one whose
// copy does not become durable.
func TestOpenCyclesAreBounded(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords = 1
	s.from("ann", 1, "hi", record.FlagCopy)
	for n := range 100 {
		s.put(record.Record{Kind: record.Mark, User: []byte("cid"), Device: []byte("web"), Place: chat.Position(n)})
	}
	s.start()
	w := s.workers[0]
	w.begin(s.log.next(0, 0, 1<<20))
	for w.left > 0 {
		s.must(w.cycle(t.Context()))
	}
	if len(w.open) != 1 || len(s.store.rows.cursors) != 0 {
		t.Errorf("%d open cycles, cursors %v", len(w.open), s.store.rows.cursors)
	}
	if w.waiting == 0 {
		t.Error("no rows wait")
	}
	s.log.flush(1)
	s.must(w.settle(t.Context()))
	if got := s.store.rows.cursors[pair{"cid", "web"}]; got != 99 || w.waiting != 0 || len(w.cells) != 0 {
		t.Errorf("cursor %v, %d rows wait, %d cells", got, w.waiting, len(w.cells))
	}
}

// TestMarksAreGathered keeps the mark back, and writes of each device's cursors
// and reads the newest.
func TestMarksAreGathered(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords, s.opt.MarkEvery = 1, time.Hour
	for n := range uint64(5) {
		place := s.from("ann", n+1, "hi", 0)
		s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: place})
		s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("phone"), Place: place})
		s.put(record.Record{Kind: record.Read, User: []byte("bob"), Peer: []byte("ann"), Place: place})
	}
	s.start()
	w := s.workers[0]
	w.begin(s.log.next(0, 0, 1<<20))
	for w.left > 0 {
		s.must(w.cycle(t.Context()))
		s.log.flush(1)
	}
	if m := s.store.rows.marks[0]; m.Position != 0 || len(s.store.rows.cursors) != 0 {
		t.Errorf("marked %v, with cursors %v, before it was time", m.Position, s.store.rows.cursors)
	}
	s.log.flush(10)
	if in := w.settleIn(); in < 59*time.Minute {
		t.Errorf("the mark is due in %v", in)
	}
	s.must(w.settle(t.Context()))
	if len(w.batch.Cursors) != 2 || len(w.batch.Reads) != 1 {
		t.Errorf("%d cursors and %d reads were written", len(w.batch.Cursors), len(w.batch.Reads))
	}
	if m := s.store.rows.marks[0]; m.Position != w.last {
		t.Errorf("marked %v, want %v", m.Position, w.last)
	}
	newest := chat.Position(17)
	for _, device := range []chat.User{"web", "phone"} {
		if got := s.store.rows.cursors[pair{"bob", device}]; got != newest {
			t.Errorf("the cursor of %s is %v, want %v", device, got, newest)
		}
	}
	if got := s.store.rows.reads[pair{"bob", "ann"}].ReadTo; got != newest {
		t.Errorf("read to %v, want %v", got, newest)
	}
}

// TestMarkOverALargeInbox ends cycles in the middle of a mark, and crashes there.
func TestMarkOverALargeInbox(t *testing.T) {
	crashes := []int{0, 5, 9, 14, 20}
	if testing.Short() {
		crashes = crashes[:2]
	}
	for _, crashAt := range crashes {
		s := newSim(t, 1, 2)
		s.opt.BatchRecords, s.opt.Heads = 1<<20, 1<<12
		const rows = 2*cycleRows + 1000
		want := map[chat.User]chat.Position{}
		for n := range uint64(rows) {
			sender := fmt.Sprintf("s%d", n%97)
			want[chat.User(sender)] = s.from(sender, n+1, "m", 0)
		}
		s.run()
		s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: rows})
		s.op, s.crashAt = 0, crashAt
		if !s.run() {
			s.run()
		}
		for sender, place := range want {
			if got := s.store.rows.receipts[pair{sender, "bob"}].Delivered; got != place {
				t.Fatalf("%s knows of %v, want %v", sender, got, place)
			}
		}
		if got := s.store.rows.cursors[pair{"bob", "web"}]; got != rows {
			t.Errorf("cursor %v", got)
		}
		w := s.workers[s.ring.Partition([]byte("bob"))]
		if crashAt == 0 && w.counts.Cycles < 3 {
			t.Errorf("%d cycles for an inbox of %d", w.counts.Cycles, rows)
		}
	}
}

// TestOneReceiptPerSenderAndCycle sends one for many messages.
func TestOneReceiptPerSenderAndCycle(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords = 1000
	var last chat.Position
	for n := range uint64(40) {
		last = s.from("ann", n+1, "m", 0)
	}
	for place := range last {
		s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: place + 1})
	}
	s.put(record.Record{Kind: record.Read, User: []byte("bob"), Peer: []byte("ann"), Device: []byte("web"), Place: 3})
	s.start()
	w := s.workers[0]
	w.begin(s.log.next(0, 0, 1<<20))
	s.must(w.cycle(t.Context()))
	s.log.flush(10)
	var receipts []record.Record
	for _, r := range s.log.records(t, 0) {
		if r.Kind == record.Receipt {
			receipts = append(receipts, r)
		}
	}
	if len(receipts) != 1 || receipts[0].Place != last || receipts[0].ReadTo != 3 {
		t.Errorf("receipts %+v, want one of %v, 3", receipts, last)
	}
}

// TestReadAgainSendsNothing repeats a read, and reads less.
func TestReadAgainSendsNothing(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords = 1
	for range 5 {
		s.from("ann", uint64(s.log.End(0))+1, "m", 0)
	}
	for _, place := range []chat.Position{4, 4, 2, 0, 5, 5} {
		s.put(record.Record{Kind: record.Read, User: []byte("bob"), Peer: []byte("ann"), Device: []byte("web"), Place: place})
	}
	s.run()
	if n := s.workers[0].out.derived; n != 2 {
		t.Errorf("%d receipts, want 2", n)
	}
	if got := s.store.rows.reads[pair{"bob", "ann"}]; got.ReadTo != 5 || got.Pos != 10 {
		t.Errorf("read %+v", got)
	}
}

// TestReceiptsNeverGoBack applies receipts in a bad order.
func TestReceiptsNeverGoBack(t *testing.T) {
	s := newSim(t, 1, 1)
	for _, r := range [][2]chat.Position{{5, 2}, {3, 1}, {4, 4}, {1, 9}, {0, 0}, {9, 9}} {
		s.put(record.Record{Kind: record.Receipt, User: []byte("ann"), Peer: []byte("bob"), Place: r[0], ReadTo: r[1]})
	}
	s.opt.BatchRecords = 2
	s.run()
	got := s.store.rows.receipts[pair{"ann", "bob"}]
	if got.Delivered != 9 || got.Read != 9 || got.Pos != 4 {
		t.Errorf("receipt %+v", got)
	}
	if n := s.workers[0].counts.Receipts; n != 3 {
		t.Errorf("%d receipts changed something, want 3", n)
	}
	s.check()
}

// TestFailedAppends repeats appends whose outcome is not known: some were
// written, some not.
func TestFailedAppends(t *testing.T) {
	s := newSim(t, 1, 2)
	w := newWorkload(8, s.log, s.ring)
	w.fill(60)
	s.log.failing = 8
	s.run()
	s.check()
	modelOf(t, s.log).check(t, w.users, &s.store.rows)
	s.pure()
	var tried uint64
	for _, w := range s.workers {
		tried += w.counts.DerivedErrors
	}
	if tried != 8 {
		t.Errorf("%d appends tried again, want 8", tried)
	}
}

// TestParcels cuts what waits for a target into appends of a bounded size.
func TestParcels(t *testing.T) {
	log := newMemLog(1)
	var o outbox
	o.init(log, 1, 1)
	content := bytes.Repeat([]byte("x"), 100_000)
	const n = 35
	for i := range n {
		o.stage(0, uint64(i+1), &record.Record{Kind: record.Copy, User: []byte("u"), Peer: []byte("p"), Place: chat.Position(i + 1), Content: content})
		o.queue()
	}
	none := func(err error, _ *backoff) error { return err }
	if !o.over() || o.oldest() != 1 {
		t.Errorf("over %v, oldest %d", o.over(), o.oldest())
	}
	for !o.idle() {
		if err := o.collect(none); err != nil {
			t.Fatal(err)
		}
		for _, a := range log.pending {
			if len(a.records) > maxAppendBytes/len(content) {
				t.Errorf("an append of %d records", len(a.records))
			}
		}
		if len(log.pending) > 1 {
			t.Errorf("%d appends at once", len(log.pending))
		}
		log.flush(1)
	}
	if o.bytes != 0 || len(o.active) != 0 {
		t.Errorf("%d bytes and %d targets left", o.bytes, len(o.active))
	}
	for i, r := range log.records(t, 0) {
		if r.Place != chat.Position(i+1) {
			t.Fatalf("record %d is of place %v", i, r.Place)
		}
	}
	if log.appends < 4 || len(log.parts[0].records) != n {
		t.Errorf("%d records in %d appends", len(log.parts[0].records), log.appends)
	}
}

// TestDeadLetters passes over what cannot be used, counts it, and writes nothing
// of it down.
func TestDeadLetters(t *testing.T) {
	s := newSim(t, 1, 4)
	var text bytes.Buffer
	s.opt.Logger = slog.New(slog.NewTextHandler(&text, nil))
	p := s.ring.Partition([]byte("bob"))
	bad := [][]byte{
		{}, {record.Version}, []byte("secret"),
		record.Append(nil, &record.Record{Kind: record.Message, User: []byte("bob"), Content: []byte("secret")}),              // no peer
		record.Append(nil, &record.Record{Kind: record.Message, Peer: []byte("bob"), Content: []byte("secret")}),              // no user
		record.Append(nil, &record.Record{Kind: record.Read, User: []byte("bob"), Place: 1}),                                  // no peer
		record.Append(nil, &record.Record{Kind: record.Message, User: []byte("bob"), Peer: []byte("ann")})[:30],               // cut
		append([]byte{record.Version + 1}, record.Append(nil, &record.Record{Kind: record.Mark, User: []byte("bob")})[1:]...), // later version
	}
	for _, raw := range bad {
		s.log.put(p, raw)
	}
	stray := "x"
	for s.ring.Partition([]byte(stray)) == p {
		stray += "x"
	}
	s.log.put(p, record.Append(nil, &record.Record{Kind: record.Mark, User: []byte(stray), Device: []byte("web"), Place: 1}))
	good := s.from("ann", 1, "hi", 0)
	s.run()
	if n := s.workers[p].counts.DeadLetters; n != uint64(len(bad)+1) {
		t.Errorf("%d dead letters, want %d", n, len(bad)+1)
	}
	for i, raw := range bad {
		if l := s.log.letters[i]; l.partition != p || l.at != chat.Position(i+1) || l.reason == "" || l.raw != string(raw) {
			t.Errorf("letter %d is %+v", i, l)
		}
	}
	if len(s.store.rows.messages) != 1 || s.store.rows.marks[p].Position != good {
		t.Errorf("messages %v, mark %v", s.store.rows.messages, s.store.rows.marks[p])
	}
	if strings.Contains(text.String(), "secret") || !strings.Contains(text.String(), "record skipped") {
		t.Errorf("log: %s", text.String())
	}
}

// TestBrokenFrame gives up on the rest of a batch, and goes on with the next.
func TestBrokenFrame(t *testing.T) {
	s := newSim(t, 1, 1)
	for n := range uint64(4) {
		s.from("ann", n+1, "m", 0)
	}
	s.start()
	w := s.workers[0]
	b := s.log.next(0, 0, 1<<20)
	_, rest, _ := record.NextFramed(b.Records)
	copy(rest, []byte{0xff, 0xff, 0xff, 0xff})
	w.begin(b)
	for w.left > 0 {
		s.must(w.cycle(t.Context()))
	}
	if w.counts.DeadLetters != 3 || w.last != 4 || w.applied.Load() != 4 || len(s.store.rows.messages) != 1 {
		t.Errorf("%d dead letters, last %v, %d messages", w.counts.DeadLetters, w.last, len(s.store.rows.messages))
	}
}

// TestForwardedMarkOverALargeInbox ends cycles in the middle of a mark that came
// after its partition's seal in the epoch before: the rest of it is no repeat.
func TestForwardedMarkOverALargeInbox(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords, s.opt.Heads = 1<<20, 1<<12
	const rows = cycleRows + 1000
	var last chat.Position
	for n := range uint64(rows) {
		last = s.from(fmt.Sprintf("s%d", n%97), n+1, "m", 0)
	}
	s.run()
	s.start() // which remembers none of them
	w := s.workers[0]
	w.setSources(make([]chat.Position, 1))
	mark := record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("web"), Place: last}
	s.put(record.Record{Kind: record.Forward, User: []byte("bob"), Place: 7, Content: record.Append(nil, &mark)})
	for b := s.log.next(0, w.last, 1<<20); b.Count > 0; b = s.log.next(0, w.last, 1<<20) {
		for w.begin(b); w.left > 0; {
			s.must(w.cycle(t.Context()))
		}
		s.log.flush(100)
		s.must(w.settle(t.Context()))
	}
	s.log.flush(100)
	s.must(w.settle(t.Context()))
	if got := s.store.rows.cursors[pair{"bob", "web"}]; got != last || w.forwards[0] != 7 || w.counts.Repeats > 0 {
		t.Errorf("the cursor is %v, want %v; forwards %v, %d repeats", got, last, w.forwards, w.counts.Repeats)
	}
}

// TestALongMarkOfTheFurtherDevice marks, after a restart, a little with the device
// that is behind and then more than a cycle takes with the one that is ahead, whose
// cursor does not go back on the way.
func TestALongMarkOfTheFurtherDevice(t *testing.T) {
	const ahead, all = cycleRows + 1000, cycleRows + 2000
	s := newSim(t, 1, 1)
	s.dropped = 2 * all // nobody is connected
	mark := func(device string, place chat.Position) {
		s.put(record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte(device), Place: place})
	}
	work := func() {
		s.start()
		w := s.workers[0]
		for w.last < s.log.End(0) {
			w.begin(s.log.next(0, w.last, 1<<20))
			for w.left > 0 {
				s.must(w.cycle(s.t.Context()))
			}
			s.log.flush(1000)
			s.must(w.settle(s.t.Context()))
		}
	}
	var last chat.Position
	for n := range uint64(all) {
		last = s.from("ann", n+1, "m", 0)
	}
	mark("phone", ahead)
	mark("laptop", 10)
	work()
	mark("laptop", 20)
	mark("phone", last)
	work()
	if at := s.store.rows.cursors[pair{"bob", "phone"}]; at != last {
		t.Errorf("the phone's cursor is %v, not %v", at, last)
	}
	modelOf(t, s.log).check(t, nil, &s.store.rows)
}
