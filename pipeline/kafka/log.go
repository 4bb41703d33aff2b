// Package kafka is the log in Kafka, which any number of processes share. A
// topic is an epoch of positions; a Kafka record is one append of up to
// MaxRecords records, see position.go. Three clients stand behind a Log: one
// appends (append.go), one reads at exact offsets (read.go), and one is a member
// of a consumer group only to learn which partitions this process owns (own.go).
package kafka

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// Errors of appends.
var (
	// ErrTooLarge says that a batch is larger than MaxAppendBytes.
	ErrTooLarge = errors.New("kafka log: batch too large")

	// ErrBadBatch says that a batch is not as many framed records as it should be.
	ErrBadBatch = errors.New("kafka log: not a batch")

	// ErrFailed says that the topic is not what it was when the log was opened.
	ErrFailed = errors.New("kafka log: failed")

	// ErrPlaceUnknown says that a batch is in the log, but brokers have
	// forgotten where.
	ErrPlaceUnknown = errors.New("kafka log: the batch is durable, its place is not known")
)

// Log implements pipeline.Log. Its methods are safe for concurrent use, but for
// Read, of which there is one at a time for each partition.
type Log struct {
	// Set once.
	o          Options
	topic      Topic
	key        [16]byte
	producer   *kgo.Client
	consumer   *kgo.Client
	adm        *kadm.Client
	partitions []*partition

	queuedBytes atomic.Int64 // of all partitions, not durable yet
	failed      atomic.Pointer[error]
	ignored     atomic.Bool // there is a later topic, and it is not the next epoch
	letters     letters
	membership  membership
	stats       counters

	closeOnce sync.Once
	closing   chan struct{} // nothing is taken in any more
	closed    chan struct{} // what was queued is settled
	life      context.Context
	kill      context.CancelFunc // ends what waits for brokers
	writers   sync.WaitGroup
	workers   sync.WaitGroup
}

// partition is what this process does with one.
type partition struct {
	id     int32
	end    atomic.Int64 // the high watermark as far as it is known
	queue  queue
	reader reader
}

func (p *partition) seen(highWatermark int64) {
	for {
		old := p.end.Load()
		if highWatermark <= old || p.end.CompareAndSwap(old, highWatermark) {
			return
		}
	}
}

var _ pipeline.Log = (*Log)(nil)

// Open finds the topic with the greatest epoch, checks it and is ready to append
// and to read. It does not try twice: an error says what was tried and why it
// failed, each fault in a line.
func Open(ctx context.Context, o Options) (*Log, error) { return openUpTo(ctx, o, MaxEpoch) }

// openUpTo is Open among the epochs up to one.
func openUpTo(ctx context.Context, o Options, epoch uint16) (*Log, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := &Log{o: o.withDefaults(), closing: make(chan struct{}), closed: make(chan struct{})}
	l.life, l.kill = context.WithCancel(context.Background())
	if err := l.open(ctx, epoch); err != nil {
		l.kill()
		for _, cl := range []*kgo.Client{l.producer, l.consumer} {
			if cl != nil {
				cl.Close()
			}
		}
		return nil, err
	}
	l.run()
	return l, nil
}

func (l *Log) open(ctx context.Context, upTo uint16) (err error) {
	if l.producer, err = newClient(&l.o, "producer", l.producerOpts()...); err != nil {
		return err
	}
	if err = reach(ctx, &l.o, l.producer); err != nil {
		return err
	}
	l.adm = kadm.NewClient(l.producer)
	topics, err := findTopics(ctx, l.adm, &l.o)
	if err != nil {
		return err
	}
	topics = slices.DeleteFunc(topics, func(t Topic) bool { return t.Epoch > upTo })
	if l.topic, err = choose(&l.o, topics); err != nil {
		return err
	}
	if l.key, err = l.clusterKey(ctx); err != nil {
		return err
	}
	if l.topic.Replicas < 3 {
		l.o.Logger.Warn("the log's topic has less than 3 replicas: a lost disk loses acknowledged messages",
			"topic", l.topic.Name, "replicas", l.topic.Replicas)
	}
	for i := range l.topic.Partitions {
		l.partitions = append(l.partitions, newPartition(int32(i)))
	}
	if err = l.refreshEnds(ctx, func(int) bool { return true }); err != nil {
		return err
	}
	if err = l.meetTopics(ctx); err != nil {
		return err
	}
	l.consumer, err = newClient(&l.o, "consumer", l.consumerOpts()...)
	return err
}

func (l *Log) clusterKey(ctx context.Context) (key [16]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	m, err := l.adm.BrokerMetadata(ctx)
	if err == nil && m.Cluster == "" {
		err = errors.New("it has none")
	}
	if err != nil {
		return key, fmt.Errorf("kafka log: brokers %s do not tell the cluster's id: %w", strings.Join(l.o.Brokers, ","), err)
	}
	sum := sha256.Sum256([]byte("rookery key\x00" + m.Cluster + "\x00" + l.o.Prefix))
	return [16]byte(sum[:16]), nil
}

func newPartition(id int32) *partition {
	p := &partition{id: id}
	p.queue.wake = make(chan struct{}, 1)
	p.reader.wake = make(chan struct{}, 1)
	return p
}

func (l *Log) run() {
	l.letters.queue = make(chan DeadLetter, maxLettersQueued)
	for _, p := range l.partitions {
		l.writers.Go(func() { l.write(p) })
	}
	l.writers.Go(l.writeLetters)
	l.workers.Go(l.fetch)
	l.membership.start()
}

// Identity implements pipeline.Log: it is the topic's id.
func (l *Log) Identity() [16]byte { return l.topic.ID }

// Key implements pipeline.Log. It is made of the cluster's id, which is random,
// and the prefix, so it is that of all epochs.
func (l *Log) Key() [16]byte { return l.key }

// Partitions implements pipeline.Log.
func (l *Log) Partitions() int { return len(l.partitions) }

// MaxRecords implements pipeline.Log.
func (l *Log) MaxRecords() int { return MaxRecords }

// Epoch is the epoch of the records that are appended now.
func (l *Log) Epoch() uint16 { return l.topic.Epoch }

// End implements pipeline.Log. It is what this process knows: it is exact when
// the log is opened and when a partition is gained, and rises with what is
// appended and fetched here.
func (l *Log) End(partition int) chat.Position {
	return endOf(l.topic.Epoch, l.partitions[partition].end.Load())
}

// RaiseEpoch returns an error where the log's epoch is not above the given one:
// a greater one is another topic, which an operator makes for all processes.
func (l *Log) RaiseEpoch(above uint16) error {
	if l.topic.Epoch > above {
		return nil
	}
	return fmt.Errorf("kafka log: the store is ahead of topic %s or knows another log; 'rookery admin topics --create --epoch %d' makes a new epoch, "+
		"which every gateway and processor uses when it starts again", l.topic.Name, above+1)
}

// refreshEnds asks where partitions end. It fails if brokers do not say so of
// those that are needed.
func (l *Log) refreshEnds(ctx context.Context, needed func(p int) bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ends, err := l.adm.ListEndOffsets(ctx, l.topic.Name)
	for _, p := range l.partitions {
		if err != nil {
			break
		}
		end, fault := l.listed(ends, p, nil)
		if fault == nil {
			p.seen(end)
		} else if needed(int(p.id)) {
			return fault
		}
	}
	if err != nil {
		return fmt.Errorf("kafka log: brokers do not say where topic %s ends: %w", l.topic.Name, err)
	}
	return nil
}

// Err says why the log cannot work now, nil if it can: for readiness.
func (l *Log) Err() error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	for _, p := range l.partitions {
		if since := p.queue.stalledFor(); since > l.o.StallAfter {
			return fmt.Errorf("kafka log: brokers have not taken a batch of partition %d for %v", p.id, since.Round(time.Second))
		}
	}
	return nil
}

// fail ends the log: nothing that is appended from now on becomes durable.
func (l *Log) fail(err error) {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	if l.failed.CompareAndSwap(nil, &err) {
		l.o.Logger.Error("the log cannot go on", "topic", l.topic.Name, "err", err)
	}
}

// Close implements pipeline.Log. What brokers have not taken within
// CloseTimeout gets an error.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.membership.leave()
		l.refuse()
		give := time.AfterFunc(l.o.CloseTimeout, func() {
			l.kill()
			l.producer.Close()
		})
		l.writers.Wait()
		give.Stop()
		l.kill()
		close(l.closed)
		l.consumer.Close()
		l.workers.Wait()
		l.producer.Close()
	})
	return nil
}
