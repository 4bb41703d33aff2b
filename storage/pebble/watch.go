package pebble

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Stats is a snapshot of the store's state. Names ending in Total count since
// the store was opened.
type Stats struct {
	Stalled            bool          // writes wait now
	StallsTotal        uint64        // how often writes had to wait
	StallTimeTotal     time.Duration // how long, without a stall that goes on
	SlowDisksTotal     uint64        // disk operations that took over 5 s
	ErrorsTotal        uint64        // errors of flushes and compactions
	DiskBytes          uint64        // all of the store's files
	CompactionDebt     uint64        // bytes to compact until the tree is in shape
	MemtableBytes      uint64
	CacheBytes         int64
	CacheHitsTotal     int64
	CacheMissesTotal   int64
	L0Sublevels        int32 // writes stall at 24
	ReadAmplification  int
	CompactionsTotal   int64
	FlushesTotal       int64
	LogBytesTotal      uint64 // written to Pebble's log
	ChatRowsTotal      uint64 // chat rows written, more than one a chat and user when the memory of pairs is short
	SweptMessagesTotal uint64 // the long-old end of a chat, which goes as one range, counts as one
	SweptEntriesTotal  uint64 // inbox rows
}

// Stats returns a snapshot, the zero Stats after Close. It takes Pebble's
// locks for some microseconds: for metrics, not for every message.
func (s *Store) Stats() Stats {
	if s.enter() != nil {
		return Stats{}
	}
	defer s.leave()
	m := s.db.Metrics()
	return Stats{
		Stalled:            s.Stalled(),
		StallsTotal:        s.watch.stalls.Load(),
		StallTimeTotal:     time.Duration(s.watch.stallNs.Load()),
		SlowDisksTotal:     s.watch.slow.Load(),
		ErrorsTotal:        s.watch.errors.Load(),
		DiskBytes:          m.DiskSpaceUsage(),
		CompactionDebt:     m.Compact.EstimatedDebt,
		MemtableBytes:      m.MemTable.Size,
		CacheBytes:         m.BlockCache.Size,
		CacheHitsTotal:     m.BlockCache.Hits,
		CacheMissesTotal:   m.BlockCache.Misses,
		L0Sublevels:        m.Levels[0].Sublevels,
		ReadAmplification:  m.ReadAmp(),
		CompactionsTotal:   m.Compact.Count,
		FlushesTotal:       m.Flush.Count,
		LogBytesTotal:      m.WAL.BytesWritten,
		ChatRowsTotal:      s.chatRows.Load(),
		SweptMessagesTotal: s.sweptMessages.Load(),
		SweptEntriesTotal:  s.sweptEntries.Load(),
	}
}

// Stalled reports whether writes wait now, because flushes or compactions are
// behind: Apply blocks meanwhile. It is one atomic load.
func (s *Store) Stalled() bool { return s.watch.stalledSince.Load() != 0 }

// watch counts what Pebble tells while it works.
type watch struct {
	log          *slog.Logger
	stalledSince atomic.Int64 // ns since 1970; 0 is not stalled
	stalls       atomic.Uint64
	stallNs      atomic.Int64
	slow         atomic.Uint64
	errors       atomic.Uint64
}

func (w *watch) listener() *pebble.EventListener {
	return &pebble.EventListener{
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			w.stalls.Add(1)
			w.stalledSince.Store(time.Now().UnixNano())
			w.log.Warn("store: writes stall", "reason", i.Reason)
		},
		WriteStallEnd: func() {
			took := time.Duration(time.Now().UnixNano() - w.stalledSince.Swap(0))
			w.stallNs.Add(int64(took))
			w.log.Info("store: writes go on", "stalled", took)
		},
		BackgroundError: func(err error) {
			w.errors.Add(1)
			w.log.Error("store: flush or compaction failed", "error", err)
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			w.log.Error("store: corrupt file", "path", i.Path, "error", i.Details)
		},
		LowDiskSpace: func(i pebble.LowDiskSpaceInfo) {
			w.log.Warn("store: disk is nearly full", "available_bytes", i.AvailBytes, "total_bytes", i.TotalBytes)
		},
	}
}

func (w *watch) diskSlow(i vfs.DiskSlowInfo) {
	w.slow.Add(1)
	w.log.Warn("store: slow disk", "operation", i.String())
}

// logger is Pebble's log in ours.
type logger struct{ log *slog.Logger }

func (l logger) Infof(format string, args ...any) {
	l.log.Debug("store: " + fmt.Sprintf(format, args...))
}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("store: " + fmt.Sprintf(format, args...))
}

// Fatalf ends the process, as Pebble asks: its log failed, and what is durable
// is no longer known.
func (l logger) Fatalf(format string, args ...any) {
	l.log.Error("store: fatal: " + fmt.Sprintf(format, args...))
	os.Exit(1)
}
