package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// The last record of an append has a position that is a multiple of MaxRecords.
func TestPositions(t *testing.T) {
	l := mustOpen(t, newTopics(t, options(services.Kafka(t)), 1))
	for i, size := range []int{1, 3, MaxRecords, MaxRecords, 2} {
		end := chat.Position((i + 1) * MaxRecords)
		if first := pipelinetest.Append(t, l, 0, make([]string, size)...); first != end-chat.Position(size)+1 {
			t.Errorf("append %d of %d is at %v", i, size, first)
		}
		if l.End(0) != end {
			t.Errorf("after append %d the log ends at %v, not %v", i, l.End(0), end)
		}
	}
	// Appends that follow one another without a gap need no jump.
	var got []chat.Position
	var jumps int
	for after := chat.Position(0); after < l.End(0); after = got[len(got)-1] {
		b, err := l.Read(t.Context(), 0, after, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, pipelinetest.Positions(b)...)
		jumps = max(jumps, len(b.Jumps))
	}
	var want []chat.Position
	for i, size := range []int{1, 3, MaxRecords, MaxRecords, 2} {
		for k := range size {
			want = append(want, chat.Position((i+1)*MaxRecords-size+1+k))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("read are %v", got)
	}
	if jumps > 3 {
		t.Errorf("%d jumps between 5 appends, of which two follow one another", jumps)
	}
}

func TestBuilder(t *testing.T) {
	var b builder
	for range 2 { // the second time in used memory
		b.reset()
		one, two, three := pipelinetest.Frame("a", "b"), pipelinetest.Frame("c"), pipelinetest.Frame("d")
		b.add(255, one, 2)
		if &b.batch.Records[0] != &one[0] {
			t.Error("a single run was copied")
		}
		b.add(257, two, 1)
		b.add(768, three, 1)
		if got := pipelinetest.Positions(b.batch); !slices.Equal(got, []chat.Position{255, 256, 257, 768}) || b.batch.Last() != 768 {
			t.Errorf("positions %v", got)
		}
		if got := pipelinetest.Records(t, b.batch.Records); fmt.Sprint(got) != "[a b c d]" || b.batch.Count != 4 || len(b.batch.Jumps) != 1 {
			t.Errorf("records %v, %+v", got, b.batch)
		}
	}
}

func TestCountFramed(t *testing.T) {
	full := pipelinetest.Frame(make([]string, MaxRecords)...)
	for _, test := range []struct {
		name  string
		bytes []byte
		want  int
	}{
		{"nothing", nil, 0},
		{"one", pipelinetest.Frame("a"), 1},
		{"an empty one", pipelinetest.Frame(""), 1},
		{"the most", full, MaxRecords},
		{"one too many", append(full, 0, 0, 0, 0), 0},
		{"half a length", []byte{1, 0}, 0},
		{"less than the length", []byte{5, 0, 0, 0, 'a'}, 0},
		{"a length of 4 GiB", []byte{0xff, 0xff, 0xff, 0xff, 'a'}, 0},
		{"something after it", append(pipelinetest.Frame("a"), 'x'), 0},
	} {
		if got := countFramed(test.bytes); got != test.want {
			t.Errorf("%s: %d records, want %d", test.name, got, test.want)
		}
	}
}

// deleteBefore has brokers delete what is below a Kafka offset.
func deleteBefore(t *testing.T, o Options, offset int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topicName(o.Prefix, 0), Partition: 0, At: offset, LeaderEpoch: -1})
	answer, err := admin(t, o).DeleteRecords(t.Context(), offsets)
	if err = errors.Join(err, answer.Error()); err != nil {
		t.Fatal(err)
	}
}

func TestGone(t *testing.T) {
	o := newTopics(t, options(services.Kafka(t)), 1)
	l := mustOpen(t, o)
	var firsts []chat.Position
	for i := range 10 {
		firsts = append(firsts, pipelinetest.Append(t, l, 0, fmt.Sprint(i), "x"))
	}
	deleteBefore(t, o, 5)
	for _, after := range []chat.Position{0, firsts[2], firsts[4], 4*MaxRecords + 1} {
		if _, err := l.Read(t.Context(), 0, after, 1000); !errors.Is(err, pipeline.ErrGone) {
			t.Errorf("Read after %v returned %v", after, err)
		}
	}
	// All of what was deleted was read: nothing is missing.
	pipelinetest.Expect(t, l, 0, firsts[4]+1, "5", "x", "6", "x", "7", "x", "8", "x", "9", "x")
	// A position above the end is of a log that had more.
	if _, err := l.Read(t.Context(), 0, l.End(0)+MaxRecords, 1000); !errors.Is(err, pipeline.ErrGone) {
		t.Errorf("Read above the end returned %v", err)
	}
	if _, err := l.Read(t.Context(), 0, chat.NewPosition(1, 0), 1000); err == nil {
		t.Error("Read of a later epoch returned nothing")
	}
}

// Records that are deleted while a reader is on its way to them are missed by it.
func TestGoneWhileReading(t *testing.T) {
	o := options(services.Kafka(t))
	o.ReadBytes = 1
	o = newTopics(t, o, 1)
	l := mustOpen(t, o)
	big := strings.Repeat("b", 100<<10)
	for range 40 { // more than a fetch
		pipelinetest.Append(t, l, 0, big)
	}
	b, err := l.Read(t.Context(), 0, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	deleteBefore(t, o, 39)
	read := 1
	for after := b.Last(); ; read++ {
		b, err := l.Read(t.Context(), 0, after, 1)
		if errors.Is(err, pipeline.ErrGone) {
			break
		}
		if err != nil || b.First != after+MaxRecords {
			t.Fatalf("after %v: %v, %v", after, b.First, err)
		}
		after = b.Last()
	}
	if read >= 39 {
		t.Error("everything was fetched before it was deleted: nothing was tested")
	}
}

func TestReadGoesBack(t *testing.T) {
	l := mustOpen(t, newTopics(t, options(services.Kafka(t)), 1))
	var want []string
	var firsts []chat.Position
	for i := range 6 {
		want = append(want, fmt.Sprint(i))
		firsts = append(firsts, pipelinetest.Append(t, l, 0, want[i]))
	}
	last := pipelinetest.Expect(t, l, 0, 0, want...)
	pipelinetest.Expect(t, l, 0, firsts[1], want[2:]...) // as a new owner does
	pipelinetest.Expect(t, l, 0, firsts[3], want[4:]...)
	pipelinetest.Expect(t, l, 0, 0, want...)
	pipelinetest.Append(t, l, 0, "next")
	pipelinetest.Expect(t, l, 0, last, "next")
}

// What a slow owner does not read waits with the brokers, and nothing of it is
// lost or doubled by that.
func TestReadIsBounded(t *testing.T) {
	o := options(services.Kafka(t))
	o.ReadBytes = 64 << 10
	o = newTopics(t, o, 2)
	l := mustOpen(t, o)
	filler := strings.Repeat("f", 32<<10)
	const n = 300 // about 10 MiB
	var wait []chan struct{}
	for i := range n {
		done := make(chan struct{})
		wait = append(wait, done)
		if err := l.Append(0, pipelinetest.Frame(fmt.Sprint(i), filler), 2, func(_ chat.Position, err error) {
			if err != nil {
				t.Error(err)
			}
			close(done)
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, done := range wait {
		<-done
	}
	next, told, largest := 0, 0, int64(0)
	for after := chat.Position(0); next < n; {
		b, err := l.Read(t.Context(), 0, after, 40<<10)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range pipelinetest.Records(t, b.Records) {
			if rec == filler {
				continue
			}
			if rec != fmt.Sprint(next) {
				t.Fatalf("record %q, want %d", rec, next)
			}
			next++
		}
		after = b.Last()
		largest = max(largest, l.Stats().FetchedBytes)
		if next >= told+50 { // the other partition is not held up
			told += 50
			pipelinetest.Append(t, l, 1, fmt.Sprint(told))
		}
	}
	pipelinetest.Expect(t, l, 1, 0, "50", "100", "150", "200", "250", "300")
	if bound := int64(o.ReadBytes + fetchPartitionBytes + 64<<10); largest > bound || largest == 0 {
		t.Errorf("%d bytes were fetched and not read, the bound is %d", largest, bound)
	}
}

// What is in the topic and is no batch of ours is kept elsewhere, and passed
// over.
func TestDeadLetters(t *testing.T) {
	o := newTopics(t, options(services.Kafka(t)), 2)
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 1, "good")
	raw := client(t, o, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, value := range []string{"junk", ""} {
		r := &kgo.Record{Topic: topicName(o.Prefix, 0), Partition: 1, Value: []byte(value)}
		if err := raw.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	better := pipelinetest.Append(t, l, 1, "better")
	if last := pipelinetest.Expect(t, l, 1, 0, "good", "better"); last != better || last != 4*MaxRecords {
		t.Errorf("the last record was appended at %v and read at %v", better, last)
	}
	l.DeadLetter(0, 12345, "a record of version 9", []byte("future"))
	if err := l.Close(); err != nil { // which waits for them
		t.Fatal(err)
	}
	want := []DeadLetter{
		{Partition: 1, Position: 2 * MaxRecords, Reason: "a Kafka record that is no batch of ours", Raw: []byte("junk")},
		{Partition: 1, Position: 3 * MaxRecords, Reason: "a Kafka record that is no batch of ours"},
		{Partition: 0, Position: 12345, Reason: "a record of version 9", Raw: []byte("future")},
	}
	got := allLetters(t, o)
	compareLetters(t, got, want)

	l = mustOpen(t, o)
	place, err := l.Replay(t.Context(), got[2], 0, []byte("mended"))
	if err != nil {
		t.Fatal(err)
	}
	if last := pipelinetest.Expect(t, l, 0, 0, "mended"); last != place {
		t.Errorf("replayed at %v, read at %v", place, last)
	}
	want[2].Replayed = true
	compareLetters(t, allLetters(t, o), want)
}

func allLetters(t *testing.T, o Options) (all []DeadLetter) {
	t.Helper()
	if err := DeadLetters(t.Context(), o, func(d DeadLetter) error { all = append(all, d); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func compareLetters(t *testing.T, got, want []DeadLetter) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d dead letters, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.Partition != w.Partition || g.Position != w.Position || g.Reason != w.Reason || string(g.Raw) != string(w.Raw) || g.Replayed != w.Replayed {
			t.Errorf("dead letter %d is %+v, want %+v", i, g, w)
		}
		if g.Topic == "" || time.Since(g.At) > time.Hour {
			t.Errorf("dead letter %d is of topic %q at %v", i, g.Topic, g.At)
		}
	}
}

// Dead letters never hold a partition up: past their bound they are counted.
func TestDeadLettersAreBounded(t *testing.T) {
	c, o := fake(t, 1)
	o.CloseTimeout = 50 * time.Millisecond
	l := mustOpen(t, o)
	held, _ := hold(t, c)
	l.DeadLetter(0, 1, "first", nil)
	<-held
	for range maxLettersQueued + 3 {
		l.DeadLetter(0, 1, "more", nil)
	}
	if s := l.Stats(); s.DeadLetters != maxLettersQueued+4 || s.LostLetters != 3 {
		t.Errorf("%d dead letters, %d lost", s.DeadLetters, s.LostLetters)
	}
	closed, cancel := context.WithTimeout(context.Background(), patience)
	go func() { defer cancel(); l.Close() }()
	<-closed.Done()
	if !errors.Is(closed.Err(), context.Canceled) {
		t.Error("Close does not return")
	}
}
