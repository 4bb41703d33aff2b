package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/failpoint"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/storage"
)

// Log is what owners need of the log; see pipeline.Log.
type Log interface {
	Identity() [16]byte
	Partitions() int
	End(partition int) chat.Position
	Append(partition int, batch []byte, count int, done func(first chat.Position, err error)) error
	Read(ctx context.Context, partition int, after chat.Position, maxBytes int) (pipeline.Batch, error)
	Release(partition int, upTo chat.Position, durable bool)

	// RaiseEpoch makes the epoch of what is appended from now on greater than
	// above, durably before it returns.
	RaiseEpoch(above uint16) error
}

// Store is what owners need of the store; see storage.Store.
type Store interface {
	Apply(ctx context.Context, b *storage.Batch) error
	Mark(ctx context.Context, partition int) (storage.Mark, error)
	Sync(ctx context.Context) error
	Message(ctx context.Context, chatID chat.ChatID, id chat.ID, now int64) (m chat.Message, found bool, err error)
	Senders(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, dst []storage.Sender) (senders []storage.Sender, last chat.Position, err error)
	Receipts(ctx context.Context, user chat.User, after, upTo chat.Position, beyond chat.User, limit int, dst []chat.Receipt) ([]chat.Receipt, error)
	Receipt(ctx context.Context, user, peer chat.User) (chat.Receipt, error)
	ReadTo(ctx context.Context, user, peer chat.User) (chat.Position, error)
	Cursors(ctx context.Context, user chat.User) ([]storage.Cursor, error)
	Delivered(ctx context.Context, user chat.User) (chat.Position, error)
}

// Outcome tells a sender what became of an accepted message.
type Outcome = chat.Outcome

// Deliverer takes what a partition has stored, after it was published. It is
// called by one goroutine a partition, must not block, and keeps nothing of its
// arguments: entries and outcomes are valid during the call only.
type Deliverer interface {
	Deliver(partition int, entries []chat.Entry, outcomes []Outcome)
}

// Options are the settings of the workers.
type Options struct {
	BatchRecords int           // records stored at once; 0 is 4096
	BatchBytes   int           // bytes of records read at once, and so stored at once; 0 is 1 MiB
	DerivedBytes int           // derived records of a partition that are not durable yet; over it the worker waits; 0 is 4 MiB
	SyncEvery    time.Duration // how often the store is synced, after which the log may delete; 0 is 5 s
	Heads        int           // users a partition, senders' devices, and cursors and receipts, whose newest is kept in memory, 16 bytes each; 0 is 65,536
	Logger       *slog.Logger  // nil is slog.Default
}

// Validate reports everything that is wrong with the options.
func (o *Options) Validate() error {
	var errs []error
	least := func(name string, value, least int) {
		if value != 0 && value < least {
			errs = append(errs, fmt.Errorf("shard: %s is %d, it has to be at least %d", name, value, least))
		}
	}
	least("BatchRecords", o.BatchRecords, 1)
	least("BatchBytes", o.BatchBytes, 1)
	least("DerivedBytes", o.DerivedBytes, 1)
	least("Heads", o.Heads, 1)
	if o.SyncEvery < 0 {
		errs = append(errs, fmt.Errorf("shard: SyncEvery is %v, it cannot be negative", o.SyncEvery))
	}
	return errors.Join(errs...)
}

func (o *Options) setDefaults() {
	either := func(value *int, otherwise int) {
		if *value == 0 {
			*value = otherwise
		}
	}
	either(&o.BatchRecords, 4096)
	either(&o.BatchBytes, 1<<20)
	either(&o.DerivedBytes, 4<<20)
	either(&o.Heads, 1<<16)
	if o.SyncEvery == 0 {
		o.SyncEvery = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Shards are the owners of a log's partitions. Its methods are safe for
// concurrent use.
type Shards struct {
	// set once
	opt     Options
	log     Log
	store   Store
	ring    *Ring
	workers []*worker

	stopReading context.CancelFunc // ends the reading of the log
	kill        context.CancelFunc // ends everything else too
	running     sync.WaitGroup     // readers and workers
	syncing     sync.WaitGroup     // syncLoop

	// guarded by syncMu
	syncMu sync.Mutex
	synced []chat.Position // marks that a Sync has covered, by partition
}

// Start checks the store's mark of every partition against the log (law 9) and
// starts their workers. ctx bounds the start only. A store that is of another
// log, or ahead of it, makes it start a new epoch, loudly; a log that begins
// above what is stored is an error.
func Start(ctx context.Context, o Options, log Log, store Store, deliver Deliverer) (*Shards, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	marks, err := resume(ctx, o.Logger, log, store)
	if err != nil {
		return nil, err
	}
	s := &Shards{
		opt: o, log: log, store: store, ring: NewRing(log.Partitions(), log.Identity()),
		synced: make([]chat.Position, len(marks)),
	}
	for p, mark := range marks {
		w, err := newWorker(&s.opt, p, mark, s.ring, log, store, deliver)
		if err != nil {
			return nil, err
		}
		s.workers = append(s.workers, w)
	}
	if err := s.sync(ctx); err != nil { // the log may delete what was stored before
		return nil, err
	}
	s.run()
	return s, nil
}

func (s *Shards) run() {
	life, kill := context.WithCancel(context.Background())
	reading, stopReading := context.WithCancel(life)
	s.kill, s.stopReading = kill, stopReading
	for _, w := range s.workers {
		s.running.Go(func() { w.read(reading) })
		s.running.Go(func() { w.run(life) })
	}
	s.syncing.Go(func() { s.syncLoop(reading) })
}

// Ring says who owns whom.
func (s *Shards) Ring() *Ring { return s.ring }

// Partition is Ring().Partition.
func (s *Shards) Partition(user []byte) int { return s.ring.Partition(user) }

// Node is Ring().Node.
func (s *Shards) Node(user chat.User, device chat.Device) chat.Node { return s.ring.Node(user, device) }

// Applied returns the position up to which a partition is stored: nothing above
// it may be shown (law 5).
func (s *Shards) Applied(partition int) chat.Position {
	return chat.Position(s.workers[partition].applied.Load())
}

// Stop reads no more, waits until the derived records under way are durable,
// syncs the store and releases the log. When ctx ends first, what is left is
// done again at the next start; the error says so.
func (s *Shards) Stop(ctx context.Context) error {
	s.stopReading()
	defer s.kill()
	defer context.AfterFunc(ctx, s.kill)()
	s.running.Wait()
	s.syncing.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("shard: stopped before everything was marked: %w", err)
	}
	return s.sync(ctx)
}

func (s *Shards) syncLoop(ctx context.Context) {
	tick := time.NewTicker(s.opt.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.sync(ctx); err != nil && ctx.Err() == nil {
				s.opt.Logger.Error("store not synced; the log keeps everything", "err", err)
			}
		}
	}
}

// sync syncs the store and lets the log delete what is marked in it.
func (s *Shards) sync(ctx context.Context) error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	marks := make([]chat.Position, len(s.workers))
	news := false
	for p, w := range s.workers {
		marks[p] = chat.Position(w.marked.Load())
		news = news || marks[p] != s.synced[p]
	}
	if !news {
		return nil
	}
	if err := s.store.Sync(ctx); err != nil {
		return fmt.Errorf("shard: sync the store: %w", err)
	}
	failpoint.Hit("shard/synced")
	for p, mark := range marks {
		if mark != s.synced[p] {
			s.synced[p] = mark
			s.log.Release(p, mark, true)
		}
	}
	return nil
}
