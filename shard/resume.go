package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// ErrGap is what a partition stops with when the log no longer holds what comes
// after the store's mark. Acknowledged messages are missing, and only an
// operator can say what to do about it.
var ErrGap = errors.New("shard: the log begins above what is stored")

// maxEpochs bounds the search for an epoch above the store's.
const maxEpochs = 1 << 16

// resume returns the mark from which each partition goes on, after law 9.
func resume(ctx context.Context, logger *slog.Logger, log Log, store Store) ([]storage.Mark, error) {
	marks := make([]storage.Mark, log.Partitions())
	var foreign []int
	var epoch uint16 // the highest of the foreign marks
	for p := range marks {
		mark, err := store.Mark(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("shard: read the mark of partition %d: %w", p, err)
		}
		switch {
		case mark.Log == [16]byte{}:
			mark = storage.Mark{Log: log.Identity()}
		case mark.Log != log.Identity():
			logger.Error("the store is of another log: what this log holds is skipped, a new epoch starts",
				"partition", p, "stored", mark.Position.String(), "log_end", log.End(p).String(),
				"store_log", fmt.Sprintf("%x", mark.Log), "log", fmt.Sprintf("%x", log.Identity()))
			foreign, epoch = append(foreign, p), max(epoch, mark.Position.Epoch())
		case mark.Position > log.End(p):
			logger.Error("the log ends below what is stored: it has lost its end, a new epoch starts",
				"partition", p, "stored", mark.Position.String(), "log_end", log.End(p).String())
			foreign, epoch = append(foreign, p), max(epoch, mark.Position.Epoch())
		}
		marks[p] = mark
	}
	if len(foreign) == 0 {
		return marks, nil
	}
	return marks, newEpoch(ctx, log, store, marks, foreign, epoch)
}

// newEpoch puts the log into an epoch above the given one, and the marks of the
// foreign partitions at its start.
func newEpoch(ctx context.Context, log Log, store Store, marks []storage.Mark, foreign []int, above uint16) error {
	for tries := 0; ; tries++ {
		if err := log.NewEpoch(); err != nil {
			return fmt.Errorf("shard: start a new epoch: %w", err)
		}
		if log.End(foreign[0]).Epoch() > above {
			break
		}
		if tries == maxEpochs {
			return fmt.Errorf("shard: the log does not come into an epoch above %d", above)
		}
	}
	for _, p := range foreign {
		marks[p].Log, marks[p].Position = log.Identity(), log.End(p)
		if err := store.Apply(ctx, &storage.Batch{Partition: p, Mark: marks[p]}); err != nil {
			return fmt.Errorf("shard: mark the new epoch of partition %d: %w", p, err)
		}
	}
	if err := store.Sync(ctx); err != nil {
		return fmt.Errorf("shard: sync the new epoch: %w", err)
	}
	return nil
}

// appendCopies encodes, for Mark.Owner, the places up to which the copies of
// each partition have been taken: 8 bytes a partition, little-endian.
func appendCopies(dst []byte, places []chat.Position) []byte {
	for _, p := range places {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(p))
	}
	return dst
}

// decodeCopies reads what appendCopies wrote. An empty string is a new mark.
func decodeCopies(owner string, places []chat.Position) error {
	if owner == "" {
		return nil
	}
	if len(owner) != 8*len(places) {
		return fmt.Errorf("shard: a mark carries %d bytes, %d partitions take %d", len(owner), len(places), 8*len(places))
	}
	b := []byte(owner)
	for i := range places {
		places[i] = chat.Position(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return nil
}
