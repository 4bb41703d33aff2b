package kafka

import "sync/atomic"

// Stats is a snapshot of a log's counters, since Open, and of its gauges.
type Stats struct {
	Records        uint64 // made durable
	Appends        uint64 // those they were in, one Kafka record each
	Batches        uint64 // Kafka batches those were in
	Bytes          uint64 // of those records, uncompressed
	Errors         uint64 // batches that brokers refused and that were tried again
	Full           uint64 // appends refused with ErrFull
	DeadLetters    uint64
	LostLetters    uint64 // those that could not be kept
	Gained, Lost   uint64 // partitions
	QueueBytes     int64  // records that are not durable yet
	FetchedBytes   int64  // records that are fetched and not read
	Epoch          uint16
	PartitionLag   []int64 // by partition, Kafka records not released as durable; -1 where another process owns it
	PartitionEnds  []int64 // by partition, the high watermark
	PartitionQueue []int64 // by partition, bytes that are not durable yet
}

type counters struct {
	records, appends, batches, bytes, errors, full atomic.Uint64
	deadLetters, lostLetters, gained, lost         atomic.Uint64
}

// Stats returns a snapshot. It may be called at any time, also after Close.
func (l *Log) Stats() Stats {
	c := &l.stats
	s := Stats{
		Records: c.records.Load(), Appends: c.appends.Load(), Batches: c.batches.Load(), Bytes: c.bytes.Load(),
		Errors: c.errors.Load(), Full: c.full.Load(), DeadLetters: c.deadLetters.Load(), LostLetters: c.lostLetters.Load(),
		Gained: c.gained.Load(), Lost: c.lost.Load(), QueueBytes: l.queuedBytes.Load(), Epoch: l.topic.Epoch,
	}
	m := &l.membership
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	for _, p := range l.partitions {
		end, lag := p.end.Load(), int64(-1)
		if at, ok := m.released[p.id]; ok {
			lag = max(0, end-at)
		}
		s.PartitionEnds, s.PartitionLag = append(s.PartitionEnds, end), append(s.PartitionLag, lag)
		p.queue.mu.Lock()
		s.PartitionQueue = append(s.PartitionQueue, p.queue.bytes)
		p.queue.mu.Unlock()
		p.reader.mu.Lock()
		s.FetchedBytes += int64(p.reader.bytes)
		p.reader.mu.Unlock()
	}
	return s
}
