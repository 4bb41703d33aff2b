package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/knownbug"
	"github.com/rookery-chat/rookery/pipeline"
)

// Order (law 8). When a batch does not become durable, no later one of its
// partition may: the retries of its messages would stand behind messages that
// were sent after them. A pipelining producer cannot promise that. It has
// several batches of a partition under way; a broker that refuses the first for
// good (too large, not allowed any more) refuses the others as out of sequence,
// whereupon the producer begins a new sequence with the others and writes them,
// before anybody hears of the first.
//
// So each partition has one group of appends with the producer; what comes
// meanwhile waits here, and is the next group. A group is one Kafka batch, mostly;
// where it is several, one is under way at a time (a broker has one request), and
// the producer gives the others up with one that is refused. The group is repeated
// until brokers have taken it, whatever they answer: the producer repeats what may
// be repeated in the same sequence, so that a batch which was written though its
// answer was lost is not written again; produce repeats what it gave up. In the
// second case what was written before, its answer lost, may be in the log twice, in
// order; owners see that from its messages' ids (law 2). An outcome is left open
// only when the log is closed, or when the topic is not there any more and nothing
// later can be written either.

// idleAfter is how many lingers a partition is quiet before its next append goes
// at once.
const idleAfter = 4

// gather is how long the producer may wait for the rest of a group.
const gather = 10 * time.Millisecond

// maxGroup bounds the appends of a batch, for the memory a writer keeps.
const maxGroup = 4096

// backoffs between tries of a batch that brokers have refused.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// What Kafka puts around a batch and around each record in it, at most.
const (
	batchOverheadBytes  = 128
	recordOverheadBytes = 32
)

// entry is an append on its way.
type entry struct {
	batch []byte
	done  func(first chat.Position, err error)
	count int
}

// queue is what waits to be written to a partition.
type queue struct {
	wake chan struct{}

	mu       sync.Mutex
	waiting  []entry
	bytes    int64 // waiting and under way
	refusing bool

	since atomic.Int64 // when the batch under way was begun, ns; 0 when there is none

	// Of the writer.
	taken   []entry
	records []kgo.Record
	refs    []*kgo.Record
	last    time.Time // when the last batch went
}

func (l *Log) producerOpts() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()), // idempotent is the default
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[l.o.Compression]),
		kgo.ProduceRequestTimeout(requestTimeout),
		kgo.MaxProduceRequestsInflightPerBroker(1), // see above
		// A group is cut by BatchBytes and sent by ProduceSync as soon as it is
		// whole. gather is the least time in which it is put together: a batch
		// that goes to another leader waits as long once more.
		kgo.ProducerBatchMaxBytes(MaxMessageBytes),
		kgo.ProducerLinger(gather),
		// What is buffered is bounded before it comes here.
		kgo.MaxBufferedRecords(1 << 30),
		// Unlimited is the default but for topics that seem unknown, as they do
		// for a moment while brokers start.
		kgo.UnknownTopicRetries(-1),
	}
	if knownbug.On(knownbug.AckBeforeDurable) {
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	return opts
}

// meetTopics has the producer look its topics up. It buffers records of a topic
// it does not know, and then not as one batch. A partition that does not exist
// is how to ask without writing anything.
func (l *Log) meetTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for _, topic := range []string{l.topic.Name, deadLetterTopic(l.o.Prefix)} {
		err := l.producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: -1}).FirstErr()
		if ctx.Err() != nil {
			return fmt.Errorf("kafka log: brokers do not say who leads topic %s: %w", topic, err)
		}
	}
	return nil
}

// TryAppend implements pipeline.Log. Besides ErrFull, ErrTooMany and ErrClosed
// it returns ErrTooLarge, ErrBadBatch and ErrFailed.
func (l *Log) TryAppend(partition int, batch []byte, count int, done func(first chat.Position, err error)) error {
	return l.enqueue(partition, entry{batch, done, count}, true)
}

// Append implements pipeline.Log. Errors are those of TryAppend but ErrFull.
func (l *Log) Append(partition int, batch []byte, count int, done func(first chat.Position, err error)) error {
	return l.enqueue(partition, entry{batch, done, count}, false)
}

func (l *Log) enqueue(partition int, e entry, bounded bool) error {
	if e.count > MaxRecords {
		return fmt.Errorf("%w: %d, at most %d", pipeline.ErrTooMany, e.count, MaxRecords)
	}
	if len(e.batch) > MaxAppendBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(e.batch), MaxAppendBytes)
	}
	if e.count < 1 || countFramed(e.batch) != e.count {
		return fmt.Errorf("%w: %d bytes are not %d framed records", ErrBadBatch, len(e.batch), e.count)
	}
	q, size := &l.partitions[partition].queue, int64(len(e.batch))
	all := l.queuedBytes.Add(size)
	q.mu.Lock()
	var err error
	switch {
	case q.refusing:
		err = l.refusal()
	case l.failed.Load() != nil:
		err = l.refusal()
	case bounded && (over(all, size, l.o.BufferedBytes) || over(q.bytes+size, size, l.o.PartitionBytes) || q.stalledFor() > l.o.StallAfter):
		err = pipeline.ErrFull
	}
	if err != nil {
		q.mu.Unlock()
		l.queuedBytes.Add(-size)
		if err == pipeline.ErrFull {
			l.stats.full.Add(1)
		}
		return err
	}
	before := q.bytes
	q.waiting = append(q.waiting, e)
	q.bytes += size
	first := len(q.waiting) == 1
	q.mu.Unlock()
	if limit := int64(l.o.BatchBytes); first || before < limit && before+size >= limit {
		signal(q.wake)
	}
	return nil
}

// over reports whether size among held is too much. Something always fits in
// nothing.
func over(held, size, bound int64) bool { return held > size && held > bound }

func (l *Log) refusal() error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	return pipeline.ErrClosed
}

// refuse takes nothing in any more.
func (l *Log) refuse() {
	for _, p := range l.partitions {
		p.queue.mu.Lock()
		p.queue.refusing = true
		p.queue.mu.Unlock()
	}
	close(l.closing)
}

// signal wakes who waits on c, or lets it see that it need not wait.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stalledFor is how long the batch under way has been so.
func (q *queue) stalledFor() time.Duration {
	since := q.since.Load()
	if since == 0 {
		return 0
	}
	return time.Duration(time.Now().UnixNano() - since)
}

// write is the goroutine that appends to a partition.
func (l *Log) write(p *partition) {
	q := &p.queue
	linger := time.NewTimer(time.Hour)
	linger.Stop()
	for l.await(q, linger) {
		for rest := q.take(); len(rest) > 0; {
			n := l.group(rest)
			for !l.append(p, rest[:n]) {
				n = (n + 1) / 2 // too large for the topic as it is now
			}
			rest = rest[n:]
		}
	}
}

// await returns when there is a batch to write, false when there will be none.
// Where the last one was a moment ago it waits for the next tick of the linger,
// at which all partitions are written, so that a broker has one request of them.
func (l *Log) await(q *queue, linger *time.Timer) bool {
	waiting := func(bytes int64) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.waiting) > 0 && q.bytes >= bytes
	}
	for !waiting(1) {
		select {
		case <-q.wake:
		case <-l.closing:
			return waiting(1)
		}
	}
	now := time.Now()
	if l.o.Linger <= 0 || now.Sub(q.last) > idleAfter*l.o.Linger {
		q.last = now
		return true
	}
	linger.Reset(untilTick(now, l.o.Linger))
	defer linger.Stop()
	defer func() { q.last = time.Now() }()
	for !waiting(int64(l.o.BatchBytes)) {
		select {
		case <-q.wake:
		case <-linger.C:
			return true
		case <-l.closing:
			return true
		}
	}
	return true
}

// untilTick is the time until the next multiple of every.
func untilTick(now time.Time, every time.Duration) time.Duration {
	return now.Truncate(every).Add(every).Sub(now)
}

func (q *queue) take() []entry {
	clear(q.taken)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting, q.taken = q.taken[:0], q.waiting
	return q.taken
}

// group returns how many of the entries go into one Kafka batch, at least one.
func (l *Log) group(entries []entry) int {
	size := batchOverheadBytes
	for i := range entries {
		size += len(entries[i].batch) + recordOverheadBytes
		if i == maxGroup || i > 0 && size > l.o.BatchBytes {
			return i
		}
	}
	return len(entries)
}

// append writes entries as one batch, however long it takes, and says that they
// are done. It returns false, and has done nothing, if they are too many.
func (l *Log) append(p *partition, entries []entry) bool {
	q := &p.queue
	q.since.Store(time.Now().UnixNano())
	err := l.produce(p, entries)
	q.since.Store(0)
	if errors.Is(err, kerr.MessageTooLarge) {
		return false
	}
	var size int64
	for i := range entries {
		size += int64(len(entries[i].batch))
	}
	q.mu.Lock()
	q.bytes -= size
	q.mu.Unlock()
	l.queuedBytes.Add(-size)
	l.settle(p, entries, size, err)
	return true
}

// settle calls done for entries whose batch is written, or never will be.
func (l *Log) settle(p *partition, entries []entry, size int64, err error) {
	if err != nil {
		for i := range entries {
			entries[i].done(0, err)
		}
		return
	}
	records := p.queue.records
	p.seen(records[len(entries)-1].Offset + 1)
	l.stats.batches.Add(1)
	l.stats.appends.Add(uint64(len(entries)))
	l.stats.bytes.Add(uint64(size))
	for i := range entries {
		e, offset := &entries[i], records[i].Offset
		records[i] = kgo.Record{}
		if offset < 0 {
			e.done(0, ErrPlaceUnknown)
			continue
		}
		l.stats.records.Add(uint64(e.count))
		e.done(firstOf(l.topic.Epoch, offset, e.count), nil)
	}
}

// produce repeats a batch until brokers have it, or of several appends say that
// it is too large.
func (l *Log) produce(p *partition, entries []entry) error {
	q := &p.queue
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		if l.failed.Load() != nil || l.life.Err() != nil {
			return l.refusal()
		}
		err := l.producer.ProduceSync(context.Background(), q.fill(l.topic.Name, p.id, entries)...).FirstErr()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kgo.ErrClientClosed):
			return fmt.Errorf("kafka log: closed before brokers answered: %w", err)
		case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.UnknownTopicOrPartition):
			l.fail(fmt.Errorf("topic %s is not the one that was opened: %w", l.topic.Name, err))
			return l.refusal()
		case errors.Is(err, kerr.MessageTooLarge) && len(entries) > 1:
			return err
		}
		l.stats.errors.Add(1)
		l.o.Logger.Error("brokers refuse a batch, trying again; the partition takes no other until they take it",
			"topic", l.topic.Name, "partition", p.id, "appends", len(entries), "err", err)
		select {
		case <-time.After(wait):
		case <-l.life.Done():
		}
	}
}

// fill makes Kafka records of entries, without copying.
func (q *queue) fill(topic string, partition int32, entries []entry) []*kgo.Record {
	for len(q.records) < len(entries) {
		q.records = append(q.records, make([]kgo.Record, len(entries)-len(q.records))...)
		q.refs = q.refs[:0]
		for i := range q.records {
			q.refs = append(q.refs, &q.records[i])
		}
	}
	for i := range entries {
		q.records[i] = kgo.Record{Topic: topic, Partition: partition, Value: entries[i].batch, Offset: -1}
	}
	return q.refs[:len(entries)]
}
