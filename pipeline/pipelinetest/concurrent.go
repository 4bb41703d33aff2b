package pipelinetest

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// testConcurrent has several producers and one owner a partition, which releases
// what it has read. Each producer's records arrive once and in order.
func testConcurrent(t *testing.T, factory Factory) {
	const partitions, producers, each = 3, 4, 400
	l := factory(t, Config{Partitions: partitions, PartitionBytes: 8 << 10})()
	var wg sync.WaitGroup
	for p := range partitions {
		wg.Add(1)
		go func() { defer wg.Done(); own(t, l, p, producers, each) }()
		for producer := range producers {
			wg.Add(1)
			go func() { defer wg.Done(); produce(t, l, p, producer, each) }()
		}
	}
	await(t, &wg)
	closeLog(t, l)
}

// produce appends each records, waiting for every one that was refused.
func produce(t *testing.T, l pipeline.Log, partition, producer, each int) {
	positions := make(chan chat.Position, each)
	for i := 0; i < each; {
		var rec [8]byte
		binary.LittleEndian.PutUint32(rec[:], uint32(producer))
		binary.LittleEndian.PutUint32(rec[4:], uint32(i))
		err := l.TryAppend(partition, Frame(string(rec[:])), 1, func(first chat.Position, err error) {
			if err != nil {
				t.Error(err)
			}
			positions <- first
		})
		switch {
		case err == nil:
			i++
		case errors.Is(err, pipeline.ErrFull):
			runtime.Gosched()
		default:
			t.Error(err)
			return
		}
	}
	for last, i := chat.Position(0), 0; i < each; i++ {
		p := <-positions
		if p <= last {
			t.Errorf("position %v after %v", p, last)
		}
		last = p
	}
}

func own(t *testing.T, l pipeline.Log, partition, producers, each int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	next := make([]uint32, producers)
	after := chat.Position(0)
	for n := 0; n < producers*each; {
		b, err := l.Read(ctx, partition, after, 1000)
		if err != nil {
			t.Error(err)
			return
		}
		for _, rec := range records(t, b) {
			producer, i := binary.LittleEndian.Uint32([]byte(rec)), binary.LittleEndian.Uint32([]byte(rec[4:]))
			if i != next[producer] {
				t.Errorf("record %d of producer %d, want %d", i, producer, next[producer])
			}
			next[producer] = i + 1
		}
		for _, p := range Positions(b) {
			if p <= after {
				t.Errorf("a record at %v after one at %v", p, after)
			}
			after = p
		}
		n += b.Count
		l.Release(partition, after, n%2 == 0)
	}
}
