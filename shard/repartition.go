package shard

import (
	"context"
	"errors"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Move is the users that a change of the number of partitions takes from one
// partition to another.
type Move struct {
	From, To int
	Share    float64 // of all users
}

// Moves says which users move where. A partition owns a range of hashes, so it
// is exact but for the luck of the hash.
func Moves(from, to int) (moves []Move) {
	for p, q := 0, 0; p < from && q < to; {
		end := min((p+1)*to, (q+1)*from)
		begin := max(p*to, q*from)
		moves = append(moves, Move{From: p, To: q, Share: float64(end-begin) / float64(from*to)})
		if (p+1)*to == end {
			p++
		}
		if (q+1)*from == end {
			q++
		}
	}
	return moves
}

// ErrNotApplied says that the log still holds what no owner has stored.
var ErrNotApplied = errors.New("shard: the log is not applied to its end")

// Ended checks that everything in a log is stored and marked, and returns the
// newest of all ids. Nobody may append any more.
func Ended(ctx context.Context, log Log, store Store) (newest uint64, err error) {
	for p := range log.Partitions() {
		mark, err := store.Mark(ctx, p)
		if err != nil {
			return 0, fmt.Errorf("shard: read the mark of partition %d: %w", p, err)
		}
		if end := log.End(p); end.Offset() > 0 && (mark.Log != log.Identity() || mark.Position != end) {
			return 0, fmt.Errorf("%w: partition %d is stored up to %v, its log ends at %v", ErrNotApplied, p, mark.Position, end)
		}
		var id uint64
		if err := decodeOwner(mark.Owner, &id, make([]chat.Position, log.Partitions())); err != nil {
			return 0, err
		}
		newest = max(newest, id)
	}
	return newest, nil
}

// Begin puts the marks at the start of a log of a new epoch (law 16): its owners
// go on from there. newest is from Ended of the log before. It may be repeated
// until the new log has a record.
func Begin(ctx context.Context, log Log, epoch uint16, newest uint64, store Store) error {
	for p := range log.Partitions() {
		at := chat.NewPosition(epoch, 0)
		mark := storage.Mark{
			Log: log.Identity(), Position: at,
			Owner: string(appendOwner(nil, newest, make([]chat.Position, log.Partitions()))),
		}
		if err := store.Apply(ctx, &storage.Batch{Partition: p, Applied: at, Mark: mark}); err != nil {
			return fmt.Errorf("shard: mark the start of partition %d: %w", p, err)
		}
	}
	return store.Sync(ctx)
}
