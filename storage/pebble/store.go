package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Store is a storage.Store in a folder. Its methods are safe for concurrent
// use. After Close they return storage.ErrClosed.
type Store struct {
	// set once
	db     *pebble.DB
	health io.Closer // of the disk
	watch  *watch
	pairs  *pairs

	runLeast int // how many messages of a chat in a batch share a row, and entries of an inbox

	// guarded by mu: held shared by every call, so that Close waits for them
	mu     sync.RWMutex
	closed bool

	// keptFrom is the row of tableKept: messages older than this are gone for
	// every read, swept yet or not. Sweep raises it.
	keptFrom atomic.Int64

	applied sync.Map // partition → *atomic.Uint64, a chat.Position

	revocations atomic.Bool // there may be rows of tableRevoked

	// guarded by pushMu, which makes PutPushed one at a time
	pushMu sync.Mutex

	// guarded by keyMu, which makes changes of public keys one at a time
	keyMu sync.Mutex

	// guarded by sweepMu, which makes Sweep one at a time
	sweepMu   sync.Mutex
	sweepFrom []byte // inbox key at which the next call goes on; nil is the start
	round     round  // through the messages

	chatRows      atomic.Uint64
	sweptMessages atomic.Uint64
	sweptEntries  atomic.Uint64
}

var _ storage.Store = (*Store)(nil)

// Open opens the store in o.Dir, or makes one. The error is of Validate, of the
// folder (which another process may hold open) or of what is in it.
func Open(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	w := &watch{log: o.Logger}
	// Ours, as Pebble would not end its own where it fails to open.
	disk, health := vfs.WithDiskHealthChecks(ordered{o.FS}, slowDisk, nil, w.diskSlow)
	db, err := pebble.Open(o.Dir, o.pebbleOptions(disk, w))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("storage/pebble: open %s: %w", o.Dir, err), health.Close())
	}
	s := &Store{db: db, health: health, watch: w, pairs: newPairs(pairSlots), runLeast: runLeast}
	if err := errors.Join(s.checkFormat(), s.loadKept(), s.loadRevocations()); err != nil {
		return nil, errors.Join(fmt.Errorf("storage/pebble: open %s: %w", o.Dir, err), db.Close(), health.Close())
	}
	return s, nil
}

// format is the newest that is read and written here. 2 has runs and stretches;
// 1 had no row that says so, and is read as it is.
const format = 2

// ErrFormat says that a store was written by a later version of the program.
var ErrFormat = errors.New("storage/pebble: the store is of a later format")

// checkFormat refuses a store of a later format, and notes that this one is in
// it before there is a row that an earlier program would not see.
func (s *Store) checkFormat() error {
	has := uint64(1)
	if _, err := s.getUint64s([]byte{tableFormat}, &has); err != nil {
		return err
	}
	switch {
	case has > format:
		return fmt.Errorf("%w: it is %d, this program knows %d: start the program that wrote it, or a later one", ErrFormat, has, format)
	case has < format:
		return s.db.Set([]byte{tableFormat}, appendUint64s(nil, format), pebble.Sync)
	}
	return nil
}

// Close makes everything applied durable, waits for calls that are under way,
// and ends. A second Close returns storage.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.closed = true
	return errors.Join(s.sync(), s.db.Close(), s.health.Close())
}

// enter begins a call; leave ends it where enter returned nil.
func (s *Store) enter() error {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return storage.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.mu.RUnlock() }

// begin is enter, unless the context has ended.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.enter()
}

// Sync implements storage.Store.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.sync()
}

// sync appends an empty record to Pebble's log and waits for it: the log is one
// sequence, so everything before it is durable then.
func (s *Store) sync() error { return s.db.LogData(nil, pebble.Sync) }

// Mark implements storage.Store.
func (s *Store) Mark(ctx context.Context, partition int) (storage.Mark, error) {
	var m storage.Mark
	if err := s.begin(ctx); err != nil {
		return m, err
	}
	defer s.leave()
	_, err := s.get(appendMarkKey(nil, partition), func(row []byte) error {
		if len(row) < markRowBytes {
			return fmt.Errorf("%w: a mark of %d bytes", errCorrupt, len(row))
		}
		m.Log = [16]byte(row)
		m.Position = chat.Position(binary.BigEndian.Uint64(row[16:]))
		m.Owner = string(row[markRowBytes:])
		return nil
	})
	return m, err
}

// Applied implements storage.Store. What it says lives as long as the Store:
// after a start the owners go on from their marks.
func (s *Store) Applied(ctx context.Context, partition int) (chat.Position, error) {
	mark, err := s.Mark(ctx, partition)
	return max(mark.Position, chat.Position(s.appliedOf(partition).Load())), err
}

func (s *Store) appliedOf(partition int) *atomic.Uint64 {
	v, ok := s.applied.Load(partition)
	if !ok {
		v, _ = s.applied.LoadOrStore(partition, new(atomic.Uint64))
	}
	return v.(*atomic.Uint64)
}

// raise sets v to to, unless it is greater already.
func raise(v *atomic.Uint64, to uint64) {
	for old := v.Load(); old < to && !v.CompareAndSwap(old, to); old = v.Load() {
	}
}

// get calls f with the row of a key, which is lent until f returns. found is
// false, and f not called, when there is no row.
func (s *Store) get(key []byte, f func(row []byte) error) (found bool, err error) {
	row, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = f(row)
	return true, errors.Join(err, closer.Close())
}

// has reports whether there is a row.
func (s *Store) has(key []byte) (bool, error) {
	return s.get(key, func([]byte) error { return nil })
}

// getUint64s reads a row of numbers; they stay as they are where there is none.
func (s *Store) getUint64s(key []byte, vs ...*uint64) (found bool, err error) {
	return s.get(key, func(row []byte) error { return readUint64s(row, vs...) })
}

// ctxEvery is after how many rows a scan looks whether its context has ended.
const ctxEvery = 1024

// scan calls f with every row of lower <= key < upper, in order, until f
// returns false. What f is given is lent until it returns.
func (s *Store) scan(ctx context.Context, lower, upper []byte, f func(key, row []byte) (more bool, err error)) error {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	err = scanIter(ctx, it, f)
	return errors.Join(err, it.Close())
}

func scanIter(ctx context.Context, it *pebble.Iterator, f func(key, row []byte) (bool, error)) error {
	rows := 0
	for ok := it.First(); ok; ok = it.Next() {
		if rows++; rows%ctxEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := f(it.Key(), row); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// scanTables is scanUser over one table after the other, of one moment. It makes
// one iterator, which costs more than to read a few rows.
func (s *Store) scanTables(ctx context.Context, tables []byte, user chat.User, f func(table byte, rest, row []byte) error) error {
	it, err := s.db.NewIterWithContext(ctx, nil)
	if err != nil {
		return err
	}
	var prefix, end []byte
	for _, table := range tables {
		prefix = appendUserKey(prefix[:0], table, user)
		end = after(end[:0], prefix)
		it.SetBounds(prefix, end)
		err = scanIter(ctx, it, func(key, row []byte) (bool, error) {
			err := f(table, key[len(prefix):], row)
			return err == nil, err
		})
		if err != nil {
			break
		}
	}
	return errors.Join(err, it.Close())
}

// scanUser is scan over the rows of a user in a table; f gets the rest of the
// key after the user.
func (s *Store) scanUser(ctx context.Context, table byte, user chat.User, f func(rest, row []byte) error) error {
	prefix := appendUserKey(nil, table, user)
	return s.scan(ctx, prefix, after(nil, prefix), func(key, row []byte) (bool, error) {
		err := f(key[len(prefix):], row)
		return err == nil, err
	})
}
