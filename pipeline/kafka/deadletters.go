package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/chat"
)

// maxLettersQueued bounds the dead letters that wait for brokers.
const maxLettersQueued = 256

// DeadLetter is something in the log that could not be decoded.
type DeadLetter struct {
	Offset    int64 // in the topic of dead letters, for those that are read
	At        time.Time
	Topic     string // of records
	Partition int
	Position  chat.Position
	Reason    string
	Raw       []byte // as it was found, without a frame
	Replayed  bool   // it was appended again later
}

// Names of the headers of a dead letter. One with headerReplayed alone says that
// the letter at that offset was appended again.
const (
	headerTopic     = "topic"
	headerPartition = "partition"
	headerPosition  = "position"
	headerReason    = "reason"
	headerReplayed  = "replayed"
)

// letters are dead letters on their way.
type letters struct{ queue chan DeadLetter }

// DeadLetter keeps what cannot be decoded, with the reason, in a topic of its
// own. It copies raw and never waits: when brokers have not taken those before,
// the letter is counted and logged, and what it is about stays in the log at its
// position.
func (l *Log) DeadLetter(partition int, position chat.Position, reason string, raw []byte) {
	letter := DeadLetter{At: time.Now(), Topic: l.topic.Name, Partition: partition, Position: position, Reason: reason, Raw: bytes.Clone(raw)}
	l.o.Logger.Error("the log has something that cannot be decoded", "topic", l.topic.Name, "partition", partition,
		"position", position.String(), "reason", reason, "bytes", len(raw))
	l.stats.deadLetters.Add(1)
	select {
	case l.letters.queue <- letter:
	default:
		l.lostLetter(&letter, errors.New("too many wait"))
	}
}

func (l *Log) lostLetter(d *DeadLetter, err error) {
	l.stats.lostLetters.Add(1)
	l.o.Logger.Error("a dead letter could not be kept", "topic", d.Topic, "partition", d.Partition, "position", d.Position.String(), "err", err)
}

// writeLetters is the goroutine that keeps dead letters.
func (l *Log) writeLetters() {
	for {
		select {
		case d := <-l.letters.queue:
			l.writeLetter(&d)
		case <-l.closing:
			for len(l.letters.queue) > 0 {
				d := <-l.letters.queue
				l.writeLetter(&d)
			}
			return
		}
	}
}

func (l *Log) writeLetter(d *DeadLetter) {
	if err := l.producer.ProduceSync(context.Background(), d.record(deadLetterTopic(l.o.Prefix))).FirstErr(); err != nil {
		l.lostLetter(d, err)
	}
}

func (d *DeadLetter) record(topic string) *kgo.Record {
	header := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	return &kgo.Record{Topic: topic, Value: d.Raw, Timestamp: d.At, Headers: []kgo.RecordHeader{
		header(headerTopic, d.Topic), header(headerPartition, strconv.Itoa(d.Partition)),
		header(headerPosition, d.Position.String()), header(headerReason, d.Reason),
	}}
}

// letterOf reads what record wrote. Where replayed is not -1 it is no letter but
// says that the letter at that offset was appended again.
func letterOf(r *kgo.Record) (d DeadLetter, replayed int64, err error) {
	d = DeadLetter{Offset: r.Offset, At: r.Timestamp, Raw: r.Value}
	replayed = -1
	for _, h := range r.Headers {
		var fault error
		switch value := string(h.Value); h.Key {
		case headerTopic:
			d.Topic = value
		case headerPartition:
			d.Partition, fault = strconv.Atoi(value)
		case headerPosition:
			d.Position, fault = chat.ParsePosition(value)
		case headerReason:
			d.Reason = value
		case headerReplayed:
			replayed, fault = strconv.ParseInt(value, 10, 64)
		}
		err = errors.Join(err, fault)
	}
	return d, replayed, err
}

// DeadLetters calls each for every dead letter that is kept, oldest first.
func DeadLetters(ctx context.Context, o Options, each func(DeadLetter) error) error {
	all, err := readLetters(ctx, o)
	if err != nil {
		return err
	}
	for _, d := range all {
		if err := each(d); err != nil {
			return err
		}
	}
	return nil
}

// maxLettersRead bounds what DeadLetters holds in memory.
const maxLettersRead = 100_000

func readLetters(ctx context.Context, o Options) (all []DeadLetter, err error) {
	err = withAdmin(ctx, &o, func(cl *kgo.Client) error {
		adm, topic := kadm.NewClient(cl), deadLetterTopic(o.Prefix)
		starts, err1 := adm.ListStartOffsets(ctx, topic)
		ends, err2 := adm.ListEndOffsets(ctx, topic)
		if err := errors.Join(err1, err2, starts.Error(), ends.Error()); err != nil {
			return fmt.Errorf("kafka log: topic %s: %w", topic, err)
		}
		start, _ := starts.Lookup(topic, 0)
		end, _ := ends.Lookup(topic, 0)
		if end.Offset-start.Offset > maxLettersRead {
			start.Offset = end.Offset - maxLettersRead
		}
		all, err = collectLetters(ctx, &o, topic, start.Offset, end.Offset)
		return err
	})
	return all, err
}

func collectLetters(ctx context.Context, o *Options, topic string, start, end int64) (all []DeadLetter, err error) {
	if start >= end {
		return nil, nil
	}
	cl, err := newClient(o, "deadletters", kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(start)}}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	places := map[int64]int{} // by offset, index of all
	for at := start; at < end; {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(fetches.Err0(), ctx.Err()); err != nil {
			return nil, fmt.Errorf("kafka log: topic %s is not read: %w", topic, err)
		}
		for _, f := range fetches.Errors() {
			return nil, fmt.Errorf("kafka log: topic %s is not read: %w", topic, f.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			d, replayed, fault := letterOf(r)
			if i, ok := places[replayed]; ok {
				all[i].Replayed = true
			}
			if replayed < 0 && fault == nil {
				places[r.Offset] = len(all)
				all = append(all, d)
			}
		})
	}
	return all, nil
}

// Topic is the name of the epoch's topic.
func (l *Log) Topic() string { return l.topic.Name }

// Replay appends what a dead letter holds, or what it should have held, to a
// partition, and notes that in the topic of dead letters. The position is not 0
// where it was appended, though it may not have been noted.
func (l *Log) Replay(ctx context.Context, d DeadLetter, partition int, record []byte) (chat.Position, error) {
	batch := append(binary.LittleEndian.AppendUint32(nil, uint32(len(record))), record...)
	type outcome struct {
		first chat.Position
		err   error
	}
	result := make(chan outcome, 1)
	if err := l.Append(partition, batch, 1, func(first chat.Position, err error) { result <- outcome{first, err} }); err != nil {
		return 0, err
	}
	var o outcome
	select {
	case o = <-result:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if o.err != nil {
		return 0, o.err
	}
	note := &kgo.Record{Topic: deadLetterTopic(l.o.Prefix), Headers: []kgo.RecordHeader{
		{Key: headerReplayed, Value: strconv.AppendInt(nil, d.Offset, 10)}}}
	if err := l.producer.ProduceSync(ctx, note).FirstErr(); err != nil {
		return o.first, fmt.Errorf("kafka log: it was appended, which could not be noted: %w", err)
	}
	return o.first, nil
}
