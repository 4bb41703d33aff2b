package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/gateway"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/shard"
	"github.com/rookery-chat/rookery/storage"
)

// How a process learns that an epoch has ended, and what follows when (law 16).
// The times are of this process's own clock. That nothing is acknowledged in an
// epoch that somebody has sealed follows from trustFor and a second, which a
// broker may be behind with what topics there are, being no more than sealAfter.
const (
	askEvery    = 250 * time.Millisecond  // whether there is a next epoch
	trustFor    = 2 * time.Second         // since the asking of an answer of no
	switchAfter = 1500 * time.Millisecond // since it, gateways append to the next epoch
	sealAfter   = 3 * time.Second         // since an answer of yes, owners seal
	settlePoll  = 10 * time.Millisecond   // how often it is looked whether an append is applied
)

// epoch is an epoch of the log in Kafka, and what this process does in it.
type epoch struct {
	log    *kafka.Log
	ring   *shard.Ring
	row    int           // of the store, of partition 0
	begun  []atomic.Bool // partitions that are known to have begun; nil: all
	before *epoch        // nil where it is not there any more
	store  storage.Store
	shards *shard.Shards    // nil without a processor
	remote *delivery.Remote // the same

	asking sync.Mutex
	asked  atomic.Int64 // when the last question was asked that was answered by no, ns on this process's clock
	ended  atomic.Bool  // the next epoch has begun
}

// started is what asked counts from.
var started = time.Now()

func newEpoch(l *kafka.Log, before *epoch, store storage.Store) *epoch {
	e := &epoch{log: l, ring: shard.NewRing(l.Partitions(), l.Key()), store: store}
	e.asked.Store(-int64(trustFor))
	if l.Online() {
		e.row = shard.Row(l.Epoch(), 0)
		e.before, e.begun = before, make([]atomic.Bool, l.Partitions())
	}
	return e
}

// since says from what the epoch goes on, to its owners; nil is from nothing.
func (e *epoch) since() *shard.Since {
	if e.begun == nil {
		return nil
	}
	s := &shard.Since{Epoch: e.log.Epoch()}
	if e.before != nil {
		s.Before, s.BeforeRow = e.before.log, e.before.row
	}
	return s
}

// ask asks whether the next epoch has begun. Of who asks at the same time one
// asks for all.
func (e *epoch) ask(ctx context.Context) (ended bool, err error) {
	came := int64(time.Since(started))
	e.asking.Lock()
	defer e.asking.Unlock()
	if e.ended.Load() || e.asked.Load() >= came {
		return e.ended.Load(), nil
	}
	now := int64(time.Since(started))
	ended, err = e.log.Succeeded(ctx)
	if ended {
		e.ended.Store(true)
	} else if err == nil {
		e.asked.Store(now)
	}
	return ended, err
}

// unasked is the time since it was last known that no other epoch had begun.
func (e *epoch) unasked() time.Duration {
	return time.Since(started) - time.Duration(e.asked.Load())
}

// current reports whether no partition can have been sealed yet.
func (e *epoch) current() bool { return e.unasked() < trustFor }

// settled waits until what is in the log up to a position is surely in front of
// all that is appended to the next epoch: there is none, or, where this one has
// ended, the owner has applied it, or forwarded it.
func (e *epoch) settled(ctx context.Context, partition int, upTo chat.Position) (ended bool, err error) {
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for {
		if ended, err := e.ask(ctx); err == nil && !ended {
			return false, nil
		}
		if applied, err := e.store.Applied(ctx, e.row+partition); err == nil && applied >= upTo {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}

func (e *epoch) route() *gateway.Route {
	return &gateway.Route{Log: e.log, Partition: e.ring.Partition, Current: e.current, Settled: e.settled}
}

// at is the epoch that a user is in, as far as is known without asking.
func (e *epoch) at(user []byte) (in *epoch, partition int) {
	p := e.ring.Partition(user)
	if e.begun == nil || e.before == nil || e.begun[p].Load() {
		return e, p
	}
	return e.before.at(user)
}

// applied is how far a user is applied: in the newest epoch that has begun.
func (e *epoch) applied(ctx context.Context, user chat.User) (chat.Position, error) {
	p := e.ring.PartitionOf(user)
	at, err := e.store.Applied(ctx, e.row+p)
	if err != nil || e.begun == nil || e.before == nil || e.begun[p].Load() {
		return at, err
	}
	if at > 0 {
		e.begun[p].Store(true)
		return at, nil
	}
	return e.before.applied(ctx, user)
}

// epochs are those that this process works in; the newest changes while it runs.
type epochs struct {
	mu     sync.Mutex
	all    []*epoch // the oldest first
	newest atomic.Pointer[epoch]
}

func (es *epochs) add(e *epoch) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.all = append(es.all, e)
	es.newest.Store(e)
}

func (es *epochs) each() []*epoch {
	es.mu.Lock()
	defer es.mu.Unlock()
	return es.all[:len(es.all):len(es.all)]
}

// ownersElsewhere are the gateway's owners where they are in any process: how
// far they are is in the store, which they write before they send hints.
type ownersElsewhere struct{ *epochs }

// Partition is the store's row.
func (o ownersElsewhere) Partition(user []byte) int {
	e, p := o.newest.Load().at(user)
	return e.row + p
}

func (o ownersElsewhere) Node(user chat.User, device chat.Device) chat.Node {
	return o.newest.Load().ring.Node(user, device)
}

func (o ownersElsewhere) Applied(ctx context.Context, user chat.User) (chat.Position, error) {
	return o.newest.Load().applied(ctx, user)
}

// ownersHere are the gateway's owners where all of them are in this process.
type ownersHere struct{ *shard.Shards }

func (o ownersHere) Applied(_ context.Context, user chat.User) (chat.Position, error) {
	return o.Shards.Applied(o.Shards.Partition(view.Bytes(user))), nil
}
