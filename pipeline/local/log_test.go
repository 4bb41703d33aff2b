package local

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

func TestValidate(t *testing.T) {
	err := Options{Partitions: -1, SegmentBytes: 1, BlockBytes: -1, PartitionBytes: -1, QueueBytes: -1, Every: -1, SpareSegments: -1}.Validate()
	for _, field := range []string{"Dir", "Partitions", "SegmentBytes", "BlockBytes", "PartitionBytes", "QueueBytes", "Every", "SpareSegments"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("no word of %s in: %v", field, err)
		}
	}
	if err := (Options{Dir: "x"}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if err := (Options{Dir: "x", SegmentBytes: 1 << 20, BlockBytes: 1 << 20}).Validate(); err == nil {
		t.Error("a block as large as a segment has no room for its header")
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("Open without a directory")
	}
}

func TestPartitionsAreFixed(t *testing.T) {
	o := memOptions()
	mustOpen(t, o).Close()
	o.Partitions = 3
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "2 partitions, asked for are 3") {
		t.Errorf("another number of partitions: %v", err)
	}
	o.Partitions = 0
	if l := mustOpen(t, o); l.Partitions() != 2 {
		t.Errorf("%d partitions", l.Partitions())
	}
}

func TestRefusedBatches(t *testing.T) {
	o := memOptions()
	l := mustOpen(t, o)
	never := func(chat.Position, error) { t.Error("done was called") }
	largest := strings.Repeat("x", o.BlockBytes-frameBytes)
	if err := l.TryAppend(0, pipelinetest.Frame(largest+"x"), 1, never); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a batch of BlockBytes and one: %v", err)
	}
	good := pipelinetest.Frame("a", "b")
	for _, bad := range []struct {
		batch []byte
		count int
	}{{nil, 0}, {good, 0}, {good, 1}, {good, 3}, {good, -1}, {good[:9], 2}, {good[:3], 1}} {
		if err := l.Append(0, bad.batch, bad.count, never); !errors.Is(err, ErrBadBatch) {
			t.Errorf("%d bytes as %d records: %v", len(bad.batch), bad.count, err)
		}
	}
	pipelinetest.Append(t, l, 0, largest)
	pipelinetest.Expect(t, l, 0, 0, largest)
}

// held is a log whose next sync waits until the returned function is called.
func held(t *testing.T, o Options) (*Log, func()) {
	waiting, let := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	s := &shim{FS: o.FS}
	s.before = func(o op) error {
		if o.kind == "sync" && o.onSegment() && armed.CompareAndSwap(true, false) {
			close(waiting)
			<-let
		}
		return nil
	}
	o.FS = s
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 0, "first")
	armed.Store(true)
	if err := l.Append(0, pipelinetest.Frame("held"), 1, func(chat.Position, error) {}); err != nil {
		t.Fatal(err)
	}
	<-waiting
	return l, func() { close(let) }
}

// TestQueueBound fills the queue while a sync hangs. The bound is on all
// partitions together; derived records pass it.
func TestQueueBound(t *testing.T) {
	o := memOptions()
	o.QueueBytes = 1000
	l, let := held(t, o)
	var done sync.WaitGroup
	count := func(_ chat.Position, err error) {
		if err != nil {
			t.Error(err)
		}
		done.Done()
	}
	rec := pipelinetest.Frame(strings.Repeat("r", 96))
	n := 0
	for ; ; n++ {
		done.Add(1)
		if err := l.TryAppend(n%2, rec, 1, count); errors.Is(err, pipeline.ErrFull) {
			done.Done()
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 9 { // 8 bytes are held already
		t.Errorf("%d records of 100 bytes in a queue of 1,000", n)
	}
	done.Add(1)
	if err := l.Append(1, rec, 1, count); err != nil {
		t.Errorf("a derived record: %v", err)
	}
	if s := l.Stats(); s.QueueBytes != 1008 || s.QueueBatches != 10 || s.Full != 1 {
		t.Errorf("%d bytes, %d batches, %d refused", s.QueueBytes, s.QueueBatches, s.Full)
	}
	let()
	done.Wait()
	if err := l.TryAppend(0, rec, 1, func(chat.Position, error) {}); err != nil {
		t.Errorf("after the sync: %v", err)
	}
}

// TestGroupCommit counts: what is queued during a sync goes with the next, in
// as few blocks as BlockBytes allows.
func TestGroupCommit(t *testing.T) {
	o := memOptions()
	l, let := held(t, o)
	before := l.Stats().Syncs
	var done sync.WaitGroup
	rec := pipelinetest.Frame(strings.Repeat("r", 996))
	for range 40 { // 40,000 bytes in blocks of at most 16 KiB
		done.Add(1)
		if err := l.TryAppend(1, rec, 1, func(chat.Position, error) { done.Done() }); err != nil {
			t.Fatal(err)
		}
	}
	let()
	done.Wait()
	s := l.Stats()
	if n := s.Syncs - before; n != 4 { // the held one and three
		t.Errorf("%d syncs", n)
	}
	if s.Records != 42 || s.RecordBytes != 40*1000+9+8 || s.DiskBytes%alignBytes != 0 {
		t.Errorf("%d records, %d bytes, %d on disk", s.Records, s.RecordBytes, s.DiskBytes)
	}
	var counted uint64
	for _, n := range s.SyncCounts {
		counted += n
	}
	if counted != s.Syncs || s.SyncTime <= 0 {
		t.Errorf("%d of %d syncs in the histogram, %v", counted, s.Syncs, s.SyncTime)
	}
}

// With Every what comes soon after a commit waits for the next, and that begins when
// it may, or when much waits.
func TestCommitsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = time.Second
		o := memOptions()
		o.Every = every
		l := mustOpen(t, o)
		began := time.Now()
		at := make(chan time.Duration, 64)
		put := func(n int, size int) {
			for range n {
				if err := l.Append(0, pipelinetest.Frame(strings.Repeat("r", size)), 1, func(chat.Position, error) { at <- time.Since(began) }); err != nil {
					t.Fatal(err)
				}
			}
		}
		put(1, 10)
		if d := <-at; d != 0 {
			t.Errorf("the first waited %v", d)
		}
		syncs := l.Stats().Syncs
		put(3, 10)
		for range 3 {
			if d := <-at; d != every {
				t.Errorf("what came behind it was durable at %v", d)
			}
		}
		if n := l.Stats().Syncs - syncs; n != 1 {
			t.Errorf("%d syncs", n)
		}
		put(lingerBytes/8192+1, 8192)
		for range lingerBytes/8192 + 1 {
			if d := <-at; d != every {
				t.Errorf("much was durable at %v", d)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestEpochs raises the epoch: positions go on above all there were, also after
// reopening, and a reader whose store is ahead of the old epoch misses nothing.
func TestEpochs(t *testing.T) {
	o := memOptions()
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 0, "a", "b")
	if err := l.RaiseEpoch(0); err != nil {
		t.Fatal(err)
	}
	if err := l.RaiseEpoch(0); err != nil || l.Epoch() != 1 {
		t.Errorf("raised twice above 0: epoch %d, %v", l.Epoch(), err)
	}
	if l.End(0) != 2 {
		t.Errorf("the end moved to %v without a record", l.End(0))
	}
	l.Close()
	l = mustOpen(t, o)
	if l.Epoch() != 1 {
		t.Errorf("epoch %d after reopening", l.Epoch())
	}
	if first := pipelinetest.Append(t, l, 0, "c", "d"); first != chat.NewPosition(1, 1) {
		t.Errorf("the first of the epoch is at %v", first)
	}
	if err := l.RaiseEpoch(6); err != nil {
		t.Fatal(err)
	}
	if first := pipelinetest.Append(t, l, 0, "e"); first != chat.NewPosition(7, 1) {
		t.Errorf("the first after a jump is at %v", first)
	}
	pipelinetest.Expect(t, l, 0, chat.NewPosition(0, 900), "c", "d")
	l.Close()
	l = mustOpen(t, o)
	if l.End(0) != chat.NewPosition(7, 1) || l.End(1) != 0 {
		t.Errorf("ends %v and %v", l.End(0), l.End(1))
	}
	if first := pipelinetest.Append(t, l, 1, "x"); first != chat.NewPosition(7, 1) {
		t.Errorf("partition 1 begins at %v", first)
	}
	if err := l.RaiseEpoch(1<<16 - 1); err == nil {
		t.Error("an epoch above the last")
	}
}

// TestLastOffset takes the last offset of an epoch: the next record begins another.
func TestLastOffset(t *testing.T) {
	o := memOptions()
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 0, "a")
	l.committer.ends[0] = chat.NewPosition(0, chat.MaxOffset-1)
	if first := pipelinetest.Append(t, l, 0, "b", "c"); first != chat.NewPosition(1, 1) {
		t.Errorf("two records after the last offset but one are at %v", first)
	}
}

// TestRecycling writes many times what the log keeps. Files stay few, positions
// go on, and blocks left over in a file are not taken for new ones.
func TestRecycling(t *testing.T) {
	o := memOptions()
	var want []string
	for round := range 3 {
		l := mustOpen(t, o)
		after := l.End(0)
		l.Release(0, after, true)
		for i := range 150 {
			rec := fmt.Sprintf("round %d record %d %s", round, i, strings.Repeat("x", i*53%3000))
			want = append(want, rec)
			pipelinetest.Append(t, l, 0, rec)
			if round < 2 || i < 145 { // what is released may go, the last five are read below
				drain(t, l, after, l.End(0))
				after = l.End(0)
			}
		}
		if s := l.Stats(); s.Recycled == 0 || s.Segments > 2+o.withDefaults().SpareSegments {
			t.Errorf("%d segments, %d recycled", s.Segments, s.Recycled)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := mustOpen(t, o)
	if l.End(0) != chat.Position(len(want)) {
		t.Fatalf("the log ends at %v, %d were appended", l.End(0), len(want))
	}
	pipelinetest.Expect(t, l, 0, l.End(0)-5, want[len(want)-5:]...)
}

// TestOldestPartitionHolds keeps all segments while one owner has not released,
// and deletes when it has. A partition without records holds nothing.
func TestOldestPartitionHolds(t *testing.T) {
	o := memOptions()
	o.Partitions, o.SpareSegments = 3, 1
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 1, "slow")
	rec := strings.Repeat("x", 10_000)
	for range 50 {
		l.Release(0, pipelinetest.Append(t, l, 0, rec), true)
	}
	if s := l.Stats(); s.Segments < 9 || s.Recycled+s.Deleted > 0 {
		t.Errorf("%d segments, %d recycled, %d deleted, while partition 1 holds the first", s.Segments, s.Recycled, s.Deleted)
	}
	l.Release(1, 1, false)
	if s := l.Stats(); s.IdleSegments > 0 {
		t.Errorf("%d idle segments, though partition 1 is not durable", s.IdleSegments)
	}
	l.Release(1, 1, true)
	eventually(t, func() bool { return l.Stats().Segments <= 3 })
	l.Close()
	l = mustOpen(t, o)
	if l.End(0) != 50 || l.End(1) != 1 || l.End(2) != 0 {
		t.Errorf("ends %v, %v and %v", l.End(0), l.End(1), l.End(2))
	}
	if _, err := l.Read(t.Context(), 0, 0, 1); !errors.Is(err, pipeline.ErrGone) {
		t.Errorf("Read of what was deleted: %v", err)
	}
	if _, err := l.Read(t.Context(), 1, 0, 1); !errors.Is(err, pipeline.ErrGone) {
		t.Errorf("Read of what was deleted: %v", err)
	}
}

// eventually waits for what another goroutine does, and gives up in the end.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

// TestReplayGoesOverToMemory reads what was on the disk while more is appended,
// with a bound that the disk's part exceeds by far.
func TestReplayGoesOverToMemory(t *testing.T) {
	o := memOptions()
	want := fill(t, o, 100)
	o.PartitionBytes = 4000
	l := mustOpen(t, o)
	if held := l.Stats().PartitionHeld[0]; held != 0 {
		t.Errorf("%d bytes in memory after Open", held)
	}
	for i := range 10 {
		rec := fmt.Sprint("new ", i)
		want = append(want, rec)
		pipelinetest.Append(t, l, 0, rec)
	}
	after := chat.Position(0)
	for i := 0; i < len(want); {
		b, err := l.Read(t.Context(), 0, after, 300)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range pipelinetest.Records(t, b.Records) {
			if rec != want[i] {
				t.Fatalf("record %d is %.50q, want %.50q", i, rec, want[i])
			}
			i++
		}
		after += chat.Position(b.Count)
		l.Release(0, after, true)
	}
	if n := l.partitions[0].replayer.buf; n != nil {
		t.Error("the replay's buffer is kept")
	}
}

// TestReplayPassesOverWhatIsReused reads a late record from the disk when the
// segments before it are in use again.
func TestReplayPassesOverWhatIsReused(t *testing.T) {
	o := memOptions()
	l := mustOpen(t, o)
	rec := strings.Repeat("x", 10_000)
	pipelinetest.Append(t, l, 1, "early")
	for range 30 {
		pipelinetest.Append(t, l, 0, rec)
	}
	pipelinetest.Append(t, l, 1, "late")
	l.Close()
	l = mustOpen(t, o)
	l.Release(0, 30, true)
	l.Release(1, 1, true)
	for l.Stats().Recycled < 2 {
		pipelinetest.Append(t, l, 0, rec)
	}
	pipelinetest.Expect(t, l, 1, 1, "late")
}

// TestMemoryIsGivenBack comes back to nothing held, whatever the sizes.
func TestMemoryIsGivenBack(t *testing.T) {
	o := small(Options{FS: vfs.NewMem(), Dir: testDir, Partitions: 1})
	o.SegmentBytes, o.BlockBytes = 1200<<10, 1100<<10
	l := mustOpen(t, o)
	after := chat.Position(0)
	for _, size := range []int{0, 1, 1000, chunkBytes - frameBytes, chunkBytes, 2*chunkBytes + 7, 3} {
		rec := strings.Repeat("m", size)
		recs := []string{rec, "between", rec}
		pipelinetest.Append(t, l, 0, recs...)
		pipelinetest.Expect(t, l, 0, after, recs...)
		after += 3
		l.Release(0, after, false)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.Read(ctx, 0, after, 1)
	if s := l.Stats(); s.PartitionHeld[0] != 0 || l.partitions[0].head != nil || l.partitions[0].tail != nil {
		t.Errorf("%d bytes held after all was released", s.PartitionHeld[0])
	}
}

// TestLentStaysValid reads a batch, releases all, appends more, and looks at the
// batch again.
func TestLentStaysValid(t *testing.T) {
	l := mustOpen(t, memOptions())
	pipelinetest.Append(t, l, 0, "lent")
	b, err := l.Read(t.Context(), 0, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	l.Release(0, 1, true)
	for range 50 {
		pipelinetest.Append(t, l, 0, "overwritten")
		pipelinetest.Append(t, l, 1, "overwritten")
	}
	if got := pipelinetest.Records(t, b.Records); got[0] != "lent" {
		t.Errorf("the batch became %q", got)
	}
}

// TestReleasedBeforeRead releases what nobody has read: the reader still gets it.
func TestReleasedBeforeRead(t *testing.T) {
	l := mustOpen(t, memOptions())
	pipelinetest.Append(t, l, 0, "a", "b")
	l.Release(0, 2, false)
	pipelinetest.Expect(t, l, 0, 0, "a", "b")
}

// TestSizesMayChange opens a log with other sizes than it was written with.
func TestSizesMayChange(t *testing.T) {
	o := memOptions()
	want := fill(t, o, 40)
	for _, size := range []int64{256 << 10, 64 << 10, 128 << 10} {
		o.SegmentBytes = size
		o.BlockBytes = int(size / 2)
		l := mustOpen(t, o)
		big := strings.Repeat("b", o.BlockBytes-100)
		want = append(want, big, "small")
		pipelinetest.Append(t, l, 0, big)
		pipelinetest.Append(t, l, 0, "small")
		pipelinetest.Expect(t, l, 0, 0, want...)
		l.Close()
	}
}

// TestAppendAllocatesNothing counts what a batch costs from TryAppend to Read
// and Release, in this goroutine and the log's.
func TestAppendAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets on purpose")
	}
	o := memOptions()
	o.SegmentBytes = 4 << 20 // no new one on the way
	l := mustOpen(t, o)
	batch := pipelinetest.Frame("one", "two", "three")
	firsts := make(chan chat.Position, 1)
	done := func(first chat.Position, _ error) { firsts <- first }
	ctx := t.Context()
	round := func() {
		if err := l.TryAppend(0, batch, 3, done); err != nil {
			t.Fatal(err)
		}
		first := <-firsts
		if _, err := l.Read(ctx, 0, first-1, 1<<20); err != nil {
			t.Fatal(err)
		}
		l.Release(0, first+2, true)
	}
	round()
	if n := testing.AllocsPerRun(500, round); n >= 1 {
		t.Errorf("%v allocations a batch", n)
	}
}
