package pipelinetest

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// Frame makes a batch of records.
func Frame(records ...string) []byte {
	var b []byte
	for _, rec := range records {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(rec)))
		b = append(b, rec...)
	}
	return b
}

// Records takes a batch of framed records apart.
func Records(t testing.TB, b []byte) (recs []string) {
	for len(b) > 0 {
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			t.Errorf("%d bytes at the end of a batch are no record", len(b))
			return recs
		}
		n := binary.LittleEndian.Uint32(b)
		recs = append(recs, string(b[4:4+n]))
		b = b[4+n:]
	}
	return recs
}

func records(t testing.TB, b pipeline.Batch) []string {
	recs := Records(t, b.Records)
	if len(recs) != b.Count {
		t.Errorf("a batch of %d records says %d", len(recs), b.Count)
	}
	return recs
}

// Append appends records as one batch, waits until they are durable and returns
// the position of the first. The others follow it.
func Append(t testing.TB, l pipeline.Log, partition int, recs ...string) chat.Position {
	t.Helper()
	type result struct {
		first chat.Position
		err   error
	}
	results := make(chan result, 1)
	err := l.TryAppend(partition, Frame(recs...), len(recs), func(first chat.Position, err error) { results <- result{first, err} })
	if err != nil {
		t.Fatal(err)
	}
	r := <-results
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.first
}

// tryAppend appends one record and waits, or returns why it was refused.
func tryAppend(t testing.TB, l pipeline.Log, partition int, rec string) error {
	t.Helper()
	result := make(chan error, 1)
	if err := l.TryAppend(partition, Frame(rec), 1, func(_ chat.Position, err error) { result <- err }); err != nil {
		return err
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	return nil
}

// read is one Read that has to succeed.
func read(t testing.TB, l pipeline.Log, partition int, after chat.Position, maxBytes int) pipeline.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := l.Read(ctx, partition, after, maxBytes)
	if err != nil {
		t.Fatalf("Read of partition %d after %v: %v", partition, after, err)
	}
	return b
}

// Positions are those of a batch's records, one by one.
func Positions(b pipeline.Batch) (all []chat.Position) {
	next, jumps := b.First, b.Jumps
	for i := range b.Count {
		if len(jumps) > 0 && jumps[0].At == i {
			next, jumps = jumps[0].To, jumps[1:]
		}
		all = append(all, next)
		next++
	}
	return all
}

// Expect reads on until as many records have come and compares them. Their
// positions have to rise. It returns the last.
func Expect(t testing.TB, l pipeline.Log, partition int, after chat.Position, want ...string) (last chat.Position) {
	t.Helper()
	var got []string
	last = after
	for len(got) < len(want) {
		b := read(t, l, partition, last, 1<<20)
		got = append(got, records(t, b)...)
		last = rising(t, last, b)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("partition %d has %.100q, want %.100q", partition, got, want)
	}
	return last
}

// rising checks the positions of a batch, and returns the last.
func rising(t testing.TB, last chat.Position, b pipeline.Batch) chat.Position {
	t.Helper()
	for _, p := range Positions(b) {
		if p <= last {
			t.Fatalf("a record at %v after one at %v", p, last)
		}
		last = p
	}
	if b.Last() != last {
		t.Errorf("a batch says that it ends at %v, it ends at %v", b.Last(), last)
	}
	return last
}

func closeLog(t testing.TB, l pipeline.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func await(t testing.TB, wg *sync.WaitGroup) {
	t.Helper()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("nothing happens")
	}
}
