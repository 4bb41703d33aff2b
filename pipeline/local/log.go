// Package local is the log in this process: one segmented write-ahead log for
// all partitions, with group commit. What is queued while one sync runs goes to
// the disk with the next. Records are served from memory, where they stay from
// TryAppend until their owner releases them; the disk is read only to recover.
//
// The directory holds META (the log's identity, partitions and epoch), LOCK, and
// segments of one size, NNNNNNNNNNNNNNNN.segment, which are written over and
// over. block.go has their layout.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// Errors of Open and of appends.
var (
	// ErrCorrupt says that the log on the disk is damaged in a way that a power
	// cut does not explain. Records may be lost, so it is not opened.
	ErrCorrupt = errors.New("local log: corrupt")

	// ErrLocked says that another process has the log open.
	ErrLocked = errors.New("local log: locked")

	// ErrTooLarge says that a batch is larger than Options.BlockBytes.
	ErrTooLarge = errors.New("local log: batch too large")

	// ErrBadBatch says that a batch is not as many framed records as it should be.
	ErrBadBatch = errors.New("local log: not a batch")

	// ErrFailed says that a write or a sync has failed before.
	ErrFailed = errors.New("local log: failed")
)

// entry is a batch on its way to the disk.
type entry struct {
	partition int
	count     int
	first     chat.Position
	batch     []byte
	done      func(first chat.Position, err error)
}

// Log implements pipeline.Log. Its methods are safe for concurrent use, but for
// Read, of which there is one at a time for each partition.
type Log struct {
	// Set once.
	o          Options
	fs         vfs.FS
	logger     *slog.Logger
	identity   [16]byte
	lock       io.Closer
	partitions []*partition
	replayed   []segment // what was on the disk at Open, for those who read it

	mu          sync.Mutex // the queue
	queue       []entry
	queuedBytes int64
	refusing    bool          // nothing is taken in any more
	closing     chan struct{} // closed with refusing

	committer committer
	wake      chan struct{} // the committer should look at the queue
	prepared  chan preparedSegment

	retention retention

	epochMu sync.Mutex // of META
	epoch   atomic.Uint32

	failed    atomic.Pointer[error]
	closed    chan struct{} // Close has made durable what was queued
	closeOnce sync.Once
	closeErr  error
	quit      chan struct{} // no segment is needed any more
	workers   sync.WaitGroup
	stats     counters
}

var _ pipeline.Log = (*Log)(nil)

// Open opens the log in a directory, or makes one. It reads all of the log,
// checks it, cuts a torn tail off, and syncs what it is going to serve.
func Open(o Options) (*Log, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if o.FS == vfs.Default {
		// The lock is by name within a process.
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, fmt.Errorf("local log: %w", err)
		}
		o.Dir = dir
	}
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("local log: %w", err)
	}
	lock, err := o.FS.Lock(o.FS.PathJoin(o.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%w: another process has %s open: %w", ErrLocked, o.Dir, err)
	}
	l, err := open(o, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

func open(o Options, lock io.Closer) (*Log, error) {
	segs, err := listSegments(o.FS, o.Dir)
	fail := func(err error) (*Log, error) {
		for _, s := range segs {
			err = errors.Join(err, s.file.Close())
		}
		return nil, err
	}
	if err != nil {
		return fail(err)
	}
	m, err := openMeta(o, len(segs) > 0)
	if err != nil {
		return fail(err)
	}
	r := recovery{meta: m}
	full, empty, err := r.run(segs)
	if err != nil {
		return fail(err)
	}
	if empty, err = dropOddSizes(o, empty); err != nil {
		return fail(err)
	}
	if err := syncDir(o.FS, o.Dir); err != nil {
		return fail(err)
	}
	return start(o, lock, &r, full, empty), nil
}

// openMeta reads META, or writes that of a new log.
func openMeta(o Options, segments bool) (meta, error) {
	m, found, err := readMeta(o.FS, o.Dir)
	switch {
	case err != nil:
		return m, err
	case !found && segments:
		return m, fmt.Errorf("%w: %s has segments but no %s", ErrCorrupt, o.Dir, metaName)
	case found && o.Partitions != 0 && o.Partitions != m.partitions:
		return m, fmt.Errorf("local log: %s has %d partitions, asked for are %d; the number cannot be changed", o.Dir, m.partitions, o.Partitions)
	case found:
		return m, nil
	}
	setDefault(&o.Partitions, 8)
	m.partitions = o.Partitions
	rand.Read(m.identity[:])
	return m, writeMeta(o.FS, o.Dir, m)
}

func start(o Options, lock io.Closer, r *recovery, full, empty []*segment) *Log {
	l := &Log{
		o: o, fs: o.FS, logger: o.Logger, identity: r.meta.identity, lock: lock,
		wake:     make(chan struct{}, 1),
		prepared: make(chan preparedSegment),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
		quit:     make(chan struct{}),
	}
	l.epoch.Store(uint32(r.meta.epoch))
	for _, s := range full {
		l.replayed = append(l.replayed, *s)
	}
	for i := range r.meta.partitions {
		l.partitions = append(l.partitions, newPartition(r.starts[i], r.ends[i]))
	}
	l.retention.start(l, full, empty)
	l.committer.start(l, r, full)
	l.workers.Add(2)
	go l.commitLoop()
	go l.prepareLoop()
	return l
}

// Identity implements pipeline.Log.
func (l *Log) Identity() [16]byte { return l.identity }

// Key implements pipeline.Log.
func (l *Log) Key() [16]byte { return l.identity }

// Partitions implements pipeline.Log.
func (l *Log) Partitions() int { return len(l.partitions) }

// MaxRecords implements pipeline.Log: a batch is bounded by its bytes alone.
func (l *Log) MaxRecords() int { return math.MaxInt }

// End implements pipeline.Log. It is known as soon as Open returns.
func (l *Log) End(partition int) chat.Position {
	return chat.Position(l.partitions[partition].end.Load())
}

// Epoch is the epoch of the records that are appended now.
func (l *Log) Epoch() uint16 { return uint16(l.epoch.Load()) }

// RaiseEpoch makes the epoch of all partitions greater than above, durably
// before it returns, and does nothing when it is so already. An owner whose
// store is ahead of the log's end, or is of another log, calls it with the
// epoch of the store's position before anything is appended; else positions
// that were shown already would be given a second time.
func (l *Log) RaiseEpoch(above uint16) error {
	l.epochMu.Lock()
	defer l.epochMu.Unlock()
	if l.Epoch() > above {
		return nil
	}
	if above == 1<<16-1 {
		return fmt.Errorf("local log: no epoch is left above %d", above)
	}
	m := meta{identity: l.identity, partitions: len(l.partitions), epoch: above + 1}
	if err := writeMeta(l.fs, l.o.Dir, m); err != nil {
		return fmt.Errorf("local log: %w", err)
	}
	l.logger.Warn("the log starts a new epoch", "dir", l.o.Dir, "epoch", m.epoch)
	l.epoch.Store(uint32(m.epoch))
	return nil
}

// TryAppend implements pipeline.Log. Besides ErrFull and ErrClosed it returns
// ErrTooLarge, ErrBadBatch and ErrFailed.
func (l *Log) TryAppend(partition int, batch []byte, count int, done func(first chat.Position, err error)) error {
	return l.enqueue(partition, batch, count, done, true)
}

// Append implements pipeline.Log. Errors are those of TryAppend but ErrFull.
func (l *Log) Append(partition int, batch []byte, count int, done func(first chat.Position, err error)) error {
	return l.enqueue(partition, batch, count, done, false)
}

func (l *Log) enqueue(partition int, batch []byte, count int, done func(chat.Position, error), bounded bool) error {
	if len(batch) > l.o.BlockBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(batch), l.o.BlockBytes)
	}
	if count < 1 || !framed(batch, count) {
		return fmt.Errorf("%w: %d bytes are not %d framed records", ErrBadBatch, len(batch), count)
	}
	p, size := l.partitions[partition], int64(len(batch))
	l.mu.Lock()
	if l.refusing {
		l.mu.Unlock()
		return l.refusal()
	}
	if bounded && (over(l.queuedBytes, size, l.o.QueueBytes) || over(p.heldBytes.Load(), size, l.o.PartitionBytes)) {
		l.mu.Unlock()
		l.stats.full.Add(1)
		return pipeline.ErrFull
	}
	l.queue = append(l.queue, entry{partition: partition, count: count, batch: batch, done: done})
	before := l.queuedBytes
	l.queuedBytes += size
	p.heldBytes.Add(size)
	l.mu.Unlock()
	if before == 0 || before < lingerBytes && before+size >= lingerBytes {
		signal(l.wake)
	}
	return nil
}

// over reports whether size more do not fit. Something always fits in nothing.
func over(held, size, bound int64) bool { return held > 0 && held+size > bound }

func (l *Log) refusal() error {
	if err := l.failed.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *err)
	}
	return pipeline.ErrClosed
}

// signal wakes who waits on c, or lets it see that it need not wait.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Read implements pipeline.Log. It returns ErrGone when records after the
// position were deleted, ErrClosed after Close.
func (l *Log) Read(ctx context.Context, partition int, after chat.Position, maxBytes int) (pipeline.Batch, error) {
	return l.partitions[partition].read(ctx, l, partition, after, maxBytes)
}

// Release implements pipeline.Log. A segment is reused or deleted when the
// owners of all partitions have released all of it as durable; so every owner
// releases at its start what its store has.
func (l *Log) Release(partition int, upTo chat.Position, durable bool) {
	l.partitions[partition].release(upTo)
	if durable {
		l.retention.release(partition, upTo)
	}
}

// DeadLetter implements pipeline.Log.
func (l *Log) DeadLetter(int, chat.Position, string, []byte) {}

// Own implements pipeline.Log: all partitions are this process's, as it has the
// folder locked.
func (l *Log) Own(ctx context.Context, owner pipeline.Owner) error {
	all := make([]int, len(l.partitions))
	for p := range all {
		all[p] = p
	}
	return owner.Gain(ctx, all)
}

// Close implements pipeline.Log. When the disk is full, and a new segment would
// be needed for what is queued, that gets an error.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.refuse()
		signal(l.wake)
		l.workers.Wait()
		close(l.closed)
		if l.failed.Load() != nil {
			l.closeErr = l.refusal()
		}
		l.closeErr = errors.Join(l.closeErr, l.retention.close(), l.lock.Close())
	})
	return l.closeErr
}

// fail ends the log: what is on the disk is not known any more.
func (l *Log) fail(err error) {
	if !l.failed.CompareAndSwap(nil, &err) {
		return
	}
	l.refuse()
	signal(l.wake)
	l.o.Fatal(err)
}

// refuse takes nothing in any more.
func (l *Log) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.refusing {
		l.refusing = true
		close(l.closing)
	}
}

// now is the clock of the statistics.
var now = time.Now
