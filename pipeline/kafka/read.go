package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// errUnsettled says that a partition has to be fetched anew from where its
// reader is, after a look at what the log still holds.
var errUnsettled = errors.New("kafka log: fetched records do not follow one another")

const (
	fetchBytes          = 8 << 20 // of one fetch from a broker
	fetchPartitionBytes = 1 << 20

	// fetchWait is how long a broker waits for records. A partition that is
	// resumed may have to wait as long for the fetch of the others.
	fetchWait = 250 * time.Millisecond

	// fetchedOverheadBytes is what a fetched record takes beside its value.
	fetchedOverheadBytes = 200
)

// reader holds what was fetched of a partition and not read yet.
type reader struct {
	wake chan struct{}

	mu      sync.Mutex
	fetched []fetched // from head on
	head    int
	bytes   int
	paused  bool
	active  bool  // it is being fetched
	next    int64 // the Kafka offset that has to be fetched next
	err     error // why it is fetched no more

	// Of the reader.
	started bool
	cursor  chat.Position // of the last record that was read
	popped  [popRecords]fetched
	taken   []fetched     // of popped, to be read next
	rest    []byte        // of a Kafka record that was read in part
	first   chat.Position // of rest
	built   builder
}

// fetched is a Kafka record.
type fetched struct {
	offset int64
	value  []byte
}

func (l *Log) consumerOpts() []kgo.Opt {
	return []kgo.Opt{
		// An offset that is not there is an error, never a jump.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.FetchMaxWait(fetchWait),
	}
}

// fetch is the goroutine that hands out what brokers send. They are asked again
// when it takes that, under load once in a tick of the linger, for every question
// costs a broker and an owner as much as a batch.
func (l *Log) fetch() {
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	for last := time.Now(); ; {
		fetches := l.consumer.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if f.Topic == l.topic.Name && int(f.Partition) < len(l.partitions) {
				l.take(l.partitions[f.Partition], &f.FetchPartition)
			}
		})
		last = l.pace(tick, last)
	}
}

// pace waits, where brokers answered a moment ago, for the next tick of the
// linger. It returns when the answer came.
func (l *Log) pace(tick *time.Timer, last time.Time) (now time.Time) {
	now = time.Now()
	if now.Sub(last) < idleAfter*l.o.Linger {
		tick.Reset(untilTick(now, l.o.Linger))
		select {
		case <-tick.C:
		case <-l.closed:
		}
	}
	return now
}

// take keeps what was fetched for the reader, and stops fetching when that is
// much. What does not follow, of a fetch that was under way when the reader went
// elsewhere or of a log that was cut, the reader looks into.
func (l *Log) take(p *partition, f *kgo.FetchPartition) {
	p.seen(f.HighWatermark)
	r := &p.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.active || r.err != nil {
		return
	}
	for _, rec := range f.Records {
		if rec.Offset < r.next {
			continue
		}
		if rec.Offset > r.next {
			r.err = errUnsettled
			break
		}
		r.next++
		r.fetched = append(r.fetched, fetched{rec.Offset, rec.Value})
		r.bytes += len(rec.Value) + fetchedOverheadBytes
	}
	if f.Err != nil && r.err == nil {
		r.err = fmt.Errorf("kafka log: partition %d of topic %s is not fetched: %w", p.id, l.topic.Name, f.Err)
	}
	if r.bytes > l.o.ReadBytes && !r.paused {
		r.paused = true
		l.consumer.PauseFetchPartitions(l.one(p))
	}
	signal(r.wake)
}

func (l *Log) one(p *partition) map[string][]int32 {
	return map[string][]int32{l.topic.Name: {p.id}}
}

// Read implements pipeline.Log. Records of the topic that are no batch of ours
// become dead letters, and reading passes over them.
func (l *Log) Read(ctx context.Context, partition int, after chat.Position, maxBytes int) (pipeline.Batch, error) {
	p := l.partitions[partition]
	r := &p.reader
	if !r.started || r.cursor != after || !r.isActive() {
		if err := l.startAt(ctx, p, after); err != nil {
			return pipeline.Batch{}, l.readError(ctx, err)
		}
	}
	for {
		select {
		case <-l.closed:
			return pipeline.Batch{}, pipeline.ErrClosed
		default:
		}
		b, err := l.next(p, maxBytes)
		if b.Count > 0 {
			r.cursor = b.Last()
			return b, nil
		}
		if err != nil {
			if err = l.startAgain(ctx, p, err); err != nil {
				return pipeline.Batch{}, l.readError(ctx, err)
			}
		}
		select {
		case <-r.wake:
		case <-l.closed:
		case <-ctx.Done():
			return pipeline.Batch{}, ctx.Err()
		}
	}
}

// readError prefers what the caller has to know.
func (l *Log) readError(ctx context.Context, err error) error {
	select {
	case <-l.closed:
		return pipeline.ErrClosed
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// startAt goes to a position, after making sure that the log has what follows.
func (l *Log) startAt(ctx context.Context, p *partition, after chat.Position) error {
	r := &p.reader
	r.started = false
	if after.Epoch() > l.topic.Epoch {
		return fmt.Errorf("kafka log: position %v is of a later epoch than topic %s; this process has to be started again", after, l.topic.Name)
	}
	if after.Epoch() < l.topic.Epoch {
		after = chat.NewPosition(l.topic.Epoch, 0)
	}
	offset := offsetAfter(after)
	if err := l.holds(ctx, p, offset); err != nil {
		return err
	}
	l.consumer.RemoveConsumePartitions(l.one(p))
	r.mu.Lock()
	r.clear()
	r.active, r.next = true, offset
	r.mu.Unlock()
	l.consumer.ResumeFetchPartitions(l.one(p))
	l.consumer.AddConsumePartitions(map[string]map[int32]kgo.Offset{l.topic.Name: {p.id: kgo.NewOffset().At(offset)}})
	r.started, r.cursor, r.rest, r.taken = true, after, nil, nil
	return nil
}

// startAgain fetches anew from where the reader is, or says why it cannot.
func (l *Log) startAgain(ctx context.Context, p *partition, cause error) error {
	r := &p.reader
	r.started = false // unless it starts here, the next Read does it
	if _, lost := errors.AsType[*kgo.ErrDataLoss](cause); lost {
		return fmt.Errorf("%w: %w", pipeline.ErrGone, cause)
	}
	r.mu.Lock()
	at := r.next
	r.mu.Unlock()
	if err := l.holds(ctx, p, at); err != nil {
		return err
	}
	if errors.Is(cause, errUnsettled) {
		return l.startAt(ctx, p, r.cursor)
	}
	return cause
}

// holds asks brokers whether everything from a Kafka offset on is there.
func (l *Log) holds(ctx context.Context, p *partition, offset int64) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)()
	starts, err := l.adm.ListStartOffsets(ctx, l.topic.Name)
	start, err := l.listed(starts, p, err)
	if err != nil {
		return err
	}
	ends, err := l.adm.ListEndOffsets(ctx, l.topic.Name)
	end, err := l.listed(ends, p, err)
	if err != nil {
		return err
	}
	p.seen(end)
	if offset < start {
		return fmt.Errorf("%w: partition %d of topic %s begins at Kafka offset %d, wanted is %d", pipeline.ErrGone, p.id, l.topic.Name, start, offset)
	}
	if offset > end {
		return fmt.Errorf("%w: partition %d of topic %s ends at Kafka offset %d, wanted is %d: brokers have lost its end", pipeline.ErrGone, p.id, l.topic.Name, end, offset)
	}
	return nil
}

func (l *Log) listed(offsets kadm.ListedOffsets, p *partition, err error) (int64, error) {
	if err == nil {
		at, ok := offsets.Lookup(l.topic.Name, p.id)
		if ok && at.Err == nil {
			return at.Offset, nil
		}
		err = at.Err
	}
	return 0, fmt.Errorf("kafka log: brokers do not say where partition %d of topic %s begins and ends: %w", p.id, l.topic.Name, err)
}

// stop fetches a partition no more and gives its memory back.
func (l *Log) stop(p *partition) {
	l.consumer.RemoveConsumePartitions(l.one(p))
	r := &p.reader
	r.mu.Lock()
	r.clear()
	r.mu.Unlock()
}

func (r *reader) clear() {
	r.fetched, r.head, r.bytes, r.paused, r.active, r.err = nil, 0, 0, false, false, nil
}

func (r *reader) isActive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active
}

// next returns the next records, or an empty batch and why there will be none.
func (l *Log) next(p *partition, maxBytes int) (pipeline.Batch, error) {
	r := &p.reader
	r.built.reset()
	b := &r.built.batch
	for b.Count == 0 || len(b.Records) < maxBytes {
		if len(r.rest) == 0 && !l.unpack(p) {
			break
		}
		n, count := cut(r.rest, maxBytes-len(b.Records))
		if b.Count > 0 && len(b.Records)+n > maxBytes {
			break
		}
		r.built.add(r.first, r.rest[:n:n], count)
		r.rest, r.first = r.rest[n:], r.first+chat.Position(count)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.head < len(r.fetched) || len(r.taken) > 0 || len(r.rest) > 0 {
		return *b, nil
	}
	return *b, r.err
}

// unpack makes the next Kafka record the rest, from after the cursor on.
func (l *Log) unpack(p *partition) bool {
	r := &p.reader
	for {
		if len(r.taken) == 0 && !l.pop(p) {
			return false
		}
		f := r.taken[0]
		r.taken = r.taken[1:]
		count := countFramed(f.value)
		first := firstOf(l.topic.Epoch, f.offset, count)
		switch {
		case count == 0:
			l.DeadLetter(int(p.id), endOf(l.topic.Epoch, f.offset+1), "a Kafka record that is no batch of ours", f.value)
			continue
		case first+chat.Position(count) <= r.cursor+1:
			continue
		case first <= r.cursor:
			passed := int(r.cursor - first + 1)
			f.value, first = f.value[skip(f.value, passed):], r.cursor+1
		}
		r.rest, r.first = f.value, first
		return true
	}
}

// A reader takes as many Kafka records at a time, until it has popBytes.
const (
	popRecords = 64
	popBytes   = 16 << 10
)

// pop takes some Kafka records off what was fetched, and lets brokers send more
// when half of that is read.
func (l *Log) pop(p *partition) bool {
	r := &p.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.head == len(r.fetched) {
		return false
	}
	n := 0
	for bytes := 0; n < popRecords && r.head < len(r.fetched) && bytes < popBytes; n++ {
		f := r.fetched[r.head]
		r.popped[n], r.fetched[r.head] = f, fetched{}
		r.head++
		bytes += len(f.value)
		r.bytes -= len(f.value) + fetchedOverheadBytes
	}
	r.taken = r.popped[:n]
	if r.head == len(r.fetched) {
		r.fetched, r.head = r.fetched[:0], 0
	}
	if r.paused && r.bytes <= l.o.ReadBytes/2 {
		r.paused = false
		l.consumer.ResumeFetchPartitions(l.one(p))
	}
	return true
}
