package shard

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
)

// memLog is a log in memory. Appends become durable when flush says so, or at
// once where auto is set.
type memLog struct {
	mu       sync.Mutex
	identity [16]byte
	key      [16]byte
	epoch    uint16
	auto     bool
	later    bool         // every second record has what a later version of the program adds to it
	aligned  bool         // positions are as of a log whose batches end at multiples of 256, with gaps before them
	op       func(string) // called before everything that a crash may come before
	parts    []memPart
	pending  []memAppend
	failing  int // appends that get an error from now on
	bound    int // bytes not released; 0 is none
	appends  int
	changed  chan struct{}
	letters  []letter
}

// letter is a dead letter.
type letter struct {
	partition int
	at        chat.Position
	reason    string
	raw       string
}

type memPart struct {
	records  []memRecord
	released chat.Position
	durable  chat.Position
	held     int
}

type memRecord struct {
	pos chat.Position
	raw []byte
}

type memAppend struct {
	partition int
	records   [][]byte
	done      func(chat.Position, error)
}

func newMemLog(partitions int) *memLog {
	l := &memLog{parts: make([]memPart, partitions), changed: make(chan struct{}), op: func(string) {}}
	copy(l.identity[:], "a log for tests.")
	l.key = l.identity
	return l
}

func (l *memLog) Identity() [16]byte { return l.identity }
func (l *memLog) Partitions() int    { return len(l.parts) }

func (l *memLog) End(p int) chat.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end(p)
}

func (l *memLog) end(p int) chat.Position {
	if n := len(l.parts[p].records); n > 0 {
		return l.parts[p].records[n-1].pos
	}
	return 0
}

func (l *memLog) RaiseEpoch(above uint16) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = max(l.epoch, above+1)
	return nil
}

// put makes a record durable at once, as a gateway's.
func (l *memLog) put(p int, raw []byte) chat.Position { return l.putAll(p, [][]byte{raw}) }

// putAll is put of a batch, which has consecutive positions.
func (l *memLog) putAll(p int, batch [][]byte) (first chat.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = l.end(p) + 1
	if first.Epoch() < l.epoch {
		first = chat.NewPosition(l.epoch, 1)
	}
	if at := first.Offset() - 1; l.aligned && (len(batch) > 1 || at%256 == 0) {
		block, count := (at+255)/256, uint64(len(batch))
		if count == 1 { // what is put next is of the same batch
			count += block % 5
		}
		first = chat.NewPosition(first.Epoch(), (block+1)*256-count+1)
	}
	part := &l.parts[p]
	for i, raw := range batch {
		if l.later && i%2 == int(first%2) {
			raw = ofLater(raw)
		}
		part.records = append(part.records, memRecord{first + chat.Position(i), raw})
		part.held += len(raw)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return first
}

// tryPut is put with the log's bound.
func (l *memLog) tryPut(p int, raw []byte) error {
	l.mu.Lock()
	full := l.bound > 0 && l.parts[p].held+len(raw) > l.bound
	l.mu.Unlock()
	if full {
		return pipeline.ErrFull
	}
	l.put(p, raw)
	return nil
}

func (l *memLog) Append(p int, batch []byte, count int, done func(chat.Position, error)) error {
	l.op("append")
	a := memAppend{partition: p, done: done}
	for len(batch) > 0 {
		raw, rest, err := record.NextFramed(batch)
		if err != nil {
			return err
		}
		a.records, batch = append(a.records, append([]byte(nil), raw...)), rest
	}
	if len(a.records) != count {
		panic("the count is not that of the records")
	}
	l.mu.Lock()
	l.appends++
	l.pending = append(l.pending, a)
	auto := l.auto
	l.mu.Unlock()
	if auto {
		go l.flush(1)
	}
	return nil
}

// flush makes up to n appends durable and says so.
func (l *memLog) flush(n int) {
	for ; n > 0; n-- {
		l.mu.Lock()
		if len(l.pending) == 0 {
			l.mu.Unlock()
			return
		}
		a := l.pending[0]
		l.pending = l.pending[1:]
		fail := l.failing > 0
		if fail {
			l.failing--
		}
		l.mu.Unlock()
		if fail {
			if l.failing%2 == 0 { // written, and nobody knows
				l.store(a)
			}
			a.done(0, context.DeadlineExceeded)
			continue
		}
		a.done(l.store(a), nil)
	}
}

func (l *memLog) store(a memAppend) (first chat.Position) { return l.putAll(a.partition, a.records) }

// crash loses what is not durable, of which some may have become so unseen.
func (l *memLog) crash(r *rand.Rand) {
	kept := r.IntN(len(l.pending) + 1)
	for _, a := range l.pending[:kept] {
		l.store(a)
	}
	l.pending = nil
}

func (l *memLog) next(p int, after chat.Position, maxBytes int) pipeline.Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b pipeline.Batch
	for _, r := range l.parts[p].records {
		if r.pos <= after {
			continue
		}
		gap := b.Count > 0 && r.pos != b.Last()+1
		if b.Count > 0 && len(b.Records)+len(r.raw) > maxBytes || gap && !l.aligned {
			break
		}
		if b.Count == 0 {
			b.First = r.pos
		} else if gap {
			b.Jumps = append(b.Jumps, pipeline.Jump{At: b.Count, To: r.pos})
		}
		b.Records = appendFrame(b.Records, r.raw)
		b.Count++
	}
	return b
}

func appendFrame(dst, raw []byte) []byte {
	n := len(raw)
	return append(append(dst, byte(n), byte(n>>8), byte(n>>16), byte(n>>24)), raw...)
}

func (l *memLog) Read(ctx context.Context, p int, after chat.Position, maxBytes int) (pipeline.Batch, error) {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if b := l.next(p, after, maxBytes); b.Count > 0 {
			return b, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return pipeline.Batch{}, ctx.Err()
		}
	}
}

func (l *memLog) DeadLetter(p int, at chat.Position, reason string, raw []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters = append(l.letters, letter{p, at, reason, string(raw)})
}

func (l *memLog) Key() [16]byte { return l.key }

func (l *memLog) Refresh(context.Context) error { return nil }

func (l *memLog) MaxRecords() int {
	if l.aligned {
		return 256
	}
	return 1 << 30
}

func (l *memLog) Own(ctx context.Context, owner pipeline.Owner) error {
	return owner.Gain(ctx, everyPartition(l))
}

func everyPartition(l Log) []int {
	all := make([]int, l.Partitions())
	for p := range all {
		all[p] = p
	}
	return all
}

func (l *memLog) Release(p int, upTo chat.Position, durable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	part := &l.parts[p]
	if durable {
		part.durable = max(part.durable, upTo)
		return
	}
	for _, r := range part.records {
		if r.pos > part.released && r.pos <= upTo {
			part.held -= len(r.raw)
		}
	}
	part.released = max(part.released, upTo)
}

// records decodes all of a partition.
func (l *memLog) records(t testing.TB, p int) (all []record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, raw := range l.parts[p].records {
		var r record.Record
		if r.Decode(raw.raw) == nil {
			all = append(all, r)
		}
	}
	return all
}
