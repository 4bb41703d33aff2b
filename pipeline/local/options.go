package local

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Limits of Options.
const (
	MaxPartitions   = 1024
	MinSegmentBytes = 64 << 10
	MaxBlockBytes   = 256 << 20
)

// ExitDisk is the code with which the process ends when a write or a sync of
// the log fails and Options.Fatal is not set (EX_IOERR of sysexits.h).
const ExitDisk = 74

// Options of a log. The zero value of every field but Dir is its default.
type Options struct {
	// Dir holds the log and nothing else. It is made when it is missing.
	Dir string

	// Partitions is fixed when the log is made (default 8, at most
	// MaxPartitions). A log that exists must have as many; 0 takes what it has.
	Partitions int

	// SegmentBytes is the size of a segment's file, all of it taken from the
	// disk when it is made (default 64 MiB).
	SegmentBytes int64

	// BlockBytes bounds one batch, and the batches written with one sync
	// (default 4 MiB). A segment holds at least one block.
	BlockBytes int

	// PartitionBytes bounds the records of a partition that are in memory,
	// from TryAppend to Release (default 64 MiB).
	PartitionBytes int64

	// QueueBytes bounds the records of all partitions that are not durable
	// yet (default 32 MiB).
	QueueBytes int64

	// Linger is how long, under load, a commit may wait to become larger
	// (default 1 ms; negative never waits). With no load none waits.
	Linger time.Duration

	// Every is the least time between two commits, unless 256 KiB wait (default
	// 0: only Linger bounds them). What is appended takes up to that much longer,
	// and a log that gets little commits, syncs and wakes its readers less often.
	Every time.Duration

	// SpareSegments is how many segments that nobody needs any more are kept
	// for reuse (default 2): to write over a file is several times as fast as
	// to extend one.
	SpareSegments int

	// FS is the filesystem (default: the operating system's).
	FS vfs.FS

	// Logger gets what an operator should know (default slog.Default()).
	Logger *slog.Logger

	// Fatal is called once, when a write or a sync has failed: what is on the
	// disk is not known then, and only recovery can tell. It should end the
	// process, as the default does with ExitDisk. When it returns, the log
	// refuses everything, and what was in flight gets the error.
	Fatal func(error)
}

func (o Options) withDefaults() Options {
	setDefault(&o.SegmentBytes, 64<<20)
	setDefault(&o.BlockBytes, 4<<20)
	setDefault(&o.PartitionBytes, 64<<20)
	setDefault(&o.QueueBytes, 32<<20)
	setDefault(&o.Linger, time.Millisecond)
	setDefault(&o.SpareSegments, 2)
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		o.Fatal = endProcess(o.Logger)
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func endProcess(logger *slog.Logger) func(error) {
	return func(err error) {
		logger.Error("the log cannot be written, the process ends", "error", err)
		os.Exit(ExitDisk)
	}
}

// Validate reports all that is wrong with the options together.
func (o Options) Validate() error {
	o = o.withDefaults()
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("local log: "+format, args...))
		}
	}
	check(o.Dir != "", "Dir is empty")
	check(o.Partitions >= 0 && o.Partitions <= MaxPartitions, "Partitions is %d, not 0 to %d", o.Partitions, MaxPartitions)
	check(o.SegmentBytes >= MinSegmentBytes, "SegmentBytes is %d, less than %d", o.SegmentBytes, MinSegmentBytes)
	check(o.BlockBytes > 0 && o.BlockBytes <= MaxBlockBytes, "BlockBytes is %d, not 1 to %d", o.BlockBytes, MaxBlockBytes)
	check(maxBlockOnDisk(o.BlockBytes, o.Partitions) <= o.SegmentBytes,
		"a block of BlockBytes %d does not fit in SegmentBytes %d", o.BlockBytes, o.SegmentBytes)
	check(o.PartitionBytes > 0, "PartitionBytes is %d", o.PartitionBytes)
	check(o.QueueBytes > 0, "QueueBytes is %d", o.QueueBytes)
	check(o.Every >= 0, "Every is %v", o.Every)
	check(o.SpareSegments >= 0, "SpareSegments is %d", o.SpareSegments)
	return errors.Join(faults...)
}
