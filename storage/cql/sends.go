package cql

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/internal/knownbug"
)

// group is rows of one partition that have not been sent yet.
type group struct {
	entries []gocql.BatchEntry
	bytes   int
}

// sends is the requests of one Apply. A few goroutines make them, as many as
// there is work for, up to the bound of the link.
type sends struct {
	ctx  context.Context
	s    *Store
	jobs chan []gocql.BatchEntry
	idle atomic.Int64 // goroutines that wait for a job
	n    int          // goroutines there are

	working sync.WaitGroup
	pending sync.WaitGroup
	err     atomic.Pointer[error]

	mu    sync.Mutex
	spare [][]gocql.BatchEntry // guarded by mu
}

// begin makes it ready for a batch.
func (q *sends) begin(ctx context.Context, s *Store) {
	q.ctx, q.s, q.n = ctx, s, 0
	q.idle.Store(0)
	q.jobs = make(chan []gocql.BatchEntry)
	q.err.Store(nil)
}

// rowOverhead is what a statement costs beside its values, about.
const rowOverhead = 64

// add puts a statement into a group, which is sent first where it would become
// too wide by it.
func (q *sends) add(g *group, statement string, args []any, size int) {
	size += rowOverhead
	if len(g.entries) > 0 && (len(g.entries) >= q.s.opt.BatchRows || g.bytes+size > q.s.opt.BatchBytes) {
		q.send(g)
	}
	if g.entries == nil {
		g.entries = q.memory()
	}
	g.entries = append(g.entries, gocql.BatchEntry{Stmt: statement, Args: args, Idempotent: true})
	g.bytes += size
}

// send hands a group's rows to a goroutine, and waits while all are busy.
func (q *sends) send(g *group) {
	rows := g.entries
	g.entries, g.bytes = nil, 0
	if len(rows) == 0 {
		return
	}
	q.pending.Add(1)
	if q.idle.Add(-1) >= 0 || q.n >= q.s.opt.InFlight {
		q.jobs <- rows
		return
	}
	q.idle.Add(1)
	q.n++
	q.working.Go(func() { q.work(rows) })
}

func (q *sends) work(rows []gocql.BatchEntry) {
	for ok := true; ok; rows, ok = <-q.jobs {
		if knownbug.On(knownbug.SlowRows) {
			time.Sleep(rand.N(200 * time.Millisecond))
		}
		if q.err.Load() == nil {
			if err := q.s.store(q.ctx, rows); err != nil {
				q.err.CompareAndSwap(nil, &err)
			}
		}
		q.keep(rows)
		q.idle.Add(1)
		q.pending.Done()
	}
}

// wait returns when all that was sent is stored, or the first error when
// nothing is under way any more.
func (q *sends) wait() error {
	q.pending.Wait()
	if err := q.err.Load(); err != nil {
		return *err
	}
	return nil
}

// release ends the goroutines.
func (q *sends) release() {
	q.pending.Wait()
	close(q.jobs)
	q.working.Wait()
	q.ctx = nil
}

// maxSpareRows bounds the memory that is kept for rows.
const maxSpareRows = 1024

func (q *sends) memory() []gocql.BatchEntry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.spare); n > 0 {
		rows := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return rows
	}
	return make([]gocql.BatchEntry, 0, 8)
}

func (q *sends) keep(rows []gocql.BatchEntry) {
	clear(rows)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.spare) < maxSpareRows {
		q.spare = append(q.spare, rows[:0])
	}
}

// store makes one request of rows of one partition.
func (s *Store) store(ctx context.Context, rows []gocql.BatchEntry) error {
	if len(rows) == 1 {
		return s.write(ctx, rows[0].Stmt, rows[0].Args...)
	}
	s.stats.batches.Add(1)
	return s.link.do(ctx, func(session *gocql.Session) error {
		b := session.BatchWithContext(ctx, gocql.UnloggedBatch)
		b.Entries = rows
		return session.ExecuteBatch(b)
	})
}
