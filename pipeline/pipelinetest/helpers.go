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
// the position of the first.
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

// Expect reads on until as many records have come and compares them. The
// positions have to be consecutive in the epoch of the first.
func Expect(t testing.TB, l pipeline.Log, partition int, after chat.Position, want ...string) {
	t.Helper()
	var got []string
	next := chat.Position(0)
	for len(got) < len(want) {
		b := read(t, l, partition, after, 1<<20)
		if b.First <= after || next != 0 && b.First != next {
			t.Fatalf("a batch at %v after %v", b.First, after)
		}
		got = append(got, records(t, b)...)
		next = b.First + chat.Position(b.Count)
		after = next - 1
	}
	if !slices.Equal(got, want) {
		t.Fatalf("partition %d has %.100q, want %.100q", partition, got, want)
	}
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
