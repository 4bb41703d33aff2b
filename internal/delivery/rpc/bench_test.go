package rpc

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/delivery"
)

// counter takes hints and counts them.
type counter struct {
	*far
	n    atomic.Int64
	took chan struct{} // if there is one, it is told of each call
}

func (c *counter) Take(hints []delivery.Hint, absent [][]byte) [][]byte {
	c.n.Add(int64(len(hints)))
	if c.took != nil {
		c.took <- struct{}{}
	}
	return absent
}

// BenchmarkLoneHints sends a hint when the one before it was taken: what a
// frame costs that has no company.
func BenchmarkLoneHints(b *testing.B) {
	c := &counter{far: newFar(), took: make(chan struct{}, 1)}
	dir := b.TempDir()
	_, at := serve(b, ServerOptions{TLS: newSource(b, dir, "far")}, "127.0.0.1:0", c)
	p := newPeers(b, Options{TLS: newSource(b, dir, "near")})
	h := hint("a-user-of-usual-length", 1)
	h.Packet = make([]byte, 200)
	b.ReportAllocs()
	before := processorTime()
	for range b.N {
		p.Send(at, h)
		<-c.took
	}
	b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkLink sends hints of 200 bytes over loopback, as fast as they are
// taken, and tells the processor time of both sides together.
func BenchmarkLink(b *testing.B) {
	for _, secure := range []bool{false, true} {
		name, o, s := "plaintext", Options{Plaintext: true}, ServerOptions{Plaintext: true}
		if secure {
			dir := b.TempDir()
			name, o, s = "tls", Options{TLS: newSource(b, dir, "near")}, ServerOptions{TLS: newSource(b, dir, "far")}
		}
		b.Run(name, func(b *testing.B) {
			c := &counter{far: newFar()}
			_, at := serve(b, s, "127.0.0.1:0", c)
			p := newPeers(b, o)
			h := hint("a-user-of-usual-length", 1)
			h.Packet = make([]byte, 200)
			b.ReportAllocs()
			b.SetBytes(200)
			before := processorTime()
			b.ResetTimer()
			for i := range b.N {
				for p.Stats.Bytes.Load() > 1<<20 { // half of what would be dropped
					time.Sleep(50 * time.Microsecond)
				}
				h.Pos, h.Packet[0] = chat.Position(i+1), byte(i) // each of another message
				p.Send(at, h)
			}
			eventually(b, "all are taken", func() bool { return c.n.Load() == int64(b.N) })
			b.StopTimer()
			b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/float64(max(p.Stats.Frames.Load(), 1)), "hints/frame")
		})
	}
}

func processorTime() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
