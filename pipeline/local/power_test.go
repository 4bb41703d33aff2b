package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

const powerPartitions = 2

// promise is what the log has said so far: what a power cut must not undo.
type promise struct {
	attempted [powerPartitions]atomic.Int64 // records given to TryAppend
	acked     [powerPartitions]atomic.Int64 // records whose done was called with success
	stored    [powerPartitions]atomic.Int64 // released as durable: may be gone from the log
}

// kept is a promise at one moment.
type kept struct{ attempted, acked, stored [powerPartitions]int64 }

func (p *promise) now() (k kept) {
	for i := range powerPartitions {
		k.acked[i] = p.acked[i].Load() // before what may only grow
		k.stored[i] = p.stored[i].Load()
	}
	return k
}

// TestPowerLoss cuts the power before and after every change of the filesystem:
// nothing unsynced survives, or a random half of it, by pages of 4 KiB and by
// directory entries. Every record whose done was called is there afterwards, in
// its place, and nothing is there that was not appended.
func TestPowerLoss(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var p promise
	rng := rand.New(rand.NewPCG(1, 2))
	cuts := 0
	var mu sync.Mutex // of rng and cuts
	cut := func(op) error {
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() {
			return nil
		}
		k := p.now()
		for _, percent := range []int{0, 50} {
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			for i := range powerPartitions {
				k.attempted[i] = p.attempted[i].Load()
			}
			cuts++
			checkSurvivor(t, clone, k, cuts%16 == 0)
		}
		return nil
	}
	s := &shim{FS: fs, before: cut, after: func(o op) { cut(o) }}
	o := small(Options{FS: s, Dir: "/data/log", Partitions: powerPartitions})
	for round := range 2 {
		l := mustOpen(t, o)
		powerLoad(t, l, &p, rng.Uint64(), 100*(1-round))
		if s := l.Stats(); round > 0 && s.Recycled == 0 {
			t.Errorf("round %d: no segment was recycled", round)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cut(op{})
	t.Logf("%d power cuts, %d and %d records", cuts, p.acked[0].Load(), p.acked[1].Load())
}

// powerLoad appends batches of many sizes, several at a time, while owners read,
// store and release all but the last records.
func powerLoad(t *testing.T, l *Log, p *promise, seed uint64, last int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithCancel(t.Context())
	var owners, inFlight sync.WaitGroup
	for i := range powerPartitions {
		l.Release(i, chat.Position(p.stored[i].Load()), true)
		owners.Go(func() { powerOwner(ctx, l, i, p, int64(last)) })
	}
	for range 45 {
		for range 1 + rng.IntN(4) {
			i, n := rng.IntN(powerPartitions), 1+rng.IntN(30)
			var recs []string
			for range n {
				recs = append(recs, powerRecord(i, p.attempted[i].Add(1)))
			}
			inFlight.Add(1)
			if err := l.TryAppend(i, pipelinetest.Frame(recs...), n, func(first chat.Position, err error) {
				if err != nil {
					t.Error(err)
				}
				p.acked[i].Store(int64(first) + int64(n) - 1)
				inFlight.Done()
			}); err != nil {
				t.Fatal(err)
			}
		}
		inFlight.Wait()
	}
	cancel()
	owners.Wait()
}

func powerOwner(ctx context.Context, l *Log, i int, p *promise, last int64) {
	for after := chat.Position(p.stored[i].Load()); ; {
		b, err := l.Read(ctx, i, after, 4000)
		if err != nil {
			return
		}
		after += chat.Position(b.Count)
		l.Release(i, after, false)
		if stored := int64(after) - last; stored > p.stored[i].Load() {
			p.stored[i].Store(stored)
			l.Release(i, chat.Position(stored), true)
		}
	}
}

// powerRecord is the n-th record of a partition, of 20 to some 200 bytes.
func powerRecord(partition int, n int64) string {
	return fmt.Sprintf("partition %d record %0*d", partition, 1+n%180, n)
}

// checkSurvivor opens what a power cut has left and reads all of it. With again
// the power fails once more at every change that recovery makes.
func checkSurvivor(t *testing.T, fs *vfs.MemFS, k kept, again bool) {
	s := &shim{FS: fs}
	var appended atomic.Bool
	if again {
		rng := rand.New(rand.NewPCG(3, 4))
		var mu sync.Mutex // of rng
		s.before = func(op) error {
			mu.Lock()
			defer mu.Unlock()
			if appended.Load() {
				return nil
			}
			checkSurvivor(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}), k, false)
			return nil
		}
	}
	l, err := Open(small(Options{FS: s, Dir: "/data/log", Partitions: powerPartitions}))
	if err != nil {
		t.Errorf("after a power cut: %v", err)
		return
	}
	for i := range powerPartitions {
		end := int64(l.End(i))
		if end < k.acked[i] || end > k.attempted[i] {
			t.Errorf("partition %d ends at %d; %d were acknowledged, %d appended", i, end, k.acked[i], k.attempted[i])
		}
		next := k.stored[i] + 1
		for next <= end {
			b, err := l.Read(t.Context(), i, chat.Position(next-1), 1<<20)
			if err != nil {
				t.Errorf("partition %d after %d of %d: %v", i, next-1, end, err)
				break
			}
			for _, rec := range pipelinetest.Records(t, b.Records) {
				if want := powerRecord(i, next); rec != want {
					t.Errorf("partition %d position %d holds %q, want %q", i, next, rec, want)
				}
				next++
			}
		}
	}
	appended.Store(true)
	if first := pipelinetest.Append(t, l, 0, "afterwards"); first != l.End(0) || int64(first) <= k.acked[0] {
		t.Errorf("a new record is at %v, %d were acknowledged", first, k.acked[0])
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close after a power cut: %v", err)
	}
}

// TestEpochSurvivesPowerLoss cuts the power at every change while a log is made
// and its epoch raised. It always opens, and when RaiseEpoch has returned, or a
// record of the new epoch was acknowledged, the epoch is there.
func TestEpochSurvivesPowerLoss(t *testing.T) {
	fs := vfs.NewCrashableMem()
	rng := rand.New(rand.NewPCG(5, 6))
	var raised, acked atomic.Int64 // the epoch, and the record's position
	var identity atomic.Value
	var mu sync.Mutex // of rng
	cut := func(op) error {
		mu.Lock()
		defer mu.Unlock()
		epoch, position, id := raised.Load(), acked.Load(), identity.Load()
		for _, percent := range []int{0, 30, 60} {
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			l, err := Open(small(Options{FS: clone, Dir: testDir}))
			if err != nil {
				t.Errorf("with epoch %d: %v", epoch, err)
				continue
			}
			if int64(l.Epoch()) < epoch || int64(l.End(0)) < position || id != nil && l.Identity() != id {
				t.Errorf("epoch %d and end %v, want %d and %v", l.Epoch(), l.End(0), epoch, chat.Position(position))
			}
			l.Close()
		}
		return nil
	}
	s := &shim{FS: fs, before: cut, after: func(o op) { cut(o) }}
	l := mustOpen(t, small(Options{FS: s, Dir: testDir}))
	identity.Store(l.Identity())
	for i := range 5 {
		if err := l.RaiseEpoch(uint16(i)); err != nil {
			t.Fatal(err)
		}
		raised.Store(int64(i + 1))
		acked.Store(int64(pipelinetest.Append(t, l, 0, "x")))
	}
}

// TestSegmentBeforeTheFirstBlockStays cuts the power when a segment has begun but
// holds no block yet, and the next is prepared already. All before it was
// released, but it alone says where the log ends.
func TestSegmentBeforeTheFirstBlockStays(t *testing.T) {
	fs := vfs.NewCrashableMem()
	prepared := make(chan struct{}, 1)
	s := &shim{FS: fs}
	s.before = func(o op) error {
		if o == (op{"write", segmentName(2)}) {
			<-prepared
			l := mustOpen(t, small(Options{FS: fs.CrashClone(vfs.CrashCloneCfg{}), Dir: testDir}))
			if l.End(0) != 5 {
				t.Errorf("the log ends at %v, 5 records were acknowledged", l.End(0))
			}
		}
		return nil
	}
	s.after = func(o op) {
		if o == (op{"rename", segmentName(3)}) {
			prepared <- struct{}{}
		}
	}
	l := mustOpen(t, small(Options{FS: s, Dir: testDir}))
	rec := strings.Repeat("r", 10_000)
	for range 6 { // five fill the first segment
		l.Release(0, pipelinetest.Append(t, l, 0, rec), true)
	}
	close(prepared)
}

// TestServedTailIsDurable lets a sync fail whose data stay readable, as the page
// cache keeps them, and opens the log again. What it serves then survives a
// power cut; and it was written again, as the system may count the pages of a
// failed sync as clean.
func TestServedTailIsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var broken atomic.Bool
	var writes atomic.Int64
	s := &shim{FS: fs}
	s.before = func(o op) error {
		if broken.Load() && o.kind == "sync" && o.onSegment() {
			return syscall.EIO
		}
		if o.kind == "write" && o.onSegment() {
			writes.Add(1)
		}
		return nil
	}
	o := small(Options{FS: s, Dir: testDir, Fatal: func(error) {}})
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 0, "synced")
	broken.Store(true)
	failed := make(chan error, 1)
	if err := l.Append(0, pipelinetest.Frame("not synced"), 1, func(_ chat.Position, err error) { failed <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Fatal("the sync did not fail")
	}
	l.Close()
	broken.Store(false)
	writes.Store(0)
	l = mustOpen(t, o)
	served := l.End(0)
	if writes.Load() == 0 {
		t.Error("the tail was not written again")
	}
	l.Close()
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{})
	if l = mustOpen(t, o); l.End(0) < served {
		t.Errorf("the log served up to %v and ends at %v after a power cut", served, l.End(0))
	}
	if served != 2 {
		t.Errorf("the log served up to %v: the test is blind", served)
	}
}

// TestAcknowledgementFollowsSync looks at the disk whenever done is called: what
// is synced by then holds the records, and no write of a segment is waiting for
// its sync.
func TestAcknowledgementFollowsSync(t *testing.T) {
	fs := vfs.NewCrashableMem()
	dirty := map[string]bool{}
	var mu sync.Mutex // of dirty
	s := &shim{FS: fs}
	s.before = func(o op) error {
		mu.Lock()
		defer mu.Unlock()
		if o.kind == "write" {
			dirty[o.name] = true
		}
		return nil
	}
	s.after = func(o op) {
		mu.Lock()
		defer mu.Unlock()
		if o.kind == "sync" {
			dirty[o.name] = false
		}
	}
	l := mustOpen(t, small(Options{FS: s, Dir: "/data/log", Partitions: 1}))
	var wg sync.WaitGroup
	for i := range 300 {
		rec := fmt.Sprintf("record %d of this test.", i)
		wg.Add(1)
		err := l.TryAppend(0, pipelinetest.Frame(rec), 1, func(first chat.Position, err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			for name, is := range dirty {
				if is && (op{name: name}).onSegment() {
					t.Errorf("done for %v while %s is not synced", first, name)
				}
			}
			holds := func(b []byte) bool { return bytes.Contains(b, []byte(rec)) }
			if !slices.ContainsFunc(synced(t, fs), holds) {
				t.Errorf("done for %v, but no synced file has it", first)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			wg.Wait()
		}
	}
	wg.Wait()
}

// synced returns the segments as they would be after a power cut.
func synced(t *testing.T, fs *vfs.MemFS) (files [][]byte) {
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	names, err := clone.List("/data/log")
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if !(op{name: name}).onSegment() {
			continue
		}
		f, err := clone.Open("/data/log/" + name)
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Error(err)
		}
		files = append(files, b)
	}
	return files
}
