package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/failpoint"
	"github.com/rookery-chat/rookery/internal/knownbug"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/storage"
)

// worker owns one partition.
type worker struct {
	// set once
	opt     *Options
	p       int
	log     Log
	store   Store
	deliver Deliverer
	ring    *Ring
	logger  *slog.Logger

	batches chan pipeline.Batch
	readOn  chan struct{} // the reader may read on

	// shared
	applied atomic.Uint64 // chat.Position
	marked  atomic.Uint64 // chat.Position of the mark in the store
	sealed  atomic.Uint64 // chat.Position of the partition's seal, 0 before it
	mu      sync.Mutex    // guards stats
	stats   PartitionStats

	// owned by the reader
	readUpTo chat.Position

	// owned by the worker from here on; what it keeps between cycles:
	heads    *table        // user → position of the chain's newest entry
	floor    chat.Position // no head that is not in heads is above
	messages *table        // user → position that no message of the chain is above: mostly its newest's
	recent   *table        // (sender, node) → no stored id of these is newer
	older    uint64        // ticks: no stored id of who is not in recent is newer
	newest   uint64        // ticks: no stored id is newer
	places   *table        // cursors, reads and receipts, as they are stored or will be
	arrivals arrivals
	copies   []chat.Position
	forwards []chat.Position // by partition of the epoch before; see setSources
	sources  *Ring           // of the epoch before, nil without one
	out      outbox
	cells    map[uint64]cell // cursors and reads that wait to be stored
	open     []*cycle        // built, not yet marked; in order
	spare    []*cycle
	waiting  int    // rows of the open cycles
	seq      uint64 // of the newest cycle
	retired  uint64 // cycles up to this one are marked
	blockers blockers
	blocks   map[blockKey]*block
	groups   map[chat.User]*group
	members  int // of groups, and the groups
	stalls   int // cycles in a row that had to wait for another partition
	markedAt time.Time
	counts   PartitionStats
	last     chat.Position // of the newest record built

	// the read batch: what is left of it
	rest  []byte
	left  int
	taken int // records taken off it
	jumps []pipeline.Jump
	upTo  chat.Position // where it ends

	// the cycle being built; views into the read batch are valid until it ends
	cur      *cycle
	cut      bool     // the cycle is to end here
	stalled  bool     // it has nothing, as its first record waits for another partition
	full     bool     // it is to end with this record
	built    int      // records before this one
	touched  []*group // whose members have come further, or sent
	scanned  int      // inbox rows looked at
	rec      record.Record
	carried  bool // rec was forwarded from the epoch before
	source   int  // the partition there, and where it was
	sourceAt chat.Position
	fanned   uint64 // the hash of the group whose message is being linked
	batch    storage.Batch
	entries  []chat.Entry
	outcomes []Outcome
	merged   index // (user, peer) → batch.Receipts
	receipts []receipt
	owing    index // (user, peer) → receipts
	newer    index // cursors and reads that have one of a later cycle in the batch

	ahead ahead

	// scratch
	key  []byte
	scan []storage.Sender
}

func newWorker(o *Options, p int, mark storage.Mark, ring *Ring, log Log, store Store, deliver Deliverer) (*worker, error) {
	w := &worker{
		opt: o, p: p, log: log, store: store, deliver: deliver, ring: ring,
		logger:  o.Logger.With("partition", p),
		batches: make(chan pipeline.Batch), readOn: make(chan struct{}, 1),
		readUpTo: mark.Position,
		heads:    newTable(o.Heads), messages: newTable(o.Heads), recent: newTable(o.Heads), places: newTable(o.Heads),
		copies: make([]chat.Position, ring.Partitions()),
		ahead:  ahead{messages: map[messageAt]chat.Message{}, senders: map[uint64]senderPage{}},
		groups: map[chat.User]*group{}, blocks: map[blockKey]*block{},
		cells: map[uint64]cell{}, last: mark.Position, floor: mark.Position, markedAt: time.Now(),
	}
	before := owned{copies: w.copies}
	if err := before.decode(mark.Owner); err != nil {
		return nil, fmt.Errorf("%w; partition %d", err, p)
	}
	w.newest, w.older, w.blockers = before.newest, before.newest, before.blockers
	w.sealed.Store(uint64(before.sealed))
	w.setSources(before.forwards)
	w.arrivals.reset()
	w.out.init(log, o.DerivedBytes, ring.Partitions())
	w.applied.Store(uint64(mark.Position))
	w.marked.Store(uint64(mark.Position))
	return w, nil
}

// read hands the log's batches to the worker, until ctx ends.
func (w *worker) read(ctx context.Context) {
	defer close(w.batches)
	var wait backoff
	for {
		b, err := w.log.Read(ctx, w.p, w.readUpTo, w.opt.BatchBytes)
		switch {
		case ctx.Err() != nil || errors.Is(err, pipeline.ErrClosed):
			return
		case errors.Is(err, pipeline.ErrGone):
			w.halt(fmt.Errorf("%w: %w", ErrGap, err))
			return
		case err == nil:
			err = follows(w.readUpTo, b)
			if err != nil {
				w.halt(err)
				return
			}
			wait = backoff{}
		default:
			w.count(func(s *PartitionStats) { s.ReadErrors++ })
			if wait.loud() {
				w.logger.Error("log not read, trying again", "err", err, "tries", wait.tries)
			}
			if wait.sleep(ctx) != nil {
				return
			}
			continue
		}
		if !w.hand(ctx, b) {
			return
		}
		w.readUpTo = b.Last()
	}
}

// hand gives a batch to the worker and waits until it needs it no more.
func (w *worker) hand(ctx context.Context, b pipeline.Batch) bool {
	select {
	case w.batches <- b:
	case <-ctx.Done():
		return false
	}
	select {
	case <-w.readOn:
		return true
	case <-ctx.Done():
		return false
	}
}

// follows checks that a batch is after the last one. That nothing is missing
// between the two is the log's to know.
func follows(after chat.Position, b pipeline.Batch) error {
	if b.Count < 1 {
		return fmt.Errorf("shard: a batch of %d records", b.Count)
	}
	if b.First <= after {
		return fmt.Errorf("shard: the log goes back to %v after %v", b.First, after)
	}
	return nil
}

// halt tells that the partition stops for good.
func (w *worker) halt(err error) {
	w.count(func(s *PartitionStats) { s.Halted = true })
	w.logger.Error("partition stops", "err", err, "applied", chat.Position(w.applied.Load()).String())
}

// run works until the reader has ended and what it read is settled, or ctx ends.
func (w *worker) run(ctx context.Context) {
	w.haltUnless(ctx, w.work(ctx))
}

// haltUnless halts for an error that is not of an end that was wanted.
func (w *worker) haltUnless(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, pipeline.ErrClosed) {
		w.halt(err)
	}
}

// settleAfter is how long a mark that is due may wait for a cycle to go with. The
// log keeps what is not marked, and a crash in between only does it again.
const settleAfter = 20 * time.Millisecond

// stallEvery is how often a worker looks whether another partition has come as
// far as it has to, which is mostly so at once.
const stallEvery = 5 * time.Millisecond

// shrinkAfter is how long a worker is idle before it gives memory back.
const shrinkAfter = 5 * time.Second

func (w *worker) work(ctx context.Context) error {
	quiet := time.NewTicker(shrinkAfter)
	defer quiet.Stop()
	var cycles uint64 // at the last tick
	settle, settling := time.NewTimer(settleAfter), true
	defer settle.Stop()
	retry, stalled := time.NewTimer(0), true
	defer retry.Stop()
	for {
		over := w.out.over() || w.waiting > maxWaiting
		if w.left > 0 && !over && !stalled {
			if err := w.cycle(ctx); err != nil {
				return err
			}
			if stalled = w.stalled; stalled {
				retry.Reset(stallEvery)
				continue
			}
			if w.left == 0 {
				w.readOn <- struct{}{}
			}
			if w.markEvery() > 0 && !settling {
				settling = true
				settle.Reset(w.settleIn())
			}
			continue
		}
		in := w.batches
		if w.left > 0 && !stalled || over { // a reader that has ended is heard of while another partition is waited for
			in = nil
		}
		select {
		case b, ok := <-in:
			if !ok {
				return w.finish(ctx)
			}
			w.begin(b)
		case <-w.out.wake:
			if err := w.collect(ctx); err != nil {
				return err
			}
			if over {
				settle.Reset(0)
			} else if w.ready() > 0 && !settling {
				settling = true
				settle.Reset(w.settleIn())
			}
		case <-settle.C:
			settling = false
			if err := w.settle(ctx); err != nil {
				return err
			}
		case <-retry.C:
			stalled = false
		case <-quiet.C:
			if w.counts.Cycles == cycles && w.left == 0 {
				w.shrink()
			}
			cycles = w.counts.Cycles
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// shrink gives back the memory of what can be had again.
func (w *worker) shrink() {
	w.arrivals.reset()
	w.out.shrink()
	w.spare = nil
	w.batch = storage.Batch{}
	w.entries, w.outcomes, w.receipts, w.scan = nil, nil, nil, nil
	w.merged, w.owing, w.newer = index{}, index{}, index{}
	w.forgetGroups(0)
	w.ahead.asks, w.ahead.asked, w.ahead.receipts, w.ahead.cursors = nil, index{}, nil, nil
}

// begin takes a read batch.
func (w *worker) begin(b pipeline.Batch) {
	w.rest, w.left, w.taken, w.jumps = b.Records, b.Count, 0, b.Jumps
	w.last, w.upTo = b.First-1, b.Last()
	w.counts.Bytes += uint64(len(b.Records))
}

// next is the position of the next record of the read batch.
func (w *worker) next() chat.Position {
	if len(w.jumps) > 0 && w.jumps[0].At == w.taken {
		return w.jumps[0].To
	}
	return w.last + 1
}

// took says that n records of the read batch are done with, up to a position.
func (w *worker) took(n int, upTo chat.Position) {
	w.taken += n
	w.left -= n
	w.last = upTo
	for len(w.jumps) > 0 && w.jumps[0].At < w.taken {
		w.jumps = w.jumps[1:]
	}
}

// cycle builds as much of the read batch as a cycle takes, and stores it.
func (w *worker) cycle(ctx context.Context) error {
	if err := w.collect(ctx); err != nil {
		return err
	}
	w.askAhead(ctx)
	if err := w.build(ctx); err != nil {
		return err
	}
	if w.stalled {
		w.counts.Waits++
		w.publish()
		w.reuse(w.cur)
		return nil
	}
	failpoint.Hit("shard/built")
	w.closeCycle()
	if knownbug.On(knownbug.CommitBeforeStore) {
		w.markEarly(ctx)
	}
	w.batch.Applied = w.shown()
	ready := 0
	if time.Since(w.markedAt) >= w.markEvery() {
		ready = w.ready()
	}
	if err := w.apply(ctx, ready); err != nil {
		return err
	}
	failpoint.Hit("shard/stored")
	w.applied.Store(uint64(w.shown()))
	w.publish()
	w.deliver.Deliver(w.p, w.entries, w.outcomes)
	failpoint.Hit("shard/delivered")
	w.out.queue()
	err := w.collect(ctx)
	failpoint.Hit("shard/derived")
	return err
}

// markEarly is a fault: who takes over in the moment after it goes on behind a
// cycle that nobody has stored.
func (w *worker) markEarly(ctx context.Context) {
	b := storage.Batch{
		Partition: w.p, Applied: chat.Position(w.applied.Load()),
		Mark: storage.Mark{Log: w.log.Identity(), Position: w.last, Owner: string(w.appendOwner(nil))},
	}
	_ = w.store.Apply(ctx, &b)
	time.Sleep(50 * time.Millisecond)
}

// settleIn is the time until a mark that no cycle took along is stored alone.
func (w *worker) settleIn() time.Duration {
	return max(settleAfter, w.markEvery()-time.Since(w.markedAt))
}

// settle marks what has become durable meanwhile, when there is nothing to
// store with it.
func (w *worker) settle(ctx context.Context) error {
	if err := w.collect(ctx); err != nil || w.ready() == 0 {
		return err
	}
	w.batch.Reset()
	if err := w.apply(ctx, w.ready()); err != nil {
		return err
	}
	w.publish()
	return nil
}

// collect takes what became of derived records and appends those that wait.
func (w *worker) collect(ctx context.Context) error {
	return w.out.collect(func(err error, wait *backoff) error {
		w.counts.DerivedErrors++
		if wait.loud() {
			w.logger.Error("derived records not durable, trying again", "err", err, "tries", wait.tries)
		}
		w.publish()
		return wait.sleep(ctx)
	})
}

// apply stores the batch, with the mark of the first ready open cycles.
func (w *worker) apply(ctx context.Context, ready int) error {
	w.batch.Partition = w.p
	w.addReady(ready)
	start := time.Now()
	if err := w.try(ctx, "apply", func() error { return w.store.Apply(ctx, &w.batch) }); err != nil {
		return err
	}
	w.counts.ApplyTime += time.Since(start)
	w.counts.Applies++
	if ready > 0 {
		failpoint.Hit("shard/marked")
		w.markedAt = start
		w.marked.Store(uint64(w.batch.Mark.Position))
		if w.sealed.Load() > 0 {
			w.applied.Store(uint64(max(w.batch.Mark.Position, chat.Position(w.applied.Load()))))
		}
		w.retire(ready)
		w.log.Release(w.p, w.batch.Mark.Position, false)
	}
	return nil
}

// finish waits until the derived records are durable, and marks them.
func (w *worker) finish(ctx context.Context) error {
	for {
		if err := w.settle(ctx); err != nil {
			return err
		}
		if w.out.idle() {
			return nil
		}
		select {
		case <-w.out.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try calls the store until it answers, or ctx ends. Meanwhile the partition
// stands still, and the log's bound tells the senders.
func (w *worker) try(ctx context.Context, what string, f func() error) error {
	var wait backoff
	for {
		err := f()
		if err == nil || errors.Is(err, storage.ErrClosed) || ctx.Err() != nil {
			return err
		}
		w.counts.StoreErrors++
		w.publish()
		if wait.loud() {
			w.logger.Error("store does not answer, trying again", "call", what, "err", err, "tries", wait.tries)
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// backoff spaces tries: 5 ms at first, doubling up to a second.
type backoff struct{ tries int }

// loud reports whether to log this failure: the 1st, 2nd, 4th, 8th and so on.
func (b *backoff) loud() bool { return b.tries&(b.tries+1) == 0 }

func (b *backoff) sleep(ctx context.Context) error {
	t := time.NewTimer(min(5*time.Millisecond<<min(b.tries, 10), time.Second))
	defer t.Stop()
	b.tries++
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
