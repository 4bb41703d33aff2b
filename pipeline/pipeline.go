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

// Log is a set of partitions, each an ordered sequence of records. The n-th
// record of a partition in an epoch has offset n, from 1.
type Log interface {
	// Identity is the log's own 16 random bytes, made when it was.
	Identity() [16]byte

	// Partitions is how many there are, fixed for the life of the log.
	Partitions() int

	// End is the position of the last durable record of a partition.
	End(partition int) chat.Position

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
	// reads on from where it was; the first Read says where that is. The
	// batch holds whole framed records, about maxBytes at most but at least
	// one record, and is valid until the next Read. It returns ErrGone when
	// records after the position are not there any more.
	Read(ctx context.Context, partition int, after chat.Position, maxBytes int) (Batch, error)

	// Release says that everything up to the position is applied by the owner:
	// its memory may be reused. Where durable is set the store has synced it
	// too, and the log may delete it from disk.
	Release(partition int, upTo chat.Position, durable bool)

	// Close makes what was queued durable, calls every done, and ends.
	Close() error
}

// Batch is a run of records of one partition with consecutive positions.
type Batch struct {
	First   chat.Position // of the first record
	Count   int
	Records []byte // framed
}

// ErrFull says that a partition takes no more now: the owner is behind or the
// disk is slow. Nothing of the batch was taken; try again later.
var ErrFull = errors.New("pipeline: full")

// ErrGone says that records after a position were deleted, having been released
// as durable: the reader's store has lost what it had (law 9).
var ErrGone = errors.New("pipeline: records after the position are gone")

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("pipeline: closed")
