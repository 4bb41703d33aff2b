// Package pipelinetest is the contract of pipeline.Log as tests. Every
// implementation runs it.
package pipelinetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// Config is what a test asks of a log.
type Config struct {
	Partitions     int
	PartitionBytes int64 // the bound on records not released; 0 is the default
}

// Factory makes a new, empty log. The function it returns opens it, and opens
// the same log again after a Close. What it makes it cleans up with t.
type Factory func(t *testing.T, c Config) (open func() pipeline.Log)

// patience is how long anything may take before a test gives up.
const patience = 30 * time.Second

type contractTest struct {
	name string
	run  func(*testing.T, Factory)
}

// Run runs the contract for a log of one process: positions have no gaps, and it
// holds records for the owners until they release them.
func Run(t *testing.T, factory Factory) {
	run(t, factory, []contractTest{
		{"Dense", testDense},
		{"Full", testFull},
		{"FullIsPerPartition", testFullIsPerPartition},
		{"OwnsAll", testOwnsAll},
		{"OwnFails", testOwnFails},
	})
}

// RunShared runs the contract for a log that several processes share: positions
// may jump, and what is not released is no matter of memory.
func RunShared(t *testing.T, factory Factory) {
	run(t, factory, []contractTest{
		{"TooMany", testTooMany},
		{"GainsAll", testGainsAll},
		{"GainIsTriedAgain", testGainIsTriedAgain},
		{"CloseLoses", testCloseLoses},
	})
}

func run(t *testing.T, factory Factory, more []contractTest) {
	tests := []contractTest{
		{"Identity", testIdentity},
		{"ReadsWhatWasAppended", testReadsWhatWasAppended},
		{"OrderOfCalls", testOrderOfCalls},
		{"BatchIsTheCallersAfterDone", testBatchIsTheCallersAfterDone},
		{"MaxBytes", testMaxBytes},
		{"ReadWaits", testReadWaits},
		{"ReadStopsWithContext", testReadStopsWithContext},
		{"ReadFromTheMiddle", testReadFromTheMiddle},
		{"ReadFromTheEnd", testReadFromTheEnd},
		{"ReopenContinues", testReopenContinues},
		{"ReleasedIsStillReadable", testReleasedIsStillReadable},
		{"CloseFlushes", testCloseFlushes},
		{"Closed", testClosed},
		{"Concurrent", testConcurrent},
	}
	for _, test := range append(tests, more...) {
		t.Run(test.name, func(t *testing.T) { test.run(t, factory) })
	}
}

func testIdentity(t *testing.T, factory Factory) {
	open, other := factory(t, Config{Partitions: 3}), factory(t, Config{Partitions: 3})
	a, b := open(), other()
	id := a.Identity()
	if id == [16]byte{} || id == b.Identity() {
		t.Errorf("identities %x and %x", id, b.Identity())
	}
	closeLog(t, b)
	if a.Partitions() != 3 {
		t.Errorf("%d partitions, want 3", a.Partitions())
	}
	for p := range 3 {
		if a.End(p) != 0 {
			t.Errorf("partition %d of a new log ends at %v", p, a.End(p))
		}
	}
	closeLog(t, a)
	a = open()
	if a.Identity() != id {
		t.Errorf("identity %x after reopening, %x before", a.Identity(), id)
	}
	closeLog(t, a)
}

func testReadsWhatWasAppended(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 2})()
	first := Append(t, l, 0, "a", "bc", "")
	other := Append(t, l, 1, "x")
	next := Append(t, l, 0, "d")
	if first == 0 || next <= first+2 {
		t.Errorf("a batch of three is at %v, the next record at %v", first, next)
	}
	if l.End(0) != next || l.End(1) != other {
		t.Errorf("ends %v and %v, the last records are at %v and %v", l.End(0), l.End(1), next, other)
	}
	if last := Expect(t, l, 0, 0, "a", "bc", "", "d"); last != next {
		t.Errorf("the last record was appended at %v and read at %v", next, last)
	}
	if last := Expect(t, l, 1, 0, "x"); last != other {
		t.Errorf("the record was appended at %v and read at %v", other, last)
	}
	closeLog(t, l)
}

func testDense(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	for i, want := range []chat.Position{1, 4, 7} {
		if first := Append(t, l, 0, "a", "b", "c"); first != want || l.End(0) != want+2 {
			t.Errorf("batch %d of three is at %v, the end at %v, want %v and %v", i, first, l.End(0), want, want+2)
		}
	}
	closeLog(t, l)
}

func testOrderOfCalls(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	const n = 500
	var want []string
	var calls int
	var last chat.Position
	var wg sync.WaitGroup
	for i := range n {
		rec := fmt.Sprint("record ", i)
		want = append(want, rec)
		wg.Add(1)
		err := l.TryAppend(0, Frame(rec), 1, func(first chat.Position, err error) {
			if calls != i || first <= last || err != nil {
				t.Errorf("call %d of done is for batch %d at %v after %v, %v", calls, i, first, last, err)
			}
			calls++
			last = first
			if l.End(0) < first {
				t.Errorf("done for %v, the end is %v", first, l.End(0))
			}
			wg.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	await(t, &wg)
	Expect(t, l, 0, 0, want...)
	closeLog(t, l)
	if calls != n {
		t.Errorf("done was called %d times for %d batches", calls, n)
	}
}

func testBatchIsTheCallersAfterDone(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	batch := Frame("one", "two")
	var wg sync.WaitGroup
	for range 3 {
		wg.Add(1)
		if err := l.TryAppend(0, batch, 2, func(chat.Position, error) { wg.Done() }); err != nil {
			t.Fatal(err)
		}
		await(t, &wg)
		clear(batch)
		copy(batch, Frame("one", "two"))
	}
	for i := range batch {
		batch[i] = 0xff
	}
	Expect(t, l, 0, 0, "one", "two", "one", "two", "one", "two")
	closeLog(t, l)
}

func testMaxBytes(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	big := string(bytes.Repeat([]byte("b"), 1000))
	Append(t, l, 0, "a1", "a2", big, "a3", "a4")
	after := chat.Position(0)
	for _, want := range [][]string{{"a1", "a2"}, {big}, {"a3", "a4"}} {
		b := read(t, l, 0, after, 14)
		if got := records(t, b); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("Read after %v with 14 bytes gave %d records at %v, want %d", after, b.Count, b.First, len(want))
		}
		after = rising(t, after, b)
	}
	closeLog(t, l)
}

func testReadWaits(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	got := make(chan string, 10)
	go func() {
		defer close(got)
		after := chat.Position(0)
		for n := 0; n < 10; {
			b, err := l.Read(context.Background(), 0, after, 1<<20)
			if err != nil {
				t.Error(err)
				return
			}
			for _, rec := range records(t, b) {
				got <- rec
				n++
			}
			after = b.Last()
		}
	}()
	for i := range 10 {
		Append(t, l, 0, fmt.Sprint(i))
		if rec := <-got; rec != fmt.Sprint(i) {
			t.Fatalf("record %q, want %d", rec, i)
		}
	}
	for range got {
		t.Error("a record too many")
	}
	closeLog(t, l)
}

func testReadStopsWithContext(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() {
		_, err := l.Read(ctx, 0, 0, 1<<20)
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Read returned %v", err)
	}
	Append(t, l, 0, "later")
	Expect(t, l, 0, 0, "later")
	closeLog(t, l)
}

func testReadFromTheMiddle(t *testing.T, factory Factory) {
	open := factory(t, Config{Partitions: 2})
	l := open()
	one := Append(t, l, 0, "1", "2", "3")
	four := Append(t, l, 0, "4", "5")
	Append(t, l, 1, "other")
	Expect(t, l, 0, one+1, "3", "4", "5")
	closeLog(t, l)
	l = open()
	Expect(t, l, 0, one, "2", "3", "4", "5")
	closeLog(t, l)
	l = open()
	Expect(t, l, 0, one+2, "4", "5")
	Append(t, l, 0, "6")
	Expect(t, l, 0, four+1, "6")
	closeLog(t, l)
}

func testReadFromTheEnd(t *testing.T, factory Factory) {
	open := factory(t, Config{Partitions: 1})
	l := open()
	one := Append(t, l, 0, "1", "2")
	closeLog(t, l)
	l = open()
	Append(t, l, 0, "3")
	Expect(t, l, 0, one+1, "3")
	closeLog(t, l)
}

func testReopenContinues(t *testing.T, factory Factory) {
	open := factory(t, Config{Partitions: 2})
	var want []string
	var last, other chat.Position
	for round := range 4 {
		l := open()
		if l.End(0) != last || l.End(1) != other {
			t.Fatalf("round %d: the ends are %v and %v, they were %v and %v", round, l.End(0), l.End(1), last, other)
		}
		for i := range 3 {
			rec := fmt.Sprintf("round %d record %d", round, i)
			want = append(want, rec)
			first := Append(t, l, 0, rec)
			if first <= last {
				t.Fatalf("round %d: record %d is at %v after %v", round, len(want), first, last)
			}
			last = first
		}
		other = Append(t, l, 1, "one a round")
		Expect(t, l, 0, 0, want...)
		closeLog(t, l)
	}
}

func testFull(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1, PartitionBytes: 1000})()
	rec := string(bytes.Repeat([]byte("r"), 96))
	n := 0
	for ; ; n++ {
		if n > 10 {
			t.Fatalf("%d records of 100 bytes in 1,000 bytes", n)
		}
		if err := tryAppend(t, l, 0, rec); errors.Is(err, pipeline.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 10 {
		t.Errorf("full with %d records of 100 bytes, want 10", n)
	}
	// The owner's own records still go in.
	var wg sync.WaitGroup
	wg.Add(1)
	if err := l.Append(0, Frame("derived"), 1, func(first chat.Position, err error) {
		if first != 11 || err != nil {
			t.Errorf("derived record at %v, %v", first, err)
		}
		wg.Done()
	}); err != nil {
		t.Fatal(err)
	}
	await(t, &wg)
	// What was read and released makes room; what was only read does not.
	for after := chat.Position(0); after < 11; {
		after += chat.Position(read(t, l, 0, after, 1<<20).Count)
	}
	if err := tryAppend(t, l, 0, rec); !errors.Is(err, pipeline.ErrFull) {
		t.Errorf("an append before Release returned %v", err)
	}
	l.Release(0, 11, false)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Read(ctx, 0, 11, 1) // gives the last batch back
	if err := tryAppend(t, l, 0, rec); err != nil {
		t.Errorf("an append after Release returned %v", err)
	}
	closeLog(t, l)
}

func testFullIsPerPartition(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 2, PartitionBytes: 100})()
	rec := string(bytes.Repeat([]byte("r"), 90))
	if err := tryAppend(t, l, 0, rec); err != nil {
		t.Fatal(err)
	}
	if err := tryAppend(t, l, 0, rec); !errors.Is(err, pipeline.ErrFull) {
		t.Errorf("the second record of partition 0 got %v", err)
	}
	if err := tryAppend(t, l, 1, rec); err != nil {
		t.Errorf("the first record of partition 1 got %v", err)
	}
	closeLog(t, l)
}

func testReleasedIsStillReadable(t *testing.T, factory Factory) {
	open := factory(t, Config{Partitions: 1})
	l := open()
	one := Append(t, l, 0, "1", "2", "3")
	Expect(t, l, 0, 0, "1", "2", "3")
	l.Release(0, one+2, false)
	l.Release(0, one, true)
	closeLog(t, l)
	l = open()
	Expect(t, l, 0, one, "2", "3") // released, but not as durable
	closeLog(t, l)
}

func testCloseFlushes(t *testing.T, factory Factory) {
	open := factory(t, Config{Partitions: 2})
	l := open()
	var acked [2]atomic.Int64
	var ends [2]atomic.Uint64
	for i := range 200 {
		if err := l.TryAppend(i%2, Frame(fmt.Sprint(i/2)), 1, func(first chat.Position, err error) {
			if err == nil {
				acked[i%2].Add(1)
				ends[i%2].Store(uint64(first))
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	if acked[0].Load() != 100 || acked[1].Load() != 100 {
		t.Fatalf("%d and %d batches done, want 100 each", acked[0].Load(), acked[1].Load())
	}
	l = open()
	for p := range 2 {
		if l.End(p) != chat.Position(ends[p].Load()) {
			t.Errorf("partition %d ends at %v, the last record is at %v", p, l.End(p), ends[p].Load())
		}
	}
	closeLog(t, l)
}

func testClosed(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	result := make(chan error)
	go func() {
		_, err := l.Read(context.Background(), 0, 0, 1<<20)
		result <- err
	}()
	closeLog(t, l)
	if err := <-result; !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("Read returned %v", err)
	}
	never := func(chat.Position, error) { t.Error("done was called for what was refused") }
	if err := l.TryAppend(0, Frame("x"), 1, never); !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("TryAppend returned %v", err)
	}
	if err := l.Append(0, Frame("x"), 1, never); !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("Append returned %v", err)
	}
	closeLog(t, l) // a second time
}
