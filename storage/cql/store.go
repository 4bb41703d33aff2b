package cql

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Store is a storage.Store in a keyspace. Its methods are safe for concurrent
// use, also by many processes. After Close they return storage.ErrClosed.
type Store struct {
	// set once
	opt   Options
	link  *link
	known *known

	recent recent

	// guarded by mu: held shared by every call, so that Close waits for them
	mu     sync.RWMutex
	closed bool

	swept   swept
	stop    context.CancelFunc
	stopped sync.WaitGroup // what runs beside

	writers sync.Pool
	stats   counters
}

var _ storage.Store = (*Store)(nil)

// Open opens the store. The error is of Validate, of the database, which does
// not answer or refuses, or of a schema that is not this program's.
func Open(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	l, err := connect(&o)
	if err != nil {
		return nil, err
	}
	s := &Store{opt: o, link: l, known: newKnown(knownSlots)}
	s.writers.New = func() any { return newWriter(s) }
	ctx, cancel := context.WithCancel(context.Background())
	if err := errors.Join(s.checkSchema(ctx), s.refreshSwept(ctx)); err != nil {
		cancel()
		l.close()
		return nil, err
	}
	s.stop = cancel
	s.stopped.Go(func() { s.link.watch(ctx) })
	s.stopped.Go(func() { s.watchSwept(ctx) })
	return s, nil
}

// Close waits for calls that are under way, and ends. A second Close returns
// storage.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.closed = true
	s.stop()
	s.stopped.Wait()
	s.link.close()
	return nil
}

// begin starts a call; leave ends it where begin returned nil.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return storage.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.mu.RUnlock() }

// Ping asks the database something small, to tell whether it answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.link.ping(ctx)
}

// Sync implements storage.Store. What a write was acknowledged for lies in the
// databases' commit logs, as durably as they are set to write them.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	s.leave()
	return nil
}

// Stats is a snapshot of the store's state. Names ending in Total count since
// the store was opened.
type Stats struct {
	NodesUp         int
	InFlight        int // requests under way
	InFlightMax     int
	RequestsTotal   uint64
	ErrorsTotal     uint64 // requests that failed, their retries too
	RowsTotal       uint64 // given to it to store
	BatchesTotal    uint64 // requests that stored more than one row
	ReconnectsTotal uint64 // sessions made anew because the driver's found no node any more
}

type counters struct {
	rows, batches atomic.Uint64
}

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	st := s.link.stats()
	st.RowsTotal, st.BatchesTotal = s.stats.rows.Load(), s.stats.batches.Load()
	return st
}

// Mark implements storage.Store.
func (s *Store) Mark(ctx context.Context, partition int) (storage.Mark, error) {
	var m storage.Mark
	if err := s.begin(ctx); err != nil {
		return m, err
	}
	defer s.leave()
	var log, owner []byte
	err := s.query(ctx, getMark, func(row scanner) error {
		return row(&log, &m.Position, &owner, new(int64))
	}, int32(partition))
	if err != nil {
		return storage.Mark{}, failed("mark", err)
	}
	copy(m.Log[:], log)
	m.Owner = string(owner)
	return m, nil
}

// Applied implements storage.Store.
func (s *Store) Applied(ctx context.Context, partition int) (chat.Position, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	var mark, applied chat.Position
	err := s.query(ctx, getApplied, func(row scanner) error { return row(&mark, &applied) }, int32(partition))
	if err != nil {
		return 0, failed("applied", err)
	}
	return max(mark, applied), nil
}

// scanner scans a row.
type scanner func(dst ...any) error

// query reads: f is called for each row, and scans it. What fails after a row is
// not begun again, as f has had that one.
func (s *Store) query(ctx context.Context, statement string, f func(row scanner) error, args ...any) error {
	return s.link.do(ctx, func(session *gocql.Session) error {
		q := session.QueryWithContext(ctx, statement, args...)
		defer q.Release()
		if sp := s.link.speculation(); sp != nil {
			q.SetSpeculativeExecutionPolicy(sp)
		}
		rows, n := q.Iter().Scanner(), 0
		for ; rows.Next(); n++ {
			if err := f(rows.Scan); err != nil {
				return errors.Join(err, rows.Err())
			}
		}
		err := rows.Err()
		if err != nil && n > 0 {
			err = fmt.Errorf("after %d rows: %v", n, err)
		}
		return err
	})
}

// write is one statement that stands alone.
func (s *Store) write(ctx context.Context, statement string, args ...any) error {
	return s.link.do(ctx, func(session *gocql.Session) error {
		q := session.QueryWithContext(ctx, statement, args...)
		defer q.Release()
		return q.Exec()
	})
}

// readers is how many requests one call has under way at once.
const readers = 16

// each calls f with 0 to n-1, some at once, and returns the first error.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	if n == 1 {
		return f(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var working sync.WaitGroup
	for range min(n, readers) {
		working.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	working.Wait()
	return context.Cause(ctx)
}

// failed says what was tried.
func failed(what string, err error) error { return fmt.Errorf("storage/cql: %s: %w", what, err) }
