package local

import (
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// SyncBuckets are the upper bounds of Stats.SyncCounts, which has one count
// more, for what took longer than the last.
var SyncBuckets = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second,
}

// Stats is a snapshot of a log's counters, since Open, and of its gauges.
type Stats struct {
	Records       uint64                       // made durable
	RecordBytes   uint64                       // of those records
	DiskBytes     uint64                       // written for them
	Syncs         uint64                       // commits: one write and one sync each
	SyncTime      time.Duration                // sum over all commits
	SyncCounts    [len(SyncBuckets) + 1]uint64 // commits by time, not cumulative
	Full          uint64                       // batches refused with ErrFull
	Recycled      uint64                       // segments written over
	Deleted       uint64                       // segments deleted
	PrepareErrors uint64                       // failures to make a segment

	Epoch         uint16
	Segments      int   // on the disk, the prepared one left out
	IdleSegments  int   // of those, not needed any more
	QueueBytes    int64 // records that are not durable yet
	QueueBatches  int
	PartitionHeld []int64         // by partition, bytes of records in memory
	PartitionEnds []chat.Position // by partition
}

type counters struct {
	records, recordBytes, diskBytes, syncs, syncNs atomic.Uint64
	syncCounts                                     [len(SyncBuckets) + 1]atomic.Uint64
	full, recycled, deleted, prepareErrors         atomic.Uint64
}

func (c *counters) committed(records, recordBytes, diskBytes int, took time.Duration) {
	c.records.Add(uint64(records))
	c.recordBytes.Add(uint64(recordBytes))
	c.diskBytes.Add(uint64(diskBytes))
	c.syncs.Add(1)
	c.syncNs.Add(uint64(took))
	i := 0
	for i < len(SyncBuckets) && took > SyncBuckets[i] {
		i++
	}
	c.syncCounts[i].Add(1)
}

// Stats returns a snapshot. It may be called at any time, also after Close.
func (l *Log) Stats() Stats {
	c := &l.stats
	s := Stats{
		Records: c.records.Load(), RecordBytes: c.recordBytes.Load(), DiskBytes: c.diskBytes.Load(),
		Syncs: c.syncs.Load(), SyncTime: time.Duration(c.syncNs.Load()), Full: c.full.Load(),
		Recycled: c.recycled.Load(), Deleted: c.deleted.Load(), PrepareErrors: c.prepareErrors.Load(),
		Epoch: l.Epoch(),
	}
	for i := range s.SyncCounts {
		s.SyncCounts[i] = c.syncCounts[i].Load()
	}
	for _, p := range l.partitions {
		s.PartitionHeld = append(s.PartitionHeld, p.heldBytes.Load())
		s.PartitionEnds = append(s.PartitionEnds, chat.Position(p.end.Load()))
	}
	l.mu.Lock()
	s.QueueBytes, s.QueueBatches = l.queuedBytes, len(l.queue)
	l.mu.Unlock()
	l.retention.mu.Lock()
	s.Segments, s.IdleSegments = len(l.retention.segs), l.retention.idle()
	l.retention.mu.Unlock()
	return s
}
