package engine

import (
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkEcho counts messages of 100 bytes, that many in flight on each
// connection, one write for all of them; both ends run in this process.
func BenchmarkEcho(b *testing.B) {
	for _, conns := range []int{1, 100} {
		for _, depth := range []int{1, 16, 64} {
			b.Run("conns="+strconv.Itoa(conns)+"/depth="+strconv.Itoa(depth), func(b *testing.B) {
				benchmarkEcho(b, conns, depth)
			})
		}
	}
}

func benchmarkEcho(b *testing.B, conns, depth int) {
	e := start(b, Options{TickMs: 100}, hooks{data: echo})
	clients := make([]net.Conn, conns)
	for i := range clients {
		clients[i] = dial(b, e)
		_ = clients[i].SetDeadline(time.Time{})
	}
	block := make([]byte, 100*depth)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += conns * depth {
		for _, c := range clients {
			if _, err := c.Write(block); err != nil {
				b.Fatal(err)
			}
		}
		for _, c := range clients {
			if _, err := io.ReadFull(c, block); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	s := e.Stats()
	b.ReportMetric(float64(s.Writes)/float64(s.Turns), "writes/turn")
}

// BenchmarkPost counts posts to one loop from as many goroutines as there are
// processors, and how many of them shared a wake-up.
func BenchmarkPost(b *testing.B) {
	e := start(b, Options{TickMs: 100}, hooks{})
	l, f := e.Loop(0), func(*Loop) {}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			l.Post(f)
		}
	})
	onLoop(b, l, func(*Loop) {})
	s := e.Stats()
	b.ReportMetric(float64(s.Posts)/float64(s.Turns), "posts/turn")
}

// BenchmarkSetDeadline moves one of 100,000 deadlines on.
func BenchmarkSetDeadline(b *testing.B) {
	w, conns := wheelOf(100_000, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.at(conns[i*31%len(conns)], int64(30_000+i/1000))
	}
}

// BenchmarkIdleConn holds ENGINE_IDLE_CONNS connections (8,000 unless told)
// opened by a second process, and reports the resident bytes that each costs
// this one after one message and a collection: (settled − empty) / n.
func BenchmarkIdleConn(b *testing.B) {
	if addr := os.Getenv("ENGINE_IDLE_DIAL"); addr != "" {
		dialIdle(b, addr)
		return
	}
	n, err := strconv.Atoi(os.Getenv("ENGINE_IDLE_CONNS"))
	if err != nil {
		n = 8000
	}
	e := start(b, Options{Loops: 2, TickMs: 100}, hooks{data: echo})
	empty := resident(b)
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=IdleConn", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), "ENGINE_IDLE_DIAL="+e.Addr().String(), "ENGINE_IDLE_CONNS="+strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for got := ""; !strings.Contains(got, "all open"); {
		line := make([]byte, 256)
		m, err := out.Read(line)
		if err != nil {
			b.Fatal(got, err)
		}
		got += string(line[:m])
	}
	settled := resident(b)
	slog.Info("idle", "conns", e.Stats().Open, "empty", empty, "settled", settled)
	b.ReportMetric(float64(settled-empty)/float64(n), "B/conn")
	_ = in.Close()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
}

// dialIdle is the second process: it opens the connections, sends one message
// on each and waits for the end of its input.
func dialIdle(b *testing.B, addr string) {
	n, _ := strconv.Atoi(os.Getenv("ENGINE_IDLE_CONNS"))
	p := make([]byte, 100)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, p); err != nil {
			b.Fatal(err)
		}
		defer c.Close()
	}
	_, _ = os.Stdout.WriteString("all open\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// resident returns this process's resident bytes after collections.
func resident(b *testing.B) int64 {
	for range 3 {
		runtime.GC()
	}
	p, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(p))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
