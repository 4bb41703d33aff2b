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

// resume returns the marks from which partitions go on, after law 9.
func resume(ctx context.Context, logger *slog.Logger, log Log, store Store, partitions []int) ([]storage.Mark, error) {
	marks := make([]storage.Mark, len(partitions))
	var foreign []int // those that have to go on in a new epoch, as indexes of marks
	var above uint16  // which is above this one
	for i, p := range partitions {
		mark, err := store.Mark(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("shard: read the mark of partition %d: %w", p, err)
		}
		if mark.Log == [16]byte{} {
			mark.Log = log.Identity()
		}
		if why := fault(mark, log, p); why != "" {
			logger.Error(why+": a new epoch starts", "partition", p,
				"stored", mark.Position.String(), "log_end", log.End(p).String(),
				"store_log", fmt.Sprintf("%x", mark.Log), "log", fmt.Sprintf("%x", log.Identity()))
			foreign = append(foreign, i)
			above = max(above, mark.Position.Epoch(), log.End(p).Epoch())
		} else if mark.Position > log.End(p) { // the start of an epoch that has no record yet
			if err := log.RaiseEpoch(mark.Position.Epoch() - 1); err != nil {
				return nil, fmt.Errorf("shard: raise the epoch: %w", err)
			}
		}
		marks[i] = mark
	}
	if len(foreign) == 0 {
		return marks, nil
	}
	return marks, newEpoch(ctx, log, store, partitions, marks, foreign, above)
}

// fault says why the partition cannot go on in the log's epoch, "" if it can.
func fault(mark storage.Mark, log Log, p int) string {
	end := log.End(p)
	switch {
	case mark.Log != log.Identity():
		return "the store is of another log, and what this log holds is skipped"
	case mark.Position > end && mark.Position.Offset() > 0:
		return "the log ends below what is stored, so it has lost its end"
	}
	return ""
}

// newEpoch puts the log into an epoch above the given one, and the marks of the
// foreign partitions at its start.
func newEpoch(ctx context.Context, log Log, store Store, partitions []int, marks []storage.Mark, foreign []int, above uint16) error {
	if err := log.RaiseEpoch(above); err != nil {
		return fmt.Errorf("shard: start a new epoch: %w", err)
	}
	for _, i := range foreign {
		marks[i].Log, marks[i].Position = log.Identity(), chat.NewPosition(above+1, 0)
		if err := store.Apply(ctx, &storage.Batch{Partition: partitions[i], Mark: marks[i]}); err != nil {
			return fmt.Errorf("shard: mark the new epoch of partition %d: %w", partitions[i], err)
		}
	}
	if err := store.Sync(ctx); err != nil {
		return fmt.Errorf("shard: sync the new epoch: %w", err)
	}
	return nil
}

// appendOwner encodes, for Mark.Owner, the newest of all stored ids and the
// places up to which the copies of each partition have been taken: 8 bytes
// each, little-endian.
func appendOwner(dst []byte, newest uint64, copies []chat.Position) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, newest)
	for _, p := range copies {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(p))
	}
	return dst
}

// decodeOwner reads what appendOwner wrote. An empty string is a new mark.
func decodeOwner(owner string, newest *uint64, copies []chat.Position) error {
	if owner == "" {
		return nil
	}
	if want := 8 * (1 + len(copies)); len(owner) != want {
		return fmt.Errorf("shard: a mark carries %d bytes, %d partitions take %d", len(owner), len(copies), want)
	}
	b := []byte(owner)
	*newest = binary.LittleEndian.Uint64(b)
	for i := range copies {
		copies[i] = chat.Position(binary.LittleEndian.Uint64(b[8*(i+1):]))
	}
	return nil
}
