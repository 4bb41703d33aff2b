package shard

import (
	"errors"
	"math"
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
)

// outbox holds a worker's derived records until they are durable. Each target
// partition has one append under way at a time; what comes meanwhile waits and
// goes together. So the order of a target's records holds even when an append
// has to be repeated, which owners of copies rely on.
type outbox struct {
	log     Log
	next    appender // of the next epoch; nil until something is forwarded
	limit   int
	bytes   int           // queued and sent, of all targets
	derived uint64        // records staged so far
	adding  int           // bytes staged
	wake    chan struct{} // an append has ended
	targets []*target     // by partition, then by the next epoch's; made on first use
	active  []*target     // those that hold anything
}

type target struct {
	// owned by the worker
	log       appender
	partition int
	active    bool
	staged    parcel // of the cycle being built
	queued    parcel
	sent      parcel
	sending   bool
	wait      backoff
	done      func(chat.Position, error)

	// written by done
	err   error // before ended
	ended atomic.Bool
}

// appender is where derived records go; see pipeline.Log.
type appender interface {
	MaxRecords() int
	Append(partition int, batch []byte, count int, done func(first chat.Position, err error)) error
}

// parcel is framed records, and the first cycle that has any among them.
type parcel struct {
	data  []byte
	count int
	seq   uint64
}

// maxAppendBytes bounds one append, where it is of several records, besides
// Log.MaxRecords: logs take batches of a few MiB.
const maxAppendBytes = 1 << 20

// maxParcelBytesKept bounds the memory that an empty parcel keeps.
const maxParcelBytesKept = 1 << 20

func (p *parcel) reset() {
	if cap(p.data) > maxParcelBytesKept {
		p.data = nil
	}
	p.data, p.count = p.data[:0], 0
}

// fill moves what goes next from queued to sent, which is empty.
func (t *target) fill(maxRecords int) {
	if len(t.queued.data) <= maxAppendBytes && t.queued.count <= maxRecords {
		t.sent, t.queued = t.queued, t.sent
		return
	}
	rest, n := t.queued.data, 0
	for {
		_, next, err := record.NextFramed(rest)
		if err != nil || n == maxRecords || n > 0 && len(t.queued.data)-len(next) > maxAppendBytes {
			break
		}
		rest = next
		n++
	}
	bytes := len(t.queued.data) - len(rest)
	t.sent.data = append(t.sent.data, t.queued.data[:bytes]...)
	t.sent.count, t.sent.seq = n, t.queued.seq
	t.queued.data = rest
	t.queued.count -= n // its first cycle may be a later one: then marks wait a little longer
}

func (o *outbox) init(log Log, limit, partitions int) {
	*o = outbox{log: log, limit: limit, wake: make(chan struct{}, 1), targets: make([]*target, partitions)}
}

// target is that of a partition, or from Log.Partitions on of one of the next epoch.
func (o *outbox) target(partition int) *target {
	if n := partition + 1 - len(o.targets); n > 0 {
		o.targets = append(o.targets, make([]*target, n)...)
	}
	t := o.targets[partition]
	if t == nil {
		t = &target{log: o.log, partition: partition}
		if own := o.log.Partitions(); partition >= own {
			t.log, t.partition = o.next, partition-own
		}
		t.done = func(_ chat.Position, err error) {
			t.err = err
			t.ended.Store(true)
			select {
			case o.wake <- struct{}{}:
			default:
			}
		}
		o.targets[partition] = t
	}
	if !t.active {
		t.active = true
		o.active = append(o.active, t)
	}
	return t
}

// stage encodes a record of a cycle. It goes out once queue is called.
func (o *outbox) stage(partition int, seq uint64, r *record.Record) {
	s := &o.target(partition).staged
	before := len(s.data)
	s.data = record.AppendFramed(s.data, r)
	o.adding += len(s.data) - before
	s.count++
	s.seq = seq
	o.derived++
}

// staged reports whether the cycle being built has derived anything.
func (o *outbox) staged() bool {
	for _, t := range o.active {
		if t.staged.count > 0 {
			return true
		}
	}
	return false
}

// queue lets what was staged go.
func (o *outbox) queue() {
	o.adding = 0
	for _, t := range o.active {
		o.bytes += len(t.staged.data)
		if t.queued.count == 0 {
			t.queued, t.staged = t.staged, t.queued
			continue
		}
		t.queued.data = append(t.queued.data, t.staged.data...)
		t.queued.count += t.staged.count
		t.staged.reset()
	}
}

// collect takes what became of the appends and makes those that wait. failed
// is asked whether to try again one that failed; an error ends the outbox.
func (o *outbox) collect(failed func(error, *backoff) error) error {
	kept := o.active[:0]
	for i, t := range o.active {
		if err := o.drive(t, failed); err != nil {
			o.active = append(kept, o.active[i:]...)
			return err
		}
		if t.active = t.sending || t.queued.count > 0 || t.staged.count > 0; t.active {
			kept = append(kept, t)
		}
	}
	o.active = kept
	return nil
}

func (o *outbox) drive(t *target, failed func(error, *backoff) error) error {
	if t.sending && !t.ended.Load() {
		return nil
	}
	if t.sending && t.err == nil {
		o.bytes -= len(t.sent.data)
		t.sent.reset()
		t.sending, t.wait = false, backoff{}
	}
	if !t.sending {
		if t.queued.count == 0 {
			return nil
		}
		t.fill(t.log.MaxRecords())
		t.sending, t.err = true, nil
	}
	for {
		err := t.err // of the append before
		if err == nil {
			t.ended.Store(false)
			if err = t.log.Append(t.partition, t.sent.data, t.sent.count, t.done); err == nil {
				return nil
			}
		}
		if errors.Is(err, pipeline.ErrClosed) {
			return err
		}
		if err := failed(err, &t.wait); err != nil {
			return err
		}
		t.err = nil
	}
}

// oldest is the first cycle with derived records that are not durable,
// the largest number when there is none.
func (o *outbox) oldest() uint64 {
	seq := uint64(math.MaxUint64)
	for _, t := range o.active {
		switch {
		case t.sending:
			seq = min(seq, t.sent.seq)
		case t.queued.count > 0:
			seq = min(seq, t.queued.seq)
		case t.staged.count > 0:
			seq = min(seq, t.staged.seq)
		}
	}
	return seq
}

// over reports whether the worker has to wait before it derives more.
func (o *outbox) over() bool { return o.bytes > o.limit }

// shrink gives back the memory of targets that hold nothing.
func (o *outbox) shrink() {
	for _, t := range o.targets {
		if t != nil && !t.active {
			t.staged, t.queued, t.sent = parcel{}, parcel{}, parcel{}
		}
	}
}

// idle reports whether everything is durable.
func (o *outbox) idle() bool { return o.oldest() == math.MaxUint64 }
