package shard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/local"
	"github.com/rookery-chat/rookery/storage/pebble"
)

const powerPartitions = 2

// sent is what gateways know of a workload: what they gave to the log, in
// order, and which of it has been acknowledged, with its place.
type sent struct {
	known *memLog                   // acknowledged, and what else was found to have survived
	todo  [powerPartitions][][]byte // not acknowledged
}

func (s *sent) clone() *sent {
	c := &sent{known: newMemLog(powerPartitions)}
	for p := range s.known.parts {
		c.known.parts[p].records = slices.Clone(s.known.parts[p].records)
		c.todo[p] = slices.Clone(s.todo[p])
	}
	return c
}

// powerCut is what a power cut left, and what had been acknowledged by then.
type powerCut struct {
	disk  *vfs.MemFS
	sent  *sent
	where string
}

// powered is one life of a log and a store on one disk. The power is cut before
// some of its writes: each cut is a clone of the disk, and the life goes on.
type powered struct {
	t      *testing.T
	mu     sync.Mutex
	disk   *vfs.MemFS
	sent   *sent
	again  bool // what is not acknowledged is sent as retries
	every  int  // writes from one cut to the next; 0 cuts nothing
	writes int
	cuts   []powerCut
}

func (w *powered) String() string { return "power" }

func (w *powered) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || w.every == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writes++; w.writes%w.every != 0 {
		return nil
	}
	sent := w.sent.clone() // before the clone: what was acknowledged has to be in it
	percent := []int{0, 50, 0, 90}[w.writes/w.every%4]
	disk := w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(w.writes), 9))})
	w.cuts = append(w.cuts, powerCut{disk, sent, fmt.Sprintf("write %d (%s)", w.writes, op.Path)})
	return nil
}

// open opens log and store, and checks what is in them before the owners start.
func (w *powered) open(users []chat.User) *real {
	w.t.Helper()
	fs, o := errorfs.Wrap(w.disk, w), quiet()
	log := w.openLog(fs)
	w.survived(log)
	if err := log.Close(); err != nil { // it is read once, in order
		w.t.Fatal(err)
	}
	log = w.openLog(fs)
	store, err := pebble.Open(pebble.Options{Dir: "/data/store", MemtableBytes: 1 << 20, CacheBytes: 1 << 20, FS: fs, Logger: o.Logger})
	if err != nil {
		w.t.Fatal(err)
	}
	r := &real{t: w.t, log: log, store: store}
	w.marked(r, users)
	o.BatchRecords = 3
	if r.Shards, err = Start(w.t.Context(), o, log, store, newEntries()); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *powered) openLog(fs vfs.FS) *local.Log {
	w.t.Helper()
	log, err := local.Open(local.Options{
		Dir: "/data/log", Partitions: powerPartitions, SegmentBytes: local.MinSegmentBytes, BlockBytes: 16 << 10, FS: fs, Logger: quiet().Logger,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return log
}

// survived reads what the log holds beyond what was acknowledged: derived
// records, and the first of those that were not acknowledged.
func (w *powered) survived(log *local.Log) {
	w.t.Helper()
	for p := range powerPartitions {
		after := w.sent.known.end(p)
		if log.End(p) < after {
			w.t.Fatalf("partition %d ends at %v, %v was acknowledged", p, log.End(p), after)
		}
		todo := w.sent.todo[p]
		for after < log.End(p) {
			b, err := log.Read(w.t.Context(), p, after, 1<<20)
			if errors.Is(err, pipeline.ErrGone) { // derived records, stored and deleted
				after++
				continue
			}
			if err != nil {
				w.t.Fatal(err)
			}
			for rest := b.Records; len(rest) > 0; {
				var raw []byte
				if raw, rest, err = record.NextFramed(rest); err != nil {
					w.t.Fatal(err)
				}
				after++
				var rec record.Record
				switch {
				case len(todo) > 0 && slices.Equal(raw, todo[0]):
					w.mu.Lock()
					w.sent.known.parts[p].records = append(w.sent.known.parts[p].records, memRecord{after, slices.Clone(raw)})
					w.mu.Unlock()
					todo = todo[1:]
				case rec.Decode(raw) != nil || rec.Kind != record.Copy && rec.Kind != record.Receipt && rec.Kind != record.Fanout:
					w.t.Fatalf("partition %d holds %q at %v, which nobody appended there", p, raw, after)
				}
			}
		}
	}
}

// marked checks that marks lead neither the log nor the rows, and that no inbox
// refers to a message that is not there.
func (w *powered) marked(r *real, users []chat.User) {
	w.t.Helper()
	ctx := context.Background()
	for p := range powerPartitions {
		mark, err := r.store.Mark(ctx, p)
		if err != nil || mark.Position > r.log.End(p) {
			w.t.Fatalf("partition %d is stored up to %v, the log ends at %v: %v", p, mark.Position, r.log.End(p), err)
		}
		upTo := newMemLog(powerPartitions)
		for _, rec := range w.sent.known.parts[p].records {
			if rec.pos <= mark.Position {
				upTo.parts[p].records = append(upTo.parts[p].records, rec)
			}
		}
		plain, _ := direct(upTo, new(memRows))
		has := modelOf(w.t, plain).messages
		maps.Copy(has, groupsOf(w.t, upTo).messages)
		for k := range has {
			if _, found, err := r.store.Message(ctx, k.chat, k.id, 0); !found || err != nil {
				w.t.Errorf("partition %d is marked up to %v, but has no message %v: %v", p, mark.Position, k.id, err)
			}
		}
	}
	for _, user := range users {
		entries, _, err1 := r.store.Inbox(ctx, user, 0, 1<<62, 1<<20, 0, nil)
		rows, err2 := r.store.Waiting(ctx, user, 0, 1<<62, 1<<20)
		if err := errors.Join(err1, err2); err != nil || rows != len(entries) {
			w.t.Errorf("inbox of %s has %d rows, %d messages: %v", user, rows, len(entries), err)
		}
	}
}

// finish sends what was not acknowledged, as gateways do, some at a time, and
// syncs the store now and then, so that the log deletes.
func (w *powered) finish(r *real) {
	w.t.Helper()
	for round := 0; len(w.sent.todo[0])+len(w.sent.todo[1]) > 0; round++ {
		var waiting sync.WaitGroup
		for p := range powerPartitions {
			w.mu.Lock()
			todo := slices.Clone(w.sent.todo[p][:min(6, len(w.sent.todo[p]))])
			w.mu.Unlock()
			for _, raw := range todo {
				waiting.Add(1)
				if err := r.log.TryAppend(p, appendFrame(nil, raw), 1, func(pos chat.Position, err error) {
					if err != nil {
						w.t.Error(err)
					}
					w.mu.Lock()
					w.sent.known.parts[p].records = append(w.sent.known.parts[p].records, memRecord{pos, raw})
					w.sent.todo[p] = w.sent.todo[p][1:]
					w.mu.Unlock()
					waiting.Done()
				}); err != nil {
					w.t.Fatal(err)
				}
			}
		}
		waiting.Wait()
		if round%4 == 3 {
			if err := r.sync(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// halted reports whether a partition has stopped for good.
func (r *real) halted() bool {
	return slices.ContainsFunc(r.Stats(), func(st PartitionStats) bool { return st.Halted })
}

// live goes through a whole life: recovery, the rest of the workload, and an
// orderly end; and checks what is stored against the model.
func (w *powered) live(users []chat.User) local.Stats {
	w.t.Helper()
	r := w.open(users)
	if w.again {
		w.mu.Lock()
		for p := range powerPartitions {
			w.sent.todo[p] = retries(w.sent.todo[p])
		}
		w.mu.Unlock()
	}
	w.finish(r)
	until(func() bool { return r.settled() || r.halted() })
	for p := range powerPartitions {
		if st := r.Stats()[p]; st.Halted {
			w.t.Errorf("partition %d has stopped: %+v", p, st)
		}
		if r.Applied(p).Epoch() != 0 {
			w.t.Errorf("partition %d has come into another epoch: %v", p, r.Applied(p))
		}
	}
	all, stats := r.groupRows(users), r.log.Stats()
	r.close(false)
	plain, rows := direct(w.sent.known, all)
	modelOf(w.t, plain).check(w.t, users, rows)
	groupsOf(w.t, w.sent.known).stored(w.t, all)
	return stats
}

// retries flags the messages among records as sent again.
func retries(raws [][]byte) [][]byte {
	var all [][]byte
	for _, raw := range raws {
		var rec record.Record
		if rec.Decode(raw) == nil && rec.Kind == record.Message {
			rec.Flags |= record.FlagRetry
			raw = record.Append(nil, &rec)
		}
		all = append(all, raw)
	}
	return all
}

// TestPowerLossOfLogAndStore cuts the power of both at once, at writes of
// either all through a workload: what was not synced is lost, or torn. Each cut
// is recovered from, what had no acknowledgement is sent again, and what is
// stored in the end is what the laws say. Some are cut again on that way.
func TestPowerLossOfLogAndStore(t *testing.T) { powerLoss(t, false) }

// TestPowerLossWithGroups is the same with groups.
func TestPowerLossWithGroups(t *testing.T) { powerLoss(t, true) }

func powerLoss(t *testing.T, groups bool) {
	every, again := 2, 8
	if raceEnabled || testing.Short() {
		every, again = 23, 4
	}
	plan := newMemLog(powerPartitions)
	fs := vfs.NewCrashableMem()
	// The ring hangs on the log's identity, so the log comes first.
	first := &powered{t: t, disk: fs, sent: &sent{known: newMemLog(powerPartitions)}}
	r := first.open(nil)
	work := newWorkload(5, plan, r.Ring())
	r.close(false)
	fill := work.fill
	if groups {
		fill = (&groupLoad{workload: work}).fill
	}
	fill(900)
	for p := range powerPartitions {
		for _, rec := range plan.parts[p].records {
			first.sent.todo[p] = append(first.sent.todo[p], rec.raw)
		}
	}
	first.every = every
	stats := first.live(work.users)
	cuts, deep := first.cuts, 0
	for i, c := range cuts {
		life := &powered{t: t, disk: c.disk, sent: c.sent}
		if i%again == 0 {
			life.every = 37 + i%17
		}
		life.recover(work.users, c.where)
		for _, c2 := range life.cuts {
			(&powered{t: t, disk: c2.disk, sent: c2.sent}).recover(work.users, c.where+", then "+c2.where)
			deep++
		}
		cuts[i] = powerCut{} // frees its disk
	}
	t.Logf("%d cuts in %d writes, %d more on the way back; the log: %+v", len(cuts), first.writes, deep, stats)
	if len(cuts) < 10 || deep < 4 {
		t.Error("the cuts test little")
	}
}

// recover lives after a cut.
func (w *powered) recover(users []chat.User, where string) {
	w.t.Helper()
	failed := w.t.Failed()
	w.again = true
	w.live(users)
	if w.t.Failed() && !failed {
		w.t.Fatalf("after a power cut at %s", where)
	}
}
