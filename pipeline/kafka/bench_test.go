package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// The benchmarks hold the log against the bare driver on the same broker:
// messages of 100 random bytes, 16 partitions, linger 10 ms, batches to 1 MiB.
// An operation is a message. "1", "16" and so on are messages in an append, and
// so in a Kafka record; "raw" is the bare driver with a record for each message.
const (
	benchPartitions = 16
	messageBytes    = 100
)

func benchOptions(b *testing.B) Options {
	o := options(services.Kafka(b))
	o.Linger, o.BatchBytes = 10*time.Millisecond, 1<<20
	return newTopics(b, o, benchPartitions)
}

func rawOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(10 * time.Millisecond),
		kgo.ProducerBatchMaxBytes(1 << 20),
	}
}

// report adds what one run cost beside its time.
func report(b *testing.B, begin time.Time, before float64) {
	took := time.Since(begin).Seconds()
	b.ReportMetric(float64(b.N)/took, "msg/s")
	b.ReportMetric((processorSeconds()-before)/took, "cores")
}

func processorSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func BenchmarkProduce(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		o := benchOptions(b)
		cl := client(b, o, rawOpts()...)
		produceRaw(b, cl, o, 1) // it knows the topic
		begin, before := time.Now(), processorSeconds()
		b.ResetTimer()
		produceRaw(b, cl, o, b.N)
		report(b, begin, before)
	})
	for _, size := range []int{1, 4, 16, 64, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := mustOpen(b, benchOptions(b))
			begin, before := time.Now(), processorSeconds()
			b.ResetTimer()
			produceOurs(b, l, b.N, size)
			report(b, begin, before)
		})
	}
}

func produceRaw(b *testing.B, cl *kgo.Client, o Options, n int) {
	value := make([]byte, messageBytes)
	rand.Read(value)
	topic := topicName(o.Prefix, 0)
	for i := range n {
		r := &kgo.Record{Topic: topic, Partition: int32(i % benchPartitions), Value: value}
		cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// produceOurs appends as loops do: each batch is filled, handed over, and used
// again when it is done.
func produceOurs(b *testing.B, l *Log, n, size int) {
	message := make([]byte, messageBytes)
	rand.Read(message)
	full := pipelinetest.Frame(string(message))
	for count := 1; count < size; count++ {
		full = append(full, full[:messageBytes+frameBytes]...)
	}
	appends := (n + size - 1) / size
	done := make(chan struct{}, appends)
	onDone := func(_ chat.Position, err error) {
		if err != nil {
			b.Error(err)
		}
		done <- struct{}{}
	}
	for i := range appends {
		for {
			err := l.TryAppend(i%benchPartitions, full, size, onDone)
			if err == nil {
				break
			}
			if !errors.Is(err, pipeline.ErrFull) {
				b.Fatal(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	for range appends {
		<-done
	}
}

func BenchmarkConsume(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		o := benchOptions(b)
		produceRaw(b, client(b, o, rawOpts()...), o, b.N)
		begin, before := time.Now(), processorSeconds()
		b.ResetTimer()
		consumeRaw(b, o)
		report(b, begin, before)
	})
	for _, size := range []int{1, 4, 16, 64, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			o := benchOptions(b)
			l := mustOpen(b, o)
			produceOurs(b, l, b.N, size)
			begin, before := time.Now(), processorSeconds()
			b.ResetTimer()
			consumeOurs(b, l)
			report(b, begin, before)
		})
	}
}

func consumeRaw(b *testing.B, o Options) {
	from := map[int32]kgo.Offset{}
	for p := range int32(benchPartitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	cl := client(b, o, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topicName(o.Prefix, 0): from}))
	for n := 0; n < b.N; {
		fetches := cl.PollFetches(context.Background())
		for _, err := range fetches.Errors() {
			b.Fatal(err)
		}
		fetches.EachRecord(func(*kgo.Record) { n++ })
	}
}

func consumeOurs(b *testing.B, l *Log) {
	finished := make(chan error)
	for p := range benchPartitions {
		go func() {
			for after, end := chat.Position(0), l.End(p); after < end; {
				batch, err := l.Read(context.Background(), p, after, 1<<20)
				if err != nil {
					finished <- err
					return
				}
				after = batch.Last()
			}
			finished <- nil
		}()
	}
	for range benchPartitions {
		if err := <-finished; err != nil {
			b.Fatal(err)
		}
	}
}
