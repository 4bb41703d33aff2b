package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet are options for tests that run the real goroutines.
func quiet() Options {
	return Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Heads: 1024}
}

// entries is a Deliverer that hands on what it gets.
type entries struct {
	mu   sync.Mutex
	news chan struct{}
	got  []chat.Entry
}

func newEntries() *entries { return &entries{news: make(chan struct{}, 1)} }

func (d *entries) Deliver(_ int, es []chat.Entry, _ []Outcome) {
	d.mu.Lock()
	for _, e := range es {
		e.User, e.Message, e.Receipt = own(e.User), ownMessage(e.Message), chat.Receipt{}
		d.got = append(d.got, e)
	}
	d.mu.Unlock()
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// await waits until there are n entries.
func (d *entries) await(t *testing.T, n int) {
	t.Helper()
	for {
		d.mu.Lock()
		have := len(d.got)
		d.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-d.news:
		case <-time.After(time.Minute):
			t.Fatalf("%d entries, want %d", have, n)
		}
	}
}

// until waits for something that gives no sign.
func until(done func() bool) {
	for !done() {
		runtime.Gosched()
	}
}

// settled reports whether everything in the log is applied and marked.
func (s *Shards) settled() bool {
	for range 2 { // what one derived for another that was asked before it shows at the second time
		for _, st := range s.Stats() {
			if st.Lag > 0 || st.Marked != st.End {
				return false
			}
		}
	}
	return true
}

func message(ring *Ring, to, from string, n uint64, flags uint8) []byte {
	return record.Append(nil, &record.Record{
		Kind: record.Message, Flags: flags, At: int64(n), User: []byte(to), Peer: []byte(from), Device: []byte("phone"),
		ID: chat.NewID(n, 1, ring.Node(chat.User(from), "phone")), Content: fmt.Appendf(nil, "message %d", n),
	})
}

func TestStartToStop(t *testing.T) {
	log, store, d := newMemLog(4), newMemStore(), newEntries()
	log.auto = true
	o := quiet()
	o.SyncEvery = time.Millisecond
	s, err := Start(t.Context(), o, log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	var senders sync.WaitGroup
	for from := range 4 {
		senders.Go(func() {
			for i := range uint64(n) {
				to := fmt.Sprintf("r%d", i%7)
				log.put(s.Ring().PartitionOf(chat.User(to)), message(s.Ring(), to, fmt.Sprintf("s%d", from), i+1, record.FlagCopy))
			}
		})
	}
	senders.Wait()
	d.await(t, 2*4*n)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	var sum PartitionStats
	for p, st := range s.Stats() {
		sum.Messages += st.Messages
		sum.Copies += st.Copies
		sum.Derived += st.Derived
		sum.Records += st.Records
		if st.Lag != 0 || st.Halted || st.Applied != st.End || st.Marked != st.End || st.ApplyTime <= 0 || st.Largest == 0 {
			t.Errorf("partition %d: %+v", p, st)
		}
		if s.Applied(p) != st.End || store.rows.marks[p].Position != st.End {
			t.Errorf("partition %d: applied %v, mark %v, end %v", p, s.Applied(p), store.rows.marks[p].Position, st.End)
		}
		if log.parts[p].durable != st.End || log.parts[p].released != st.End || log.parts[p].held != 0 {
			t.Errorf("partition %d: released %v, durably %v", p, log.parts[p].released, log.parts[p].durable)
		}
	}
	if sum.Messages != 4*n || sum.Copies != 4*n || sum.Derived != 4*n || sum.Records != 2*4*n {
		t.Errorf("sums: %+v", sum)
	}
	if store.synced != len(store.batches) {
		t.Errorf("%d of %d batches synced", store.synced, len(store.batches))
	}
}

// TestBackPressure takes the store away: the log fills up to its bound and
// refuses, and when the store is back everything is stored, once.
func TestBackPressure(t *testing.T) {
	log, store, d := newMemLog(1), newMemStore(), newEntries()
	log.auto, log.bound = true, 10_000
	s, err := Start(t.Context(), quiet(), log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	store.mu.Lock()
	store.failing = -1
	store.mu.Unlock()
	sent := 0
	for err = nil; err == nil; sent++ {
		err = log.tryPut(0, message(s.Ring(), "bob", "ann", uint64(sent+1), 0))
	}
	sent--
	if !errors.Is(err, pipeline.ErrFull) || sent < 50 || sent > 200 {
		t.Fatalf("%d sent before %v", sent, err)
	}
	if s.Applied(0) != 0 {
		t.Errorf("applied %v without a store", s.Applied(0))
	}
	until(func() bool { return s.Stats()[0].StoreErrors > 0 })
	store.mu.Lock()
	store.failing = 0
	store.mu.Unlock()
	d.await(t, sent)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(store.rows.messages) != sent || log.parts[0].held != 0 {
		t.Errorf("%d of %d messages stored, %d bytes held", len(store.rows.messages), sent, log.parts[0].held)
	}
}

// TestStoreFailsNowAndThen runs a workload whose every third call of the store
// fails, and a crash after it.
func TestStoreFailsNowAndThen(t *testing.T) {
	log, store, d := newMemLog(2), newMemStore(), newEntries()
	log.auto = true
	w := newWorkload(5, log, NewRing(2, log.identity))
	w.fill(60)
	calls, away := 0, true
	store.op = func(string) {
		store.mu.Lock()
		if calls++; away && calls%3 == 0 && store.failing == 0 {
			store.failing = 1
		}
		store.mu.Unlock()
	}
	setAway := func(now bool) { // Stop does not try again, so the store is there for it
		store.mu.Lock()
		away, store.failing = now, 0
		store.mu.Unlock()
	}
	o := quiet()
	o.BatchRecords, o.BatchBytes = 3, 200
	s, err := Start(t.Context(), o, log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	d.await(t, len(modelOf(t, log).messages))
	setAway(false)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err = Start(t.Context(), o, log, store, d); err != nil { // what Stop left in the log
		t.Fatal(err)
	}
	setAway(true)
	until(s.settled)
	setAway(false)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	modelOf(t, log).check(t, w.users, &store.rows)
}

// TestDerivedRecordsAreBounded lets copies wait: the worker reads no further
// than the bound until some are durable.
func TestDerivedRecordsAreBounded(t *testing.T) {
	log, store, d := newMemLog(1), newMemStore(), newEntries()
	appended := make(chan struct{}, 100)
	log.op = func(string) { appended <- struct{}{} }
	ring := NewRing(1, log.identity)
	const n = 20
	for i := range uint64(n) {
		log.put(0, message(ring, "bob", "ann", i+1, record.FlagCopy))
	}
	o := quiet()
	o.BatchRecords, o.DerivedBytes = 1, 1
	s, err := Start(t.Context(), o, log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		<-appended
		if got := s.Applied(0); got > chat.Position(i+1) {
			t.Fatalf("applied %v with %d copies durable", got, i)
		}
		// The append may be on its way into the log still.
		for before := log.End(0); log.End(0) == before; {
			log.flush(1)
		}
	}
	d.await(t, 2*n)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestStopWaitsForDerivedRecords has a copy under way when it is told to stop.
func TestStopWaitsForDerivedRecords(t *testing.T) {
	log, store, d := newMemLog(1), newMemStore(), newEntries()
	s, err := Start(t.Context(), quiet(), log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	log.put(0, message(s.Ring(), "bob", "ann", 1, record.FlagCopy))
	d.await(t, 1)
	s.running[0].Load().stopReading()
	stopped := make(chan error)
	go func() { stopped <- s.Stop(t.Context()) }()
	until(func() bool { log.flush(1); return log.End(0) == 2 })
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if mark := store.rows.marks[0].Position; mark != 1 || log.parts[0].durable != 1 {
		t.Errorf("marked %v, released %v", mark, log.parts[0].durable)
	}
}

// TestStopWhileTheStoreIsAway gives up when its context ends.
func TestStopWhileTheStoreIsAway(t *testing.T) {
	log, store := newMemLog(1), newMemStore()
	s, err := Start(t.Context(), quiet(), log, store, newEntries())
	if err != nil {
		t.Fatal(err)
	}
	store.mu.Lock()
	store.failing = -1
	store.mu.Unlock()
	log.put(0, message(s.Ring(), "bob", "ann", 1, 0))
	until(func() bool { return s.Stats()[0].StoreErrors > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
}

// broken is a log whose Read fails.
type broken struct {
	*memLog
	err error
	at  chat.Position
}

func (l broken) Read(ctx context.Context, p int, after chat.Position, n int) (pipeline.Batch, error) {
	if l.err != nil {
		return pipeline.Batch{}, l.err
	}
	return pipeline.Batch{First: l.at, Count: 1, Records: []byte{0, 0, 0, 0}}, nil
}

func TestPartitionHaltsAtAGap(t *testing.T) {
	for _, log := range []broken{{newMemLog(1), pipeline.ErrGone, 0}, {newMemLog(1), nil, 0}} {
		s, err := Start(t.Context(), quiet(), log, newMemStore(), newEntries())
		if err != nil {
			t.Fatal(err)
		}
		until(func() bool { return s.Stats()[0].Halted })
		if err := s.Stop(t.Context()); err != nil || s.Applied(0) != 0 {
			t.Errorf("Stop: %v, applied %v", err, s.Applied(0))
		}
	}
}

func TestReadErrorsAreTriedAgain(t *testing.T) {
	s, err := Start(t.Context(), quiet(), broken{newMemLog(1), errAway, 0}, newMemStore(), newEntries())
	if err != nil {
		t.Fatal(err)
	}
	until(func() bool { return s.Stats()[0].ReadErrors >= 2 })
	if err := s.Stop(t.Context()); err != nil || s.Stats()[0].Halted {
		t.Errorf("Stop: %v", err)
	}
}

func TestStoreClosedHaltsThePartition(t *testing.T) {
	log := newMemLog(1)
	s, err := Start(t.Context(), quiet(), log, closedStore{newMemStore()}, newEntries())
	if err != nil {
		t.Fatal(err)
	}
	log.put(0, message(s.Ring(), "bob", "ann", 1, 0))
	until(func() bool { return s.Stats()[0].Halted })
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

type closedStore struct{ *memStore }

func (closedStore) Apply(context.Context, *storage.Batch) error { return storage.ErrClosed }

func TestStartErrors(t *testing.T) {
	store := newMemStore()
	store.failing = 1
	if _, err := Start(t.Context(), quiet(), newMemLog(1), store, newEntries()); !errors.Is(err, errAway) {
		t.Errorf("Start without a store: %v", err)
	}
	_, err := Start(t.Context(), Options{BatchRecords: -1, BatchBytes: -1, DerivedBytes: -1, Heads: -1, SyncEvery: -1},
		newMemLog(1), newMemStore(), newEntries())
	for _, name := range []string{"BatchRecords", "BatchBytes", "DerivedBytes", "Heads", "SyncEvery"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
}
