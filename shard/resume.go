package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"

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
		o := owned{copies: make([]chat.Position, log.Partitions())}
		if err := o.decode(marks[i].Owner); err != nil {
			return fmt.Errorf("%w; partition %d", err, partitions[i])
		}
		marks[i].Log, marks[i].Position = log.Identity(), chat.NewPosition(above+1, 0)
		if o.sealed > 0 || o.blockers != nil { // the seal was the other log's, and the hashes may have been
			o.sealed = 0
			o.blockers.fill()
			marks[i].Owner = string(o.append(nil))
		}
		if err := store.Apply(ctx, &storage.Batch{Partition: partitions[i], Mark: marks[i]}); err != nil {
			return fmt.Errorf("shard: mark the new epoch of partition %d: %w", partitions[i], err)
		}
	}
	if err := store.Sync(ctx); err != nil {
		return fmt.Errorf("shard: sync the new epoch: %w", err)
	}
	return nil
}

// owned is what an owner has to remember as of its mark. Mark.Owner has it as 8
// bytes each, little-endian: the newest id, the copies, and where there is
// anything of them who may have blocked somebody, the seal and the forwards. A
// program that does not know one of these refuses a mark that has it: it would
// apply what is to be forwarded, or deliver what is not to be seen.
type owned struct {
	newest   uint64          // of all stored ids
	copies   []chat.Position // how far those of each partition have been taken
	blockers blockers        // who may have blocked somebody
	sealed   chat.Position   // where the partition was
	forwards []chat.Position // how far what each partition of the epoch before forwards was taken
}

// blockersFollow is before the words of blockers; see epochsFollow.
const blockersFollow = math.MaxUint64 - 1

// epochsFollow is before the seal: no position, so that a mark for more
// partitions is not taken for one.
const epochsFollow = math.MaxUint64

func (w *worker) appendOwner(dst []byte) []byte {
	o := owned{w.newest, w.copies, w.blockers, chat.Position(w.sealed.Load()), w.forwards}
	return o.append(dst)
}

func (o *owned) append(dst []byte) []byte {
	dst = appendPositions(binary.LittleEndian.AppendUint64(dst, o.newest), o.copies)
	if o.blockers != nil {
		dst = binary.LittleEndian.AppendUint64(dst, blockersFollow)
		for _, word := range o.blockers {
			dst = binary.LittleEndian.AppendUint64(dst, word)
		}
	}
	if o.sealed == 0 && len(o.forwards) == 0 {
		return dst
	}
	dst = binary.LittleEndian.AppendUint64(dst, epochsFollow)
	return appendPositions(binary.LittleEndian.AppendUint64(dst, uint64(o.sealed)), o.forwards)
}

func appendPositions(dst []byte, positions []chat.Position) []byte {
	for _, p := range positions {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(p))
	}
	return dst
}

// decode reads what append wrote; copies has its length before. An empty string
// is a new mark.
func (o *owned) decode(owner string) error {
	if owner == "" {
		return nil
	}
	least := 8 * (1 + len(o.copies))
	if len(owner) < least || len(owner)%8 != 0 {
		return fmt.Errorf("shard: a mark carries %d bytes, %d partitions take %d", len(owner), len(o.copies), least)
	}
	b := []byte(owner)
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	o.newest = at(0)
	for i := range o.copies {
		o.copies[i] = chat.Position(at(1 + i))
	}
	first := 1 + len(o.copies)
	if n := least + 8*(1+blockersWords); len(owner) >= n && at(first) == blockersFollow {
		for i := range blockersWords {
			o.blockers = append(o.blockers, at(first+1+i))
		}
		first, least = first+1+blockersWords, n
	}
	if len(owner) == least {
		return nil
	}
	if len(owner) == least+8 || at(first) != epochsFollow {
		return fmt.Errorf("shard: a mark carries %d bytes, %d partitions take %d", len(owner), len(o.copies), least)
	}
	o.sealed = chat.Position(at(first + 1))
	for i := first + 2; i < len(owner)/8; i++ {
		o.forwards = append(o.forwards, chat.Position(at(i)))
	}
	return nil
}
