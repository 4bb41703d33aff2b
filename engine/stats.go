package engine

import "sync/atomic"

// Stats is a snapshot of an engine's counters since it started.
type Stats struct {
	Accepted    uint64 // connections given to the handler
	Rejected    uint64 // connections closed at once: MaxConns, AcceptPerSecond, StopAccepting
	Closed      uint64 // connections that have ended
	Slow        uint64 // of these, closed with ErrSlow
	Panics      uint64 // calls of the handler that panicked
	Reads       uint64 // calls of Handler.Data, and reads thrown away while closing
	Writes      uint64 // write system calls, but for those of unsent output
	BytesIn     uint64
	BytesOut    uint64 // written or queued behind unsent output
	Turns       uint64
	Posts       uint64 // functions posted and run
	Open        int64  // connections now
	Blocked     int64  // of these, with unsent output
	UnsentBytes int64  // of all of them
	MaxConns    int64  // the limit in force
}

// loopStats is written by one loop and read by all.
type loopStats struct {
	accepted, rejected, closed, slow, panics atomic.Uint64
	reads, writes, bytesIn, bytesOut         atomic.Uint64
	turns, posts                             atomic.Uint64
	_                                        [64]byte // the next loop's have a cache line of their own
}

// Stats sums up the counters of all loops.
func (e *Engine) Stats() Stats {
	s := Stats{
		Open:        e.open.Load(),
		Blocked:     e.blocked.Load(),
		UnsentBytes: e.unsentBytes.Load(),
		MaxConns:    int64(e.opts.MaxConns),
	}
	for _, l := range e.loops {
		s.Accepted += l.stats.accepted.Load()
		s.Rejected += l.stats.rejected.Load()
		s.Closed += l.stats.closed.Load()
		s.Slow += l.stats.slow.Load()
		s.Panics += l.stats.panics.Load()
		s.Reads += l.stats.reads.Load()
		s.Writes += l.stats.writes.Load()
		s.BytesIn += l.stats.bytesIn.Load()
		s.BytesOut += l.stats.bytesOut.Load()
		s.Turns += l.stats.turns.Load()
		s.Posts += l.stats.posts.Load()
	}
	return s
}
