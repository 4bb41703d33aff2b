package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// stream appends numbers to a partition and reads them.
type stream struct {
	t         *testing.T
	l         *Log
	partition int

	mu    sync.Mutex
	acked map[uint32]chat.Position
	done  sync.WaitGroup
}

// append appends numbers from first on until stop is closed, and returns the
// next. What is refused it tries again.
func (s *stream) append(stop chan struct{}) (next uint32) {
	for {
		select {
		case <-stop:
			return next
		default:
		}
		number := binary.LittleEndian.AppendUint32(nil, next)
		s.done.Add(1)
		err := s.l.TryAppend(s.partition, pipelinetest.Frame(string(number)), 1, func(first chat.Position, err error) {
			defer s.done.Done()
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.t.Errorf("the outcome of %d is left open: %v", binary.LittleEndian.Uint32(number), err)
			}
			s.acked[binary.LittleEndian.Uint32(number)] = first
		})
		if err != nil {
			s.done.Done()
			if !errors.Is(err, pipeline.ErrFull) {
				s.t.Error(err)
				return next
			}
		} else {
			next++
		}
		time.Sleep(200 * time.Microsecond) // a pace of some thousand a second
	}
}

// check reads everything: each number once, in order, at the place that was
// acknowledged.
func (s *stream) check(count uint32) {
	want := uint32(0)
	for after := chat.Position(0); want < count; {
		b, err := s.l.Read(s.t.Context(), s.partition, after, 1<<20)
		if err != nil {
			s.t.Errorf("partition %d after %v: %v", s.partition, after, err)
			return
		}
		places := pipelinetest.Positions(b)
		for i, rec := range pipelinetest.Records(s.t, b.Records) {
			if got := binary.LittleEndian.Uint32([]byte(rec)); got != want || s.acked[got] != places[i] {
				s.t.Fatalf("partition %d has %d at %v, which was acknowledged at %v; want %d", s.partition, got, places[i], s.acked[got], want)
			}
			want++
		}
		after = b.Last()
	}
	if len(s.acked) != int(count) || s.l.End(s.partition) != s.acked[count-1] {
		s.t.Errorf("%d of %d are acknowledged, the log ends at %v, the last is at %v", len(s.acked), count, s.l.End(s.partition), s.acked[count-1])
	}
}

// A broker is killed, and when it is back another is frozen, under load:
// everything is acknowledged, nothing is lost, doubled or out of order.
func TestBrokersFall(t *testing.T) {
	brokers := services.StartKafka3(t)
	var addresses []string
	for _, b := range brokers {
		addresses = append(addresses, b.Address)
	}
	o := options(addresses...)
	const partitions = 6
	o.Partitions = partitions
	if _, err := CreateTopics(t.Context(), o, Spec{Partitions: partitions, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, o)
	stop := make(chan struct{})
	var appending sync.WaitGroup
	streams, counts := make([]*stream, partitions), make([]uint32, partitions)
	for p := range partitions {
		streams[p] = &stream{t: t, l: l, partition: p, acked: map[uint32]chat.Position{}}
		appending.Go(func() { counts[p] = streams[p].append(stop) })
	}
	progress(t, streams)
	brokers[0].Kill()
	progress(t, streams)
	brokers[0].Restart()
	inSync(t, o, partitions)
	brokers[1].Pause()
	progress(t, streams)
	brokers[1].Resume()
	progress(t, streams)
	close(stop)
	appending.Wait()
	for p, s := range streams {
		s.done.Wait()
		s.check(counts[p])
	}
	t.Logf("%v numbers, %d batches refused", counts, l.Stats().Errors)
}

// progress waits until each stream has had something acknowledged that was
// appended after the call.
func progress(t *testing.T, streams []*stream) {
	t.Helper()
	for _, s := range streams {
		s.mu.Lock()
		enough := len(s.acked) + 200
		s.mu.Unlock()
		for deadline := time.Now().Add(2 * patience); ; time.Sleep(10 * time.Millisecond) {
			s.mu.Lock()
			n := len(s.acked)
			s.mu.Unlock()
			if n >= enough {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("partition %d stands still: %d of %d", s.partition, n, enough)
			}
		}
	}
}

// inSync waits until all replicas have everything again.
func inSync(t *testing.T, o Options, partitions int) {
	t.Helper()
	adm, topic := admin(t, o), topicName(o.Prefix, 0)
	var state string
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		topics, err := adm.ListTopics(t.Context(), topic)
		if err != nil {
			state = err.Error()
			continue
		}
		whole := 0
		for _, p := range topics[topic].Partitions {
			if len(p.ISR) == 3 {
				whole++
			}
		}
		if whole == partitions {
			return
		}
		state = fmt.Sprintf("%d partitions", whole)
	}
	t.Fatalf("replicas are not in sync: %s", state)
}
