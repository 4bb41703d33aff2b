package shard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/storage"
)

// ErrNoBefore is what an epoch waits with whose predecessor was deleted before
// it had ended.
var ErrNoBefore = errors.New("shard: the log of the epoch before is not there any more")

var errNotForwarded = errors.New("shard: a forwarded record, and no epoch was before this one")

// start waits until the epoch before has ended, where this one has nothing of
// the partition yet, and marks its beginning.
func (w *worker) start(ctx context.Context) error {
	if w.opt.gate == nil || w.marked.Load() > 0 {
		return nil
	}
	newest, who, err := w.opt.gate.pass(ctx)
	if err != nil {
		return err
	}
	at := chat.NewPosition(w.opt.Since.Epoch, 0)
	w.newest, w.older, w.blockers = newest, newest, who
	w.setSources(make([]chat.Position, w.opt.Since.Before.Partitions()))
	w.last, w.floor, w.readUpTo = at, at, at
	first := storage.Batch{
		Partition: w.p, Applied: at,
		Mark: storage.Mark{Log: w.log.Identity(), Position: at, Owner: string(w.appendOwner(nil))},
	}
	if err := w.try(ctx, "begin", func() error { return w.store.Apply(ctx, &first) }); err != nil {
		return err
	}
	w.applied.Store(uint64(at))
	w.marked.Store(uint64(at))
	return nil
}

// setSources sets how far what each partition of the epoch before forwards has
// been taken: its owner forwards in order, so that one position tells what is a
// repeat, as with copies.
func (w *worker) setSources(forwards []chat.Position) {
	if w.forwards = forwards; len(forwards) > 0 {
		w.sources = NewRing(len(forwards), w.log.Key())
	}
}

// seal ends the partition: the rest of it is latecomers.
func (w *worker) seal(pos chat.Position) {
	if w.sealed.Load() == 0 {
		w.sealed.Store(uint64(pos))
		w.logger.Info("the partition is sealed", "at", pos.String(), "next", w.rec.Place.String())
	}
}

// unpack makes the record that was forwarded the worker's. It returns nil for
// one that has been taken before.
func (w *worker) unpack() (raw []byte, err error) {
	r := &w.rec
	if w.sources == nil {
		return nil, errNotForwarded
	}
	from := w.sources.Partition(r.User)
	if r.Place <= w.forwards[from] {
		w.counts.Repeats++
		return nil, nil
	}
	place, raw := r.Place, r.Content
	if err := r.Decode(raw); err != nil {
		return nil, fmt.Errorf("forwarded from %v: %w", place, err)
	}
	w.source, w.sourceAt = from, place
	return raw, nil
}

// noteUnpacked notes that a forwarded record has been taken, all of it.
func (w *worker) noteUnpacked() {
	if w.carried && w.sourceAt > 0 {
		w.forwards[w.source] = w.sourceAt
	}
}

// forward derives a latecomer's record for the user's partition in the next
// epoch. Its id is its position here, so that doing it again is harmless.
func (w *worker) forward(ctx context.Context, user uint64, raw []byte, pos chat.Position) error {
	n, err := w.nextEpoch(ctx)
	if err != nil {
		return err
	}
	w.counts.Forwarded++
	w.out.next = n.Log
	if w.rec.Kind == record.Fanout {
		return w.forwardFanout(n, raw, pos)
	}
	w.out.stage(w.ring.Partitions()+n.ring.partitionOf(user), w.seq, &record.Record{
		Kind: record.Forward, At: w.rec.At, User: w.rec.User, Place: pos, Content: raw,
	})
	return nil
}

// nextEpoch waits until this process knows the epoch that follows: who sealed
// the partition knew it.
func (w *worker) nextEpoch(ctx context.Context) (*next, error) {
	for wait := (backoff{}); ; {
		if n := w.opt.next.Load(); n != nil {
			return n, nil
		}
		if wait.loud() {
			w.logger.Warn("a record is to be forwarded, the next epoch is not known here yet")
		}
		if err := wait.sleep(ctx); err != nil {
			return nil, err
		}
	}
}

// shown is how far readers may be shown what is built: not what comes after the
// seal, until it has been forwarded and is marked. A gateway takes that for the
// word that its append has reached the next epoch.
func (w *worker) shown() chat.Position {
	if sealed := chat.Position(w.sealed.Load()); sealed > 0 {
		return max(min(w.last, sealed), chat.Position(w.marked.Load()))
	}
	return w.last
}

// markEvery is the least time between marks. For a sealed partition's the next
// epoch and gateways wait.
func (w *worker) markEvery() time.Duration {
	if w.sealed.Load() > 0 {
		return 0
	}
	return w.opt.MarkEvery
}
