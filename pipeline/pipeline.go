// Package pipeline is the log: it makes ordered batches of records durable and
// hands them to the owner of their partition. What is appended is acknowledged
// only when it survives a power cut (the product's first promise).
//
// Two implementations stand behind Log: pipeline/local, a segmented write-ahead
// log in this process, and pipeline/kafka. Records are opaque here; batches are
// framed as internal/record says: a 4-byte little-endian length before each.
package pipeline

import (
	"context"
	"errors"

	"github.com/rookery-chat/rookery/chat"
)

// Log is a set of partitions, each an ordered sequence of records. Their
// positions rise; those of a batch follow one another. In pipeline/local the
// n-th record of a partition in an epoch has offset n, from 1; other logs may
// leave gaps between batches.
type Log interface {
	// Identity is the log's own 16 random bytes, made when it was.
	Identity() [16]byte

	// Key is 16 bytes that users do not know. It is the same in all processes and
	// stays when the log gets other partitions: what users' places are made of.
	Key() [16]byte

	// Partitions is how many there are, fixed for the life of the log.
	Partitions() int

	// End is the position of the last durable record of a partition.
	End(partition int) chat.Position

	// MaxRecords is how many records one append may have, at least 256.
	MaxRecords() int

	// TryAppend queues count framed records for a partition and returns at
	// once. It never blocks. It returns ErrFull, and done is not called, when
	// the partition's records that its owner has not released are over their
	// bound or the log cannot keep up. Else done is called exactly once, on a
	// goroutine of the log: with the position of the first of the records when
	// all are durable (they have consecutive positions), or with an error when
	// their outcome is not known. The log owns batch until then. done must not
	// block. Batches of one partition become durable in the order of the calls.
	TryAppend(partition int, batch []byte, count int, done func(first chat.Position, err error)) error

	// Append is TryAppend for owners' derived records: it is exempt from the
	// bound, so that an owner that appends while it drains cannot deadlock.
	Append(partition int, batch []byte, count int, done func(first chat.Position, err error)) error

	// Read returns the next durable records of a partition after a position,
	// waiting for some if there are none. A partition has one reader, and it
	// reads on from where it was; the first Read since it was gained says where
	// that is. The batch holds whole framed records, about maxBytes at most but at least
	// one record, and is valid until the next Read. It returns ErrGone when
	// records after the position are not there any more.
	Read(ctx context.Context, partition int, after chat.Position, maxBytes int) (Batch, error)

	// Release says that everything up to the position is applied by the owner:
	// its memory may be reused. Where durable is set the store has synced it
	// too, and the log may delete it from disk.
	Release(partition int, upTo chat.Position, durable bool)

	// DeadLetter keeps a record that its owner cannot decode, and why, where an
	// operator finds it. It does not block; what cannot be kept is counted. In
	// pipeline/local it does nothing: the record stays in the log's file until
	// that is deleted.
	DeadLetter(partition int, at chat.Position, reason string, record []byte)

	// Own tells owner which partitions this process owns, from now on until ctx
	// ends; then it has lost all. Where no other process may own any, it gains
	// all before Own returns, and an error of Gain is returned.
	Own(ctx context.Context, owner Owner) error

	// Close makes what was queued durable, calls every done, and ends.
	Close() error
}

// Owner is told which partitions a process owns. Of two processes each may
// think for a while that a partition is its own: what an owner does has to be
// harmless when it is repeated (law 3).
type Owner interface {
	// Gain takes partitions over. On an error none of them was; the log calls
	// again later, unless they are lost meanwhile.
	Gain(ctx context.Context, partitions []int) error

	// Lose gives partitions up and returns when nothing of theirs is under way.
	Lose(partitions []int)
}

// Batch is a run of records of one partition. Their positions follow one
// another, but for jumps.
type Batch struct {
	First   chat.Position // of the first record
	Count   int
	Records []byte // framed
	Jumps   []Jump // in order; mostly none
}

// Jump says that record At of a batch, counted from 0, has position To, above
// the one that would follow.
type Jump struct {
	At int
	To chat.Position
}

// Last is the position of the last record.
func (b *Batch) Last() chat.Position {
	if n := len(b.Jumps); n > 0 {
		return b.Jumps[n-1].To + chat.Position(b.Count-b.Jumps[n-1].At-1)
	}
	return b.First + chat.Position(b.Count-1)
}

// ErrFull says that a partition takes no more now: the owner is behind or the
// disk is slow. Nothing of the batch was taken; try again later.
var ErrFull = errors.New("pipeline: full")

// ErrTooMany says that a batch has more records than MaxRecords.
var ErrTooMany = errors.New("pipeline: too many records in a batch")

// ErrGone says that records after a position were deleted, having been released
// as durable: the reader's store has lost what it had (law 9).
var ErrGone = errors.New("pipeline: records after the position are gone")

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("pipeline: closed")
