package shard

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/storage"
)

// Repartitioning (law 16) is a new epoch: another log, with other partitions,
// that begins while the one before is at work. Its owners wait for the seals of
// the one before; that one's owners forward what comes after the seals.

// Row is where the store keeps what it knows of a partition of an epoch that
// began while another was at work: both have marks of their own. Of an epoch
// that did not, a partition's row is its number.
func Row(epoch uint16, partition int) int { return int(epoch)<<11 | partition }

// Since says that a log is an epoch that began while another was at work.
type Since struct {
	Epoch     uint16
	Before    Earlier // nil where it is not there any more
	BeforeRow int     // of its partition 0
}

// Earlier is the log of the epoch before.
type Earlier interface {
	Identity() [16]byte
	Partitions() int
	End(partition int) chat.Position

	// Refresh makes End exact, as of a moment after the call.
	Refresh(ctx context.Context) error
}

// Next is the epoch that follows.
type Next struct {
	Epoch uint16
	Log   NextLog
}

// NextLog is where owners forward latecomers to; see pipeline.Log.
type NextLog interface {
	Key() [16]byte
	Partitions() int
	appender
}

// next is a Next with its ring.
type next struct {
	Next
	ring *Ring
}

// rowsFrom is a store whose partition 0 is at another row.
type rowsFrom struct {
	Store
	first int
}

func (s rowsFrom) Apply(ctx context.Context, b *storage.Batch) error {
	b.Partition += s.first
	defer func() { b.Partition -= s.first }()
	return s.Store.Apply(ctx, b)
}

func (s rowsFrom) Applied(ctx context.Context, partition int) (chat.Position, error) {
	return s.Store.Applied(ctx, s.first+partition)
}

func (s rowsFrom) Mark(ctx context.Context, partition int) (storage.Mark, error) {
	return s.Store.Mark(ctx, s.first+partition)
}

// sealEvery is how often owners look whether a partition of theirs is to be
// sealed.
const sealEvery = 200 * time.Millisecond

// Succeed says which epoch follows. Its log takes latecomers from now on, and
// the partitions that are owned here, now or later, are sealed after a time.
func (s *Shards) Succeed(n Next, after time.Duration) {
	s.opt.next.Store(&next{n, NewRing(n.Log.Partitions(), n.Log.Key())})
	s.background.Go(func() { s.sealAll(n.Epoch, after) })
}

func (s *Shards) sealAll(epoch uint16, after time.Duration) {
	wait := time.NewTimer(after)
	defer wait.Stop()
	for {
		select {
		case <-s.owning.Done():
			return
		case <-wait.C:
			wait.Reset(sealEvery)
		}
		for p := range s.running {
			if r := s.running[p].Load(); r != nil && r.w.sealed.Load() == 0 && r.sealing.CompareAndSwap(false, true) {
				s.seal(r, epoch)
			}
		}
	}
}

// seal appends a seal. A second one, of who could not know of the first, means
// nothing.
func (s *Shards) seal(r *running, epoch uint16) {
	rec := record.Record{Kind: record.Seal, At: chat.MillisNow(), Place: chat.NewPosition(epoch, 0)}
	done := func(_ chat.Position, err error) {
		if err != nil {
			r.sealing.Store(false) // it may be there all the same
		}
	}
	if err := s.log.Append(r.w.p, record.AppendFramed(nil, &rec), 1, done); err != nil {
		done(0, err)
	}
}

// gate is closed until everything of the epoch before is where it belongs. What
// is asked of the store is asked by one worker for all.
type gate struct {
	since  Since
	store  Store // of the epoch before
	logger *slog.Logger

	mu     sync.Mutex
	ends   []chat.Position // where the logs ended after all were sealed; nil before
	open   bool
	newest uint64 // of all ids of the epoch before
	who    blockers
}

// pass waits until the gate is open.
func (g *gate) pass(ctx context.Context) (newest uint64, who blockers, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	look := time.NewTicker(gateEvery)
	defer look.Stop()
	for tries := 0; !g.open; tries++ {
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
		shut, err := g.look(ctx)
		if g.open = shut < 0 && err == nil; g.open {
			break
		}
		if tries&(tries+1) == 0 && tries > int(loudAfter/gateEvery) {
			g.logger.Warn("an epoch waits for the one before to end", "epoch", g.since.Epoch, "partition_before", shut, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	return g.newest, slices.Clone(g.who), nil
}

const (
	gateEvery = 20 * time.Millisecond
	loudAfter = 5 * time.Second
)

// look returns a partition of the epoch before that is not where it has to be,
// -1 where all are: sealed, and marked up to where it ended when all were.
// What an owner derived before its seal is in the log by then, and what of that
// is a latecomer has been forwarded: so nothing of the new epoch overtakes it.
func (g *gate) look(ctx context.Context) (shut int, err error) {
	before := g.since.Before
	if before == nil {
		return 0, ErrNoBefore
	}
	marks := make([]chat.Position, before.Partitions())
	for p := range marks {
		mark, err := g.store.Mark(ctx, p)
		if err != nil {
			return p, err
		}
		o := owned{copies: make([]chat.Position, len(marks))}
		if err := o.decode(mark.Owner); err != nil {
			return p, err
		}
		if mark.Log != before.Identity() || o.sealed == 0 {
			return p, nil
		}
		marks[p], g.newest = mark.Position, max(g.newest, o.newest)
		g.who.join(o.blockers)
	}
	if g.ends == nil {
		if err := before.Refresh(ctx); err != nil {
			return 0, err
		}
		ends := make([]chat.Position, len(marks))
		for p := range ends {
			ends[p] = before.End(p)
		}
		g.ends = ends
	}
	for p := range marks {
		if marks[p] < g.ends[p] {
			return p, nil
		}
	}
	return -1, nil
}
