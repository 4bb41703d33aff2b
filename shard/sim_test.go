package shard

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
)

// sim runs the workers of a log by hand, on one goroutine, so that a crash can
// come between any two steps and every run can be repeated.
type sim struct {
	t       testing.TB
	r       *rand.Rand
	opt     Options
	log     *memLog
	store   *memStore
	ring    *Ring
	workers []*worker
	readers map[chat.User]*reader
	dropped int                           // of 100 hints
	horizon func(chat.User) chat.Position // how far readers may be shown; nil is as the workers say
	out     []Outcome
	lent    map[int][]byte // the batch that a worker has begun
	forgets bool
	stalls  int // turns that ended because another partition was behind

	op, crashAt int
	ops         []string // names of the steps, for messages
}

type crashed struct{}

func newSim(t testing.TB, seed uint64, partitions int) *sim {
	s := &sim{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), log: newMemLog(partitions), store: newMemStore(),
		readers: map[chat.User]*reader{}, lent: map[int][]byte{},
		opt: Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Heads: 16, BatchRecords: 5},
	}
	if seed%3 == 2 {
		s.opt.ReadsAhead = 1 // more would be of several goroutines, which a crash does not end
	}
	if seed%5 == 3 {
		s.opt.MarkEvery = time.Hour // settle alone marks
	}
	s.opt.setDefaults()
	s.ring = NewRing(partitions, s.log.identity)
	s.log.op, s.store.op = s.step, s.step
	return s
}

// step is passed before everything that shows outside; the crash comes there.
func (s *sim) step(name string) {
	s.op++
	s.ops = append(s.ops, name)
	if s.op == s.crashAt {
		panic(crashed{})
	}
}

// start makes the workers from what the store says.
func (s *sim) start() {
	marks, err := resume(context.Background(), s.opt.Logger, s.log, s.store, everyPartition(s.log))
	if err != nil {
		s.t.Fatal(err)
	}
	s.workers = s.workers[:0]
	for p, m := range marks {
		w, err := newWorker(&s.opt, p, m, s.ring, s.log, s.store, s)
		if err != nil {
			s.t.Fatal(err)
		}
		s.workers = append(s.workers, w)
	}
}

// run works until nothing is left. It reports whether it crashed before.
func (s *sim) run() (whole bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(crashed); !ok {
				panic(p)
			}
			s.crash()
		}
	}()
	s.start()
	for busy := true; busy; {
		busy = false
		for _, p := range s.r.Perm(len(s.workers)) {
			busy = s.turn(s.workers[p]) || busy
		}
		for _, w := range s.workers { // what became durable at the end of a turn
			busy = busy || s.log.next(w.p, w.last, 1).Count > 0
		}
		if s.r.IntN(4) == 0 {
			_ = s.store.Sync(context.Background())
		}
	}
	return true
}

// turn lets a worker take a batch, some appends become durable, and the worker
// settle. It reports whether anything was to be done.
func (s *sim) turn(w *worker) bool {
	ctx := context.Background()
	var b pipeline.Batch
	if w.left == 0 { // else it waits for another partition
		b = s.log.next(w.p, w.last, 1+s.r.IntN(2000))
	}
	if b.Count > 0 || w.left > 0 {
		if w.left == 0 {
			w.begin(b)
			s.lent[w.p] = b.Records
		}
		for w.left > 0 {
			s.must(w.cycle(ctx))
			if w.stalled {
				s.stalls++
				return true
			}
		}
		b.Records = s.lent[w.p]
		for i := range b.Records { // what the log lent is its own again
			b.Records[i] = 0xdd
		}
	}
	s.forgetGroups(w)
	s.log.flush(s.r.IntN(3))
	if s.r.IntN(2) == 0 {
		s.must(w.settle(ctx))
	}
	idle := b.Count == 0 && len(s.log.pending) == 0 && w.out.idle() && len(w.open) == 0
	if !idle && b.Count == 0 {
		s.log.flush(1)
		s.must(w.settle(ctx))
	}
	return !idle
}

func (s *sim) must(err error) {
	if err != nil {
		s.t.Fatal(err)
	}
}

// crash forgets the workers, and what neither log nor store had on the disk.
func (s *sim) crash() {
	s.log.crash(s.r)
	s.store.mu.TryLock()
	s.store.mu.Unlock()
	s.store.back(s.store.synced + s.r.IntN(len(s.store.batches)-s.store.synced+1))
	s.store.synced = len(s.store.batches)
	s.crashAt = 0
}

// Deliver implements Deliverer.
func (s *sim) Deliver(p int, entries []chat.Entry, outcomes []Outcome) {
	s.step("deliver")
	for _, o := range outcomes {
		o.User, o.Device, o.To = own(o.User), own(o.Device), own(o.To)
		s.out = append(s.out, o)
	}
	for i := range entries {
		if s.r.IntN(100) < s.dropped {
			continue
		}
		s.reader(entries[i].User).hint(s, &entries[i])
	}
	s.step("after deliver")
}

func (s *sim) applied(user chat.User) chat.Position {
	if s.horizon != nil {
		return s.horizon(user)
	}
	return chat.Position(s.workers[s.ring.PartitionOf(user)].applied.Load())
}

// reader is a client that is always connected: it takes hints by the chain and
// catches up where that has a gap. It survives crashes of the server.
type reader struct {
	user     chat.User
	at       chat.Position
	seen     []chat.Position
	ids      map[messageKey]int
	receipts map[chat.User]chat.Receipt
	catchUps int
}

func (s *sim) reader(user chat.User) *reader {
	r := s.readers[user]
	if r == nil {
		r = &reader{user: own(user), ids: map[messageKey]int{}, receipts: map[chat.User]chat.Receipt{}}
		s.readers[r.user] = r
	}
	return r
}

func (r *reader) hint(s *sim, e *chat.Entry) {
	if e.Pos > s.applied(r.user) {
		s.t.Errorf("%s is shown %v, applied is %v", r.user, e.Pos, s.applied(r.user))
	}
	switch {
	case e.Pos <= r.at:
	case e.Prev <= r.at:
		r.take(e)
	default:
		r.catchUp(s)
	}
}

func (r *reader) take(e *chat.Entry) {
	r.at = e.Pos
	if e.Kind == chat.EntryReceipt {
		r.merge(e.Receipt)
		return
	}
	r.seen = append(r.seen, e.Pos)
	r.ids[messageKey{e.Message.Chat(), e.Message.ID}]++
}

func (r *reader) merge(c chat.Receipt) {
	old := r.receipts[c.Peer]
	r.receipts[own(c.Peer)] = chat.Receipt{
		User: r.user, Peer: own(c.Peer), Delivered: max(old.Delivered, c.Delivered), Read: max(old.Read, c.Read),
	}
}

func (r *reader) catchUp(s *sim) {
	r.catchUps++
	ctx, applied := context.Background(), s.applied(r.user)
	receipts, _ := s.store.Receipts(ctx, r.user, r.at, applied, "", 1<<30, nil)
	entries, _, _ := s.store.Inbox(ctx, r.user, r.at, applied, 1<<30, 0, nil)
	for i := range entries {
		r.take(&entries[i])
	}
	for _, c := range receipts {
		r.merge(c)
	}
	r.at = max(r.at, applied)
}

// check compares what every reader saw with what is stored.
func (s *sim) check() {
	for user, r := range s.readers {
		r.catchUp(s)
		var want []chat.Position
		for _, e := range s.store.rows.inbox[user] {
			want = append(want, e.Pos)
		}
		if !slices.Equal(r.seen, want) {
			s.t.Errorf("%s saw %v, stored is %v", user, r.seen, want)
		}
		for k, n := range r.ids {
			if n != 1 {
				s.t.Errorf("%s saw message %v %d times", user, k.id, n)
			}
		}
		for k, c := range s.store.rows.receipts {
			if k.user == user && r.receipts[k.other] != c.Receipt {
				s.t.Errorf("%s knows %+v, stored is %+v", user, r.receipts[k.other], c)
			}
		}
	}
}

// again applies the records that the log holds now to a new store, without a
// crash and with what is derived going nowhere.
func (s *sim) again(batch int) (*memStore, *sink) {
	fresh := newSim(s.t, uint64(batch), len(s.log.parts))
	fresh.opt.BatchRecords = batch
	to := &sink{memLog: newMemLog(len(s.log.parts))}
	for p := range s.log.parts {
		fresh.log.parts[p].records = slices.Clone(s.log.parts[p].records)
	}
	fresh.log.aligned = s.log.aligned
	marks, _ := resume(context.Background(), fresh.opt.Logger, fresh.log, fresh.store, everyPartition(fresh.log))
	for p, m := range marks {
		w, err := newWorker(&fresh.opt, p, m, fresh.ring, to, fresh.store, fresh)
		s.must(err)
		fresh.workers = append(fresh.workers, w)
	}
	for busy := true; busy; { // one may have to wait for another
		busy = false
		for _, w := range fresh.workers {
			if w.left == 0 {
				b := fresh.log.next(w.p, w.last, 1<<20)
				if b.Count == 0 {
					continue
				}
				w.begin(b)
			}
			busy = true
			for w.stalled = false; w.left > 0 && !w.stalled; {
				s.must(w.cycle(context.Background()))
			}
		}
	}
	for _, w := range fresh.workers {
		for !w.out.idle() || w.ready() > 0 {
			to.flush(1)
			s.must(w.settle(context.Background()))
		}
	}
	return fresh.store, to
}

// sink is a log for derived records alone.
type sink struct{ *memLog }

// derived sums the derived records of a log up to what they mean.
type derived struct {
	copies   map[string]bool
	fanouts  map[string]bool
	receipts map[pair]chat.Receipt
}

func derivedOf(t testing.TB, l *memLog) derived {
	d := derived{map[string]bool{}, map[string]bool{}, map[pair]chat.Receipt{}}
	for p := range l.parts {
		for _, r := range l.records(t, p) {
			switch r.Kind {
			case record.Copy:
				d.copies[fmt.Sprintf("%s %s %v %v %d %s %q", r.User, r.Peer, r.ID, r.Place, r.At, r.Media, r.Content)] = true
			case record.Fanout:
				d.fanouts[fmt.Sprintf("%d %s %s %v %v %d %q", p, r.User, r.Peer, r.ID, r.Place, r.At, r.Content)] = true
			case record.Receipt:
				if chat.User(r.Peer).IsGroup() {
					continue // one stands for all before it, so they depend on where cycles end; groupModel holds what they must say
				}
				k := pair{chat.User(r.User), chat.User(r.Peer)}
				old := d.receipts[k]
				d.receipts[k] = chat.Receipt{Delivered: max(old.Delivered, r.Place), Read: max(old.Read, r.ReadTo)}
			}
		}
	}
	return d
}

var _ Store = (*memStore)(nil)
var _ Log = (*memLog)(nil)
