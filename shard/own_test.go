package shard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/storage"
)

// sharedLog is a log whose partitions are given and taken by the test.
type sharedLog struct{ *memLog }

func (sharedLog) Own(context.Context, pipeline.Owner) error { return nil }

// process is what owns of a shared log what the test gives it.
type process struct {
	*Shards
	t *testing.T
	d *entries
}

func newProcess(t *testing.T, log *memLog, store *memStore) *process {
	t.Helper()
	p := &process{t: t, d: newEntries()}
	var err error
	if p.Shards, err = Start(t.Context(), quiet(), sharedLog{log}, store, p.d); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) gain(partitions ...int) {
	p.t.Helper()
	if err := p.Gain(p.t.Context(), partitions); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) stop() {
	p.t.Helper()
	if err := p.Stop(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// to returns a user of a partition.
func to(ring *Ring, p int) string {
	for i := 0; ; i++ {
		if user := fmt.Sprintf("u%d", i); ring.PartitionOf(chat.User(user)) == p {
			return user
		}
	}
}

func TestPartitionsAreGainedAndLost(t *testing.T) {
	log, store := newMemLog(2), newMemStore()
	log.auto = true
	s := newProcess(t, log, store)
	ring, n := s.Ring(), uint64(0)
	put := func(p int) chat.Position {
		n++
		return log.put(p, message(ring, to(ring, p), "ann", n, 0))
	}
	put(0)
	put(1)
	if s.Applied(0) != 0 || s.Applied(1) != 0 || len(s.owned()) != 0 {
		t.Error("it owns what nobody gave to it")
	}
	s.gain(1)
	s.d.await(t, 1)
	s.gain(0)
	s.d.await(t, 2)
	if s.Applied(0) != 1 || s.Applied(1) != 1 {
		t.Errorf("applied %v and %v", s.Applied(0), s.Applied(1))
	}
	until(s.settled)
	s.Lose([]int{1})
	store.mu.Lock()
	before := len(store.batches)
	store.mu.Unlock()
	put(1)
	put(0)
	s.d.await(t, 3)
	if s.Applied(1) != 0 || !reflect.DeepEqual(s.owned(), []int{0}) {
		t.Errorf("applied %v of a lost partition, owned are %v", s.Applied(1), s.owned())
	}
	store.mu.Lock()
	for _, b := range store.batches[before:] {
		if b.Partition == 1 {
			t.Error("a lost partition is written")
		}
	}
	store.mu.Unlock()
	s.gain(1)
	s.d.await(t, 4)
	if s.Applied(1) != 2 {
		t.Errorf("gained again it is at %v", s.Applied(1))
	}
	s.stop()
	if err := s.Gain(t.Context(), []int{0}); !errors.Is(err, context.Canceled) {
		t.Errorf("gained after Stop: %v", err)
	}
}

// TestRebalancing moves partitions between two processes under load. The store
// panics when something goes back.
func TestRebalancing(t *testing.T) {
	log, store := newMemLog(3), newMemStore()
	log.auto = true
	both := []*process{newProcess(t, log, store), newProcess(t, log, store)}
	w := newWorkload(5, log, both[0].Ring())
	r := rand.New(rand.NewPCG(1, 1))
	owner := []int{0, 0, 1}
	both[0].gain(0, 1)
	both[1].gain(2)
	for range 150 {
		w.fill(10)
		p := r.IntN(3)
		both[owner[p]].Lose([]int{p})
		owner[p] = r.IntN(2)
		both[owner[p]].gain(p)
	}
	until(func() bool { return both[0].settled() && both[1].settled() && both[0].settled() })
	both[0].stop()
	both[1].stop()
	modelOf(t, log).check(t, w.users, &store.rows)
}

// TestGainFails holds that nothing runs after an error, and that it may be
// tried again.
func TestGainFails(t *testing.T) {
	for calls := range 4 { // the first three read marks, the last syncs
		log, store := newMemLog(3), newMemStore()
		log.auto = true
		s := newProcess(t, log, store)
		for p := range 3 { // marks that the log is to hear of
			log.put(p, message(s.Ring(), to(s.Ring(), p), "ann", 1, 0))
		}
		s.gain(0, 1, 2)
		s.d.await(t, 3)
		until(s.settled)
		s.Lose([]int{0, 1, 2})
		fails := &failingLater{memStore: store, calls: calls}
		s.Shards.store = fails
		err := s.Gain(t.Context(), []int{0, 1, 2})
		if !errors.Is(err, errAway) || len(s.owned()) != 0 {
			t.Errorf("call %d fails: %v, it owns %v", calls, err, s.owned())
		}
		s.gain(0, 1, 2)
		log.put(0, message(s.Ring(), to(s.Ring(), 0), "ann", 2, 0))
		s.d.await(t, 4)
		s.stop()
		if n := len(store.rows.inbox); n != 3 {
			t.Errorf("%d inboxes", n)
		}
	}
}

// failingLater is a store of which a later call fails.
type failingLater struct {
	*memStore
	calls int // marks and syncs before it
}

func (s *failingLater) Mark(ctx context.Context, p int) (m storage.Mark, err error) {
	if s.calls--; s.calls == -1 {
		return m, errAway
	}
	return s.memStore.Mark(ctx, p)
}

func (s *failingLater) Sync(ctx context.Context) error {
	if s.calls--; s.calls == -1 {
		return errAway
	}
	return s.memStore.Sync(ctx)
}

// TestLoseIsBounded takes partitions away while the store is, and while derived
// records do not become durable: the next owner does it again.
func TestLoseIsBounded(t *testing.T) {
	for what, away := range map[string]bool{"store": true, "log": false} {
		synctest.Test(t, func(t *testing.T) {
			log, store := newMemLog(1), newMemStore()
			s := newProcess(t, log, store)
			ring := s.Ring()
			s.gain(0)
			if away {
				store.mu.Lock()
				store.failing = -1
				store.mu.Unlock()
			}
			log.put(0, message(ring, "bob", "ann", 1, record.FlagCopy))
			synctest.Wait()
			start := time.Now()
			s.Lose([]int{0})
			if took := time.Since(start); took != loseTimeout || len(s.owned()) != 0 {
				t.Errorf("%s: it took %v of a clock that stands still, owned are %v", what, took, s.owned())
			}
			store.mu.Lock()
			store.failing = 0
			store.mu.Unlock()
			log.mu.Lock()
			log.auto = true
			log.pending = nil // what the old owner gave to the log is lost
			log.mu.Unlock()
			s.gain(0)
			synctest.Wait()
			s.stop()
			if box := store.rows.inbox; len(box["bob"]) != 1 || len(box["ann"]) != 1 {
				t.Errorf("%s: %d entries and %d copies", what, len(box["bob"]), len(box["ann"]))
			}
		})
	}
}
