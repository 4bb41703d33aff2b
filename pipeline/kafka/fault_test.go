package kafka

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// fake is a broker whose answers a test chooses.
func fake(t *testing.T, partitions int) (*kfake.Cluster, Options) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	o := options(c.ListenAddrs()...)
	o.Prefix, o.Partitions, o.CloseTimeout = "fake", partitions, 2*time.Second
	if _, err := CreateTopics(t.Context(), o, Spec{Partitions: partitions, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	return c, o
}

// appends gathers what becomes of appends of one partition.
type appends struct {
	t    *testing.T
	l    *Log
	wg   sync.WaitGroup
	mu   sync.Mutex
	done []string // in the order of the calls of done, with " failed" where it was
	errs []error
	last chat.Position
}

func (a *appends) append(names ...string) {
	a.t.Helper()
	for _, name := range names {
		a.wg.Add(1)
		if err := a.l.TryAppend(0, pipelinetest.Frame(name), 1, func(first chat.Position, err error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			if err != nil {
				name += " failed"
				a.errs = append(a.errs, err)
			} else if first <= a.last {
				a.t.Errorf("%s is at %v after %v", name, first, a.last)
			}
			a.last = max(a.last, first)
			a.done = append(a.done, name)
			a.wg.Done()
		}); err != nil {
			a.t.Fatalf("append of %s: %v", name, err)
		}
	}
}

func (a *appends) await() []string {
	a.t.Helper()
	settled := make(chan struct{})
	go func() { a.wg.Wait(); close(settled) }()
	select {
	case <-settled:
	case <-time.After(patience):
		a.t.Fatal("appends are not done")
	}
	return a.done
}

// What brokers wrote but did not say so of is acknowledged once, at its place.
func TestAmbiguousAnswers(t *testing.T) {
	for _, answer := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		t.Run(answer.Message, func(t *testing.T) {
			c, o := fake(t, 1)
			l := mustOpen(t, o)
			a := &appends{t: t, l: l}
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: answer, Count: 3})
			want := []string{"a", "b", "c", "d"}
			a.append(want...)
			if done := a.await(); fmt.Sprint(done) != fmt.Sprint(want) || len(a.errs) > 0 {
				t.Errorf("done are %v, %v", done, a.errs)
			}
			if fault.Hits() != 3 {
				t.Errorf("the fault was met %d times", fault.Hits())
			}
			if last := pipelinetest.Expect(t, l, 0, 0, want...); last != l.End(0) {
				t.Errorf("the last is at %v, the log ends at %v: something was written twice", last, l.End(0))
			}
		})
	}
}

// While brokers refuse a batch for good nothing later is written, so that what
// was sent after it cannot come before it (law 8).
func TestRefusedBatchHoldsLaterOnes(t *testing.T) {
	c, o := fake(t, 1)
	l := mustOpen(t, o)
	a := &appends{t: t, l: l}
	a.append("before")
	a.await()
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 3})
	a.append("refused")
	if err := fault.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	a.append("later", "latest")
	want := []string{"before", "refused", "later", "latest"}
	if done := a.await(); fmt.Sprint(done) != fmt.Sprint(want) || len(a.errs) > 0 {
		t.Errorf("done are %v, %v", done, a.errs)
	}
	if fault.Hits() != 3 || l.Stats().Errors != 3 {
		t.Errorf("the fault was met %d times, %d are counted", fault.Hits(), l.Stats().Errors)
	}
	pipelinetest.Expect(t, l, 0, 0, want...)
}

// A batch that is too large for the topic goes in smaller ones, in order.
func TestTooLargeBatchIsParted(t *testing.T) {
	c, o := fake(t, 1)
	l := mustOpen(t, o)
	a := &appends{t: t, l: l}
	// The first goes alone, and the others together when it is back.
	hold := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 1})
	a.append("0")
	if err := hold.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 9 {
		want = append(want, fmt.Sprint(i))
	}
	var largest int
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: -1, When: func(r kmsg.Request) bool {
		n := recordsIn(r.(*kmsg.ProduceRequest))
		largest = max(largest, n)
		return n > 3
	}})
	a.append(want[1:]...)
	if done := a.await(); fmt.Sprint(done) != fmt.Sprint(want) || len(a.errs) > 0 {
		t.Errorf("done are %v, %v", done, a.errs)
	}
	if largest != 8 {
		t.Errorf("the largest batch had %d appends, not 8: nothing was tested", largest)
	}
	if last := pipelinetest.Expect(t, l, 0, 0, want...); last != l.End(0) {
		t.Errorf("the last is at %v, the log ends at %v: something was written twice", last, l.End(0))
	}
}

func recordsIn(r *kmsg.ProduceRequest) int {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(r.Topics[0].Partitions[0].Records); err != nil {
		panic(err)
	}
	return int(b.NumRecords)
}

// A batch that brokers have, at a place they have forgotten, has no place here.
func TestPlaceUnknown(t *testing.T) {
	c, o := fake(t, 1)
	l := mustOpen(t, o)
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		answer := r.ResponseKind().(*kmsg.ProduceResponse)
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = r.(*kmsg.ProduceRequest).Topics[0].Topic, r.(*kmsg.ProduceRequest).Topics[0].TopicID
		partition := kmsg.NewProduceResponseTopicPartition()
		partition.ErrorCode, partition.BaseOffset = kerr.DuplicateSequenceNumber.Code, -1
		topic.Partitions = append(topic.Partitions, partition)
		answer.Topics = append(answer.Topics, topic)
		return answer, nil, true
	})
	a := &appends{t: t, l: l}
	a.append("a")
	a.await()
	if len(a.errs) != 1 || !errors.Is(a.errs[0], ErrPlaceUnknown) {
		t.Errorf("done has %v", a.errs)
	}
}

// hold keeps brokers from answering a produce request until release is called.
func hold(t *testing.T, c *kfake.Cluster) (held chan struct{}, release func()) {
	held, gate := make(chan struct{}, 100), make(chan struct{})
	var mu sync.Mutex
	var open bool
	var asleep sync.WaitGroup
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		through := open
		if !through {
			asleep.Add(1)
		}
		mu.Unlock()
		if through {
			return nil, nil, false
		}
		defer asleep.Done()
		held <- struct{}{}
		c.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	release = sync.OnceFunc(func() {
		mu.Lock()
		open = true
		mu.Unlock()
		close(gate)
	})
	t.Cleanup(func() {
		release()
		asleep.Wait() // kfake's brokers wait for themselves when they are closed while one sleeps
	})
	return held, release
}

func TestFullOfWhatBrokersDoNotTake(t *testing.T) {
	c, o := fake(t, 3)
	o.PartitionBytes, o.BufferedBytes = 1000, 2500
	o.StallAfter = time.Hour
	l := mustOpen(t, o)
	_, release := hold(t, c)
	var wg sync.WaitGroup
	done := func(_ chat.Position, err error) {
		if err != nil {
			t.Error(err)
		}
		wg.Done()
	}
	rec := pipelinetest.Frame(strings.Repeat("r", 96))
	fill := func(p int) (n int) {
		for ; ; n++ {
			wg.Add(1)
			if err := l.TryAppend(p, rec, 1, done); err != nil {
				wg.Done()
				if !errors.Is(err, pipeline.ErrFull) {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	if a, b, c := fill(0), fill(1), fill(2); a != 10 || b != 10 || c != 5 {
		t.Errorf("%d, %d and %d appends of 100 bytes, want 10, 10 and 5", a, b, c)
	}
	wg.Add(1)
	if err := l.Append(0, rec, 1, done); err != nil {
		t.Errorf("an owner's append: %v", err)
	}
	if s := l.Stats(); s.QueueBytes != 2600 || s.Full != 3 || s.PartitionQueue[0] != 1100 {
		t.Errorf("stats: %+v", s)
	}
	release()
	wg.Wait()
	if s := l.Stats(); s.QueueBytes != 0 || s.PartitionQueue[0] != 0 || s.Records != 26 {
		t.Errorf("stats at the end: %+v", s)
	}
	if n := fill(0); n == 0 {
		t.Error("it is still full")
	}
	wg.Wait()
}

func TestFullWhenBrokersStall(t *testing.T) {
	c, o := fake(t, 1)
	o.StallAfter = time.Millisecond
	l := mustOpen(t, o)
	held, release := hold(t, c)
	a := &appends{t: t, l: l}
	a.append("a")
	<-held
	for deadline := time.Now().Add(patience); l.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody notices that brokers do not answer")
		}
	}
	if err := l.TryAppend(0, pipelinetest.Frame("b"), 1, nil); !errors.Is(err, pipeline.ErrFull) {
		t.Errorf("TryAppend returned %v", err)
	}
	release()
	a.await()
	if err := l.Err(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	pipelinetest.Expect(t, l, 0, 0, "a")
}

// Close gives up on brokers that do not answer; what it leaves open it says.
func TestCloseWithoutBrokers(t *testing.T) {
	c, o := fake(t, 1)
	o.CloseTimeout = 50 * time.Millisecond
	l := mustOpen(t, o)
	held, _ := hold(t, c)
	a := &appends{t: t, l: l}
	a.append("a")
	<-held
	a.append("b", "c")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	want := []string{"a failed", "b failed", "c failed"}
	if done := a.await(); fmt.Sprint(done) != fmt.Sprint(want) {
		t.Errorf("done are %v", done)
	}
}

// A topic that was deleted and made again is another log: nothing goes into it.
func TestTopicMadeAnew(t *testing.T) {
	_, o := fake(t, 1)
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 0, "a")
	if _, err := admin(t, o).DeleteTopics(t.Context(), topicName(o.Prefix, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateTopics(t.Context(), o, Spec{Partitions: 1, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	a := &appends{t: t, l: l}
	a.append("b")
	a.await()
	if len(a.errs) != 1 || !errors.Is(a.errs[0], ErrFailed) {
		t.Errorf("done has %v", a.errs)
	}
	if err := l.TryAppend(0, pipelinetest.Frame("c"), 1, nil); !errors.Is(err, ErrFailed) {
		t.Errorf("TryAppend returned %v", err)
	}
	if err := l.Err(); !errors.Is(err, ErrFailed) {
		t.Errorf("Err is %v", err)
	}
	again := mustOpen(t, o)
	if again.Identity() == l.Identity() || again.End(0) != 0 {
		t.Errorf("the new topic is %x and ends at %v", again.Identity(), again.End(0))
	}
}
