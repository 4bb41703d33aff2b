package shard

import (
	"context"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/storage"
)

// null is a store that forgets.
type null struct{ Store }

func (null) Apply(context.Context, *storage.Batch) error { return nil }
func (null) Message(context.Context, chat.ChatID, chat.ID, int64) (chat.Message, bool, error) {
	return chat.Message{}, false, nil
}

// durable is a log whose appends are durable at once.
type durable struct{ *memLog }

func (durable) Append(_ int, _ []byte, _ int, done func(chat.Position, error)) error {
	done(1, nil)
	return nil
}

type nobody struct{}

func (nobody) Deliver(int, []chat.Entry, []Outcome) {}

// steady is a worker with null ends, and a batch that takes it on from one
// position to the next for ever.
type steady struct {
	w     *worker
	batch pipeline.Batch
	ticks uint64
}

const steadyRecords = 1024

func newSteady(tb testing.TB, flags uint8) *steady {
	o := quiet()
	o.Heads = 1 << 16
	o.setDefaults()
	log := durable{newMemLog(1)}
	ring := NewRing(1, log.identity)
	w, err := newWorker(&o, 0, storage.Mark{}, ring, log, null{}, nobody{})
	if err != nil {
		tb.Fatal(err)
	}
	s := &steady{w: w, batch: pipeline.Batch{First: 1, Count: steadyRecords}}
	node := ring.Node("sender", "phone")
	for i := range steadyRecords {
		r := record.Record{
			Kind: record.Message, Flags: flags, User: []byte("receiver" + string(rune('a'+i%26))), Peer: []byte("sender"),
			Device: []byte("phone"), ID: chat.NewID(1, 1, node), Content: make([]byte, 100),
		}
		s.batch.Records = record.AppendFramed(s.batch.Records, &r)
	}
	return s
}

// turn works through the batch once. Ids rise from one turn to the next.
func (s *steady) turn(tb testing.TB) {
	for rest := s.batch.Records; len(rest) > 0; {
		raw, next, err := record.NextFramed(rest)
		if err != nil {
			tb.Fatal(err)
		}
		s.ticks++
		id := chat.NewID(s.ticks, 1, chat.Node(raw[idAt+10:idAt+16]))
		copy(raw[idAt:], id[:])
		rest = next
	}
	s.w.begin(s.batch)
	for s.w.left > 0 {
		if err := s.w.cycle(context.Background()); err != nil {
			tb.Fatal(err)
		}
	}
	s.batch.First += steadyRecords
}

// idAt is where the id lies in the records of a steady.
const idAt = 12 + 1 + len("receivera") + 1 + len("sender") + 1 + len("phone") + 2

func TestCycleDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, flags := range map[string]uint8{"plain": 0, "copies": record.FlagCopy} {
		s := newSteady(t, flags)
		for range 5 {
			s.turn(t)
		}
		per := testing.AllocsPerRun(20, func() { s.turn(t) }) / steadyRecords
		if per > 0.01 {
			t.Errorf("%s: %v allocations a message", name, per)
		}
		if n := s.w.counts.Messages; n != s.ticks || s.w.counts.LookUps > 0 {
			t.Errorf("%s: %d of %d messages stored, %d look-ups", name, n, s.ticks, s.w.counts.LookUps)
		}
	}
}

func BenchmarkCycle(b *testing.B) {
	for name, flags := range map[string]uint8{"plain": 0, "copies": record.FlagCopy} {
		b.Run(name, func(b *testing.B) {
			s := newSteady(b, flags)
			b.ReportAllocs()
			b.SetBytes(int64(len(s.batch.Records) / steadyRecords))
			for n := 0; n < b.N; n += steadyRecords {
				s.turn(b)
			}
		})
	}
}
