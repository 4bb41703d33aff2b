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
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/storage"
)

// Log is what owners need of the log; see pipeline.Log.
type Log interface {
	Identity() [16]byte
	Key() [16]byte
	Partitions() int
	End(partition int) chat.Position
	MaxRecords() int
	Append(partition int, batch []byte, count int, done func(first chat.Position, err error)) error
	Read(ctx context.Context, partition int, after chat.Position, maxBytes int) (pipeline.Batch, error)
	Release(partition int, upTo chat.Position, durable bool)
	DeadLetter(partition int, at chat.Position, reason string, record []byte)
	Own(ctx context.Context, owner pipeline.Owner) error

	// RaiseEpoch makes the epoch of what is appended from now on greater than
	// above, durably before it returns.
	RaiseEpoch(above uint16) error
}

// Store is what owners need of the store; see storage.Store.
type Store interface {
	Apply(ctx context.Context, b *storage.Batch) error
	Mark(ctx context.Context, partition int) (storage.Mark, error)
	Applied(ctx context.Context, partition int) (chat.Position, error)
	Sync(ctx context.Context) error
	Message(ctx context.Context, chatID chat.ChatID, id chat.ID, now int64) (m chat.Message, found bool, err error)
	Senders(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, dst []storage.Sender) (senders []storage.Sender, last chat.Position, err error)
	ReadReceipts(ctx context.Context, receipts []storage.ReceiptAt) error
	ReadTo(ctx context.Context, user, peer chat.User) (chat.Position, error)
	Cursors(ctx context.Context, user chat.User) ([]storage.Cursor, error)
	ReadCursors(ctx context.Context, cursors []storage.UserCursor) error
	Delivered(ctx context.Context, user chat.User) (chat.Position, error)
	storage.GroupStore
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
	ReadsAhead   int           // questions to the store at once, before a cycle that needs their answers is built; 0 asks each when it is needed, but for receipts and cursors
	MarkEvery    time.Duration // least time between two marks, which a takeover does again and in which a device's cursors become one row; 0 marks with every cycle
	Heads        int           // users a partition (their newest link, and their newest message), senders' devices, cursors and receipts that are kept in memory, each so many, 16 bytes each; 0 is 65,536
	Logger       *slog.Logger  // nil is slog.Default
	Since        *Since        // where the log is an epoch that began while another was at work

	// of all workers
	next *atomic.Pointer[next] // the epoch that follows
	gate *gate                 // nil without Since
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
	least("ReadsAhead", o.ReadsAhead, 1)
	for name, value := range map[string]time.Duration{"SyncEvery": o.SyncEvery, "MarkEvery": o.MarkEvery} {
		if value < 0 {
			errs = append(errs, fmt.Errorf("shard: %s is %v, it cannot be negative", name, value))
		}
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
	if o.next == nil {
		o.next = new(atomic.Pointer[next])
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Shards are the owners of the partitions that are this process's. Its methods
// are safe for concurrent use.
type Shards struct {
	// set once
	opt        Options
	log        Log
	store      Store
	deliver    Deliverer
	ring       *Ring
	owning     context.Context // ends when what is owned is given up
	disown     context.CancelFunc
	background sync.WaitGroup // syncLoop, sealAll

	running []atomic.Pointer[running] // by partition; nil where another process owns it

	// guarded by ownMu, which makes Gain, Lose and Stop one at a time
	ownMu   sync.Mutex
	stopped bool

	// guarded by syncMu
	syncMu sync.Mutex
}

// Start makes the process an owner: of all partitions where the log is its own,
// and else of those that the log gives it from now on (Gain). ctx bounds the
// start only.
func Start(ctx context.Context, o Options, log Log, store Store, deliver Deliverer) (*Shards, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	if o.Since != nil {
		o.gate = &gate{since: *o.Since, store: rowsFrom{store, o.Since.BeforeRow}, logger: o.Logger}
		store = rowsFrom{store, Row(o.Since.Epoch, 0)}
	}
	s := &Shards{
		opt: o, log: log, store: store, deliver: deliver, ring: NewRing(log.Partitions(), log.Key()),
		running: make([]atomic.Pointer[running], log.Partitions()),
	}
	s.owning, s.disown = context.WithCancel(context.Background())
	unbind := context.AfterFunc(ctx, s.disown)
	if err := log.Own(s.owning, s); err != nil {
		s.disown()
		return nil, err
	}
	if !unbind() {
		s.Lose(s.owned())
		return nil, ctx.Err()
	}
	s.background.Go(func() { s.syncLoop(s.owning) })
	return s, nil
}

// Ring says who owns whom.
func (s *Shards) Ring() *Ring { return s.ring }

// Partition is Ring().Partition.
func (s *Shards) Partition(user []byte) int { return s.ring.Partition(user) }

// Node is Ring().Node.
func (s *Shards) Node(user chat.User, device chat.Device) chat.Node { return s.ring.Node(user, device) }

// Applied returns the position up to which a partition is stored: nothing above
// it may be shown (law 5). Of a partition that another process owns it is 0.
func (s *Shards) Applied(partition int) chat.Position {
	if r := s.running[partition].Load(); r != nil {
		return chat.Position(r.w.applied.Load())
	}
	return 0
}

// Stop reads no more, waits until the derived records under way are durable,
// syncs the store, releases the log and gives the partitions up. When ctx ends
// first, what is left is done again by the next owner; the error says so.
func (s *Shards) Stop(ctx context.Context) error {
	s.ownMu.Lock()
	s.stopped = true
	s.ownMu.Unlock()
	err := s.finish(ctx, s.owned())
	if err == nil {
		err = s.sync(ctx)
	}
	s.disown()
	s.background.Wait()
	return err
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
	var news []*running
	var marks []chat.Position
	for p := range s.running {
		if r := s.running[p].Load(); r != nil {
			if mark := chat.Position(r.w.marked.Load()); mark != r.synced {
				news, marks = append(news, r), append(marks, mark)
			}
		}
	}
	if len(news) == 0 {
		return nil
	}
	if err := s.store.Sync(ctx); err != nil {
		return fmt.Errorf("shard: sync the store: %w", err)
	}
	failpoint.Hit("shard/synced")
	for i, r := range news {
		r.synced = marks[i]
		s.log.Release(r.w.p, marks[i], true)
	}
	return nil
}
