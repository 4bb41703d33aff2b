package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/local"
	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/pebble"
)

// StageFigures are what a message costs in one stage, in this process and with
// nothing else about it: medians of the rounds where it does not say otherwise.
type StageFigures struct {
	Name        string  `json:"name"`
	PerSecond   float64 `json:"per_second"`         // messages
	CPUUs       float64 `json:"cpu_us"`             // processor time a message, of all this process does
	LeastUs     float64 `json:"cpu_us_least"`       // the same in the round where it was least: what neighbours on the machine change least
	OfReference float64 `json:"of_reference"`       // the same as a multiple of the reference's in its round
	Spread      Spread  `json:"of_reference_range"` // of that, over the rounds
	Allocations float64 `json:"allocations"`        // a message
}

// Stages are measured in turns, so many rounds of so much time.
const (
	stageRounds     = 15
	stageTime       = 150 * time.Millisecond
	stagePartitions = 8
	stageChats      = 1_000
	stageBatch      = 1_024   // messages stored at once
	stageAhead      = 4 << 20 // bytes of records that are not durable yet
)

// StageReference is the work that stages are held against, so that a figure of
// one machine can be compared with another's: the standard library writes the
// same message as JSON.
const StageReference = "reference"

// stage does some of its work and says how many messages that was.
type stage struct {
	name string
	step func() (messages int, err error)
	end  func() error
}

// stages measures each stage alone: reading and decoding what a client wrote
// (decode), encoding records as a loop does for the log (append), the same and the log
// with its disk, synced, and reading them there (durable), rows and
// inbox entries (store), and encoding and framing for the receiver (deliver).
// It needs no server and no socket.
func stages(ctx context.Context, o *Options, res *Result) (err error) {
	setDefault(&o.PerWrite, 64)
	setDefault(&o.Duration, stageTime)
	res.PerWrite, res.SizeBytes, res.Seconds = o.PerWrite, o.Size, o.Duration.Seconds()
	all, err := makeStages(o)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.end())
		}
	}()
	rounds := make([][]StageFigures, len(all))
	for round := range stageRounds + 1 { // the first warms it up
		for i := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := all[i].measure(o.Duration)
			if err != nil {
				return fmt.Errorf("bench: stage %s: %w", all[i].name, err)
			}
			if round > 0 {
				f.OfReference = f.CPUUs
				if i > 0 {
					f.OfReference /= rounds[0][round-1].CPUUs
				}
				rounds[i] = append(rounds[i], f)
			}
		}
	}
	for _, r := range rounds {
		res.Stages = append(res.Stages, medianStage(r))
	}
	res.Stages[0].OfReference, res.Stages[0].Spread = 1, Spread{1, 1, 1}
	return nil
}

// measure works for a while.
func (s *stage) measure(d time.Duration) (f StageFigures, err error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, begin, n := selfCPU(), time.Now(), 0
	for time.Since(begin) < d {
		m, err := s.step()
		if err != nil {
			return f, err
		}
		n += m
	}
	took := time.Since(begin)
	cpu = selfCPU() - cpu
	runtime.ReadMemStats(&after)
	return StageFigures{
		Name: s.name, PerSecond: float64(n) / took.Seconds(), CPUUs: float64(cpu.Nanoseconds()) / 1e3 / float64(n),
		Allocations: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, nil
}

// medianStage takes the median of each figure.
func medianStage(rounds []StageFigures) StageFigures {
	of := func(get func(*StageFigures) float64) Spread {
		var vs []float64
		for i := range rounds {
			vs = append(vs, get(&rounds[i]))
		}
		return SpreadOf(vs)
	}
	f := StageFigures{Name: rounds[0].Name, Spread: of(func(f *StageFigures) float64 { return f.OfReference })}
	f.OfReference = f.Spread.Median
	f.PerSecond = of(func(f *StageFigures) float64 { return f.PerSecond }).Median
	cpu := of(func(f *StageFigures) float64 { return f.CPUUs })
	f.CPUUs, f.LeastUs = cpu.Median, cpu.Min
	f.Allocations = of(func(f *StageFigures) float64 { return f.Allocations }).Median
	return f
}

// makeStages makes them, the reference first.
func makeStages(o *Options) ([]stage, error) {
	log, err := newStageLog(o)
	if err != nil {
		return nil, err
	}
	store, err := newStageStore(o)
	if err != nil {
		return nil, err
	}
	nothing := func() error { return nil }
	return []stage{
		{StageReference, referenceStage(o), nothing},
		{"decode", decodeStage(o), nothing},
		{"append", appendStage(o), nothing},
		{"durable", log.step, log.log.Close},
		{"store", store.step, store.store.Close},
		{"deliver", deliverStage(o), nothing},
	}, nil
}

// stageContent is a message's content, as if it were encrypted.
func stageContent(o *Options) []byte {
	content := make([]byte, o.Size)
	for i := range content {
		content[i] = byte(i*i*2654435761>>7 ^ i)
	}
	return content
}

func stageID(n uint64) chat.ID { return chat.NewID(0x1f0000000000000+n, 7, chat.Node{1}) }

func referenceStage(o *Options) func() (int, error) {
	m := struct {
		ID       string
		To       string
		Place    uint64
		Content  []byte
		Internal int64
	}{stageID(1).String(), "user0000001", 1 << 40, stageContent(o), 1_750_000_000_000}
	return func() (int, error) {
		for range o.PerWrite {
			m.Place++
			if _, err := json.Marshal(&m); err != nil {
				return 0, err
			}
		}
		return o.PerWrite, nil
	}
}

// decodeStage reads a client's write: frames, masked, a packet in each.
func decodeStage(o *Options) func() (int, error) {
	var wrote []byte
	for n := range uint64(o.PerWrite) {
		s := packet.Send{N: n + 1, ID: stageID(n), To: []byte("user0000001"), Suite: 1, Content: stageContent(o)}
		wrote = frame.AppendMasked(wrote, frame.OpBinary, s.AppendTo(nil), [4]byte{0x37, 0xfa, 0x21, byte(n)})
	}
	in, reader, send := make([]byte, len(wrote)), frame.Reader{}, packet.Send{}
	return func() (n int, err error) {
		copy(in, wrote) // unmasking is done in place
		for rest := in; len(rest) > 0; n++ {
			took, ev, ok, err := reader.Next(rest, &frame.Limits{})
			if err != nil || !ok {
				return 0, errors.Join(err, errors.New("a frame is cut off"))
			}
			rest = rest[took:]
			p, _, err := packet.Next(ev.Payload)
			if err == nil {
				err = send.Decode(p)
			}
			if err != nil {
				return 0, err
			}
		}
		return n, nil
	}
}

// stageRecords encodes records as a loop does that gathers them for a partition.
type stageRecords struct {
	rec record.Record
	n   uint64
}

func newStageRecords(o *Options) stageRecords {
	return stageRecords{rec: record.Record{
		Kind: record.Message, Suite: 1, Content: stageContent(o), User: []byte("user0000001"), Peer: []byte("user0000002"),
	}}
}

func (b *stageRecords) appendTo(dst []byte, count int) []byte {
	for range count {
		b.n++
		b.rec.ID, b.rec.At = stageID(b.n), 1_750_000_000_000+int64(b.n>>10)
		dst = record.AppendFramed(dst, &b.rec)
	}
	return dst
}

func appendStage(o *Options) func() (int, error) {
	b, batch := newStageRecords(o), []byte(nil)
	return func() (int, error) {
		batch = b.appendTo(batch[:0], o.PerWrite)
		return o.PerWrite, nil
	}
}

// stageLog appends to a log, and reads what is durable as its owners do: what
// is not read is kept.
type stageLog struct {
	log     *local.Log
	batch   stageRecords
	each    int
	batches [][]byte // that are free
	done    chan stageDone
	read    [stagePartitions]chat.Position
}

type stageDone struct {
	partition int
	first     chat.Position
	batch     []byte
	err       error
}

func newStageLog(o *Options) (*stageLog, error) {
	log, err := local.Open(local.Options{Dir: filepath.Join(o.Dir, "log"), Partitions: stagePartitions, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	l := &stageLog{log: log, each: o.PerWrite, batch: newStageRecords(o)}
	room := max(stageAhead/(o.PerWrite*(o.Size+64)), 1)
	l.done = make(chan stageDone, room)
	for range room {
		l.batches = append(l.batches, nil)
	}
	return l, nil
}

// step appends a batch, and counts those that have become durable meanwhile.
func (l *stageLog) step() (durable int, err error) {
	take := func(d stageDone) {
		l.batches = append(l.batches, d.batch)
		durable += l.each
		err = errors.Join(err, d.err)
		for last := d.first + chat.Position(l.each) - 1; err == nil && l.read[d.partition] < last; {
			var b pipeline.Batch
			if b, err = l.log.Read(context.Background(), d.partition, l.read[d.partition], 1<<20); err == nil {
				l.read[d.partition] = b.Last()
				l.log.Release(d.partition, b.Last(), true)
			}
		}
	}
	for len(l.done) > 0 {
		take(<-l.done)
	}
	if len(l.batches) == 0 {
		take(<-l.done)
	}
	if err != nil {
		return 0, err
	}
	last := len(l.batches) - 1
	batch := l.batches[last][:0]
	l.batches = l.batches[:last]
	batch = l.batch.appendTo(batch, l.each)
	partition := int(l.batch.n/uint64(l.each)) % stagePartitions
	err = l.log.TryAppend(partition, batch, l.each, func(first chat.Position, err error) {
		l.done <- stageDone{partition, first, batch, err}
	})
	if errors.Is(err, pipeline.ErrFull) { // its queue is shorter than what we have ahead
		l.batches, err = append(l.batches, batch), nil
		if len(l.batches) == cap(l.done) {
			return durable, errors.New("the log is full and nothing is on its way to it")
		}
		take(<-l.done)
	}
	return durable, err
}

// stageStore stores what bursts between some users would.
type stageStore struct {
	store   *pebble.Store
	users   []chat.User
	content []byte
	each    int
	n       chat.Position
	batch   storage.Batch
}

func newStageStore(o *Options) (*stageStore, error) {
	store, err := pebble.Open(pebble.Options{Dir: filepath.Join(o.Dir, "store"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	s := &stageStore{store: store, content: stageContent(o), each: o.PerWrite}
	for i := range stageChats + 1 {
		s.users = append(s.users, chat.User(userOf(i)))
	}
	return s, nil
}

func (s *stageStore) step() (int, error) {
	s.batch.Reset()
	for len(s.batch.Messages) < stageBatch {
		from := int(uint64(s.n) * 7919 % stageChats)
		for range s.each { // a write has a receiver
			s.n++
			m := chat.Message{ID: stageID(uint64(s.n)), From: s.users[from], To: s.users[from+1], Place: s.n, At: 1_750_000_000_000 + int64(s.n>>10), Suite: 1, Content: s.content}
			s.batch.Messages = append(s.batch.Messages, m)
			s.batch.Inbox = append(s.batch.Inbox, chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: m.Place, Message: m})
		}
	}
	s.batch.Mark = storage.Mark{Log: [16]byte{1}, Position: s.n}
	return len(s.batch.Messages), s.store.Apply(context.Background(), &s.batch)
}

// deliverStage encodes messages once and links them for a receiver.
func deliverStage(o *Options) func() (int, error) {
	m := packet.Message{From: []byte("user0000001"), Suite: 1, Content: stageContent(o)}
	var encoded, linked, out []byte
	pos := chat.Position(1 << 40)
	return func() (int, error) {
		out = out[:0]
		for range o.PerWrite {
			m.ID = stageID(uint64(pos))
			encoded = m.AppendTo(encoded[:0])
			linked = packet.AppendLink(linked[:0], encoded, pos+1, pos)
			out = frame.AppendMessage(out, frame.OpBinary, linked)
			pos++
		}
		return o.PerWrite, nil
	}
}
