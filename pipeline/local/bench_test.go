package local

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

const (
	benchPartitions = 8
	benchRecord     = 150 // bytes, frame included
)

// BenchmarkFlatOut appends batches of 64 records to eight partitions as fast as
// the log takes them, with owners that read and release everything.
func BenchmarkFlatOut(b *testing.B) { benchmark(b, 64, 0) }

// BenchmarkPaced appends 1.16 M records a second, as two loops would that turn
// every 500 us. One round is one record: -benchtime=6000000x takes 5 s.
func BenchmarkPaced(b *testing.B) { benchmark(b, 0, 1_160_000) }

// BenchmarkOne appends one record at a time and waits for it: the least latency.
func BenchmarkOne(b *testing.B) {
	l := benchLog(b)
	batch := benchBatch(1)
	done := make(chan struct{}, 1)
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		begin := time.Now()
		if err := l.Append(0, batch, 1, func(chat.Position, error) { done <- struct{}{} }); err != nil {
			b.Fatal(err)
		}
		<-done
		took = append(took, time.Since(begin))
	}
	b.StopTimer()
	reportLatency(b, took)
}

// measured collects how long batches took from append to done.
type measured struct {
	mu   sync.Mutex
	took []time.Duration
}

func benchmark(b *testing.B, records, rate int) {
	l := benchLog(b)
	ctx, cancel := context.WithCancel(context.Background())
	var owners sync.WaitGroup
	for p := range benchPartitions {
		owners.Go(func() { benchOwner(ctx, l, p) })
	}
	m := &measured{took: make([]time.Duration, 0, 1<<20)}
	var inFlight sync.WaitGroup
	cpu := cpuTime()
	b.ResetTimer()
	if rate == 0 {
		benchFlatOut(b, l, m, &inFlight, records)
	} else {
		benchPaced(b, l, m, &inFlight, rate)
	}
	inFlight.Wait()
	b.StopTimer()
	seconds := b.Elapsed().Seconds()
	s := l.Stats()
	b.ReportMetric(float64(cpuTime()-cpu)/float64(s.Records), "cpu-ns/record")
	b.ReportMetric(float64(s.Records)/seconds/1e6, "M-records/s")
	b.ReportMetric(float64(s.RecordBytes)/float64(s.Syncs)/1024, "KiB/commit")
	b.ReportMetric(float64(s.SyncTime.Microseconds())/1e3/float64(s.Syncs), "ms/sync")
	reportLatency(b, m.took)
	cancel()
	owners.Wait()
}

func benchFlatOut(b *testing.B, l *Log, m *measured, inFlight *sync.WaitGroup, records int) {
	batch := benchBatch(records)
	for i := 0; i < b.N; i += records {
		benchAppend(b, l, m, inFlight, i/records%benchPartitions, batch, records)
	}
}

func benchPaced(b *testing.B, l *Log, m *measured, inFlight *sync.WaitGroup, rate int) {
	const most = 4096
	batch := benchBatch(most)
	begin := time.Now()
	for sent, p := 0, 0; sent < b.N; {
		due := min(int(time.Since(begin).Seconds()*float64(rate)), b.N)
		n := min((due-sent)/benchPartitions, most)
		if n < 16 && due < b.N {
			time.Sleep(500 * time.Microsecond)
			continue
		}
		for range benchPartitions {
			benchAppend(b, l, m, inFlight, p, batch[:max(n, 1)*benchRecord], max(n, 1))
			p = (p + 1) % benchPartitions
		}
		sent += max(n, 1) * benchPartitions
	}
}

func benchAppend(b *testing.B, l *Log, m *measured, inFlight *sync.WaitGroup, partition int, batch []byte, records int) {
	inFlight.Add(1)
	begin := time.Now()
	for {
		err := l.TryAppend(partition, batch, records, func(_ chat.Position, err error) {
			m.mu.Lock()
			m.took = append(m.took, time.Since(begin))
			m.mu.Unlock()
			inFlight.Done()
		})
		if err == nil {
			return
		}
		if !errors.Is(err, pipeline.ErrFull) {
			b.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func benchOwner(ctx context.Context, l *Log, partition int) {
	for after := chat.Position(0); ; {
		batch, err := l.Read(ctx, partition, after, 1<<20)
		if err != nil {
			return
		}
		after += chat.Position(batch.Count)
		l.Release(partition, after, true)
	}
}

func benchLog(b *testing.B) *Log {
	l := mustOpen(b, Options{Dir: filepath.Join(b.TempDir(), "log"), Partitions: benchPartitions})
	warm := benchBatch(1000)
	for l.Stats().Recycled < 3 { // the steady state writes over old segments
		for p := range benchPartitions {
			recs := make(chan chat.Position, 1)
			if err := l.Append(p, warm, 1000, func(first chat.Position, _ error) { recs <- first }); err != nil {
				b.Fatal(err)
			}
			l.Release(p, <-recs+999, true)
		}
	}
	ends := l.Stats().PartitionEnds
	for p := range ends {
		l.partitions[p].started, l.partitions[p].cursor = true, ends[p]
	}
	l.stats = counters{}
	return l
}

func benchBatch(records int) []byte {
	rec := string(bytes.Repeat([]byte("r"), benchRecord-frameBytes))
	return pipelinetest.Frame(slices.Repeat([]string{rec}, records)...)
}

func reportLatency(b *testing.B, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
}

// cpuTime is the processor time of this process.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
