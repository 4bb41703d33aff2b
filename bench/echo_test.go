package bench

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/internal/echo"
)

// echoServer runs our echo in this process.
func echoServer(t *testing.T) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	at, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- echo.Run(ctx, echo.Options{Listen: "127.0.0.1:0", Loops: 1, Ready: func(a net.Addr) { at <- a }})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case a := <-at:
		return netip.MustParseAddrPort(a.String())
	case err := <-done:
		t.Fatal(err)
		return netip.AddrPort{}
	}
}

func echoLoadOn(t *testing.T, to netip.AddrPort, speaks string, n, depth int) *echoLoad {
	t.Helper()
	e, err := newEchoLoad(speaks, 100)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.loop.close)
	if err := e.connect(to, n, depth); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnEchoLoadCountsWhatItSent(t *testing.T) {
	e := echoLoadOn(t, echoServer(t), "", 20, 16)
	for _, depth := range []int{1, 16} {
		e.start(depth)
		if e.inFlight != 20*depth {
			t.Errorf("%d messages in flight at depth %d of 20 connections", e.inFlight, depth)
		}
		for until := e.echoed + 1000; e.echoed < until; {
			if err := e.loop.poll(e.loop.clock() + int64(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.drain(); err != nil {
			t.Fatal(err)
		}
	}
	if e.sent != e.echoed || e.sent < 2000 || uint64(e.latency.TotalCount()) != e.echoed {
		t.Errorf("sent %d, echoed %d, latencies of %d", e.sent, e.echoed, e.latency.TotalCount())
	}
}

// meddler sends back raw bytes, after f has had its way with them.
func meddler(t *testing.T, f func(read int, b []byte) []byte) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 4096)
		for read := 0; ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			out := f(read, b[:n])
			read += n
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return netip.MustParseAddrPort(ln.Addr().String())
}

// loadUntilFault runs a raw load of one connection until it complains.
func loadUntilFault(t *testing.T, to netip.AddrPort) error {
	t.Helper()
	e, err := newEchoLoad("raw", 100)
	if err != nil {
		t.Fatal(err)
	}
	defer e.loop.close() // before the meddler is waited for
	if err := e.connect(to, 1, 4); err != nil {
		return err
	}
	e.start(4)
	for e.echoed < 100 {
		if err := e.loop.poll(e.loop.clock() + int64(time.Second)); err != nil {
			return err
		}
	}
	return e.drain()
}

func TestAWrongEchoIsNoticed(t *testing.T) {
	same := func(_ int, b []byte) []byte { return b }
	if err := loadUntilFault(t, meddler(t, same)); err != nil {
		t.Fatalf("a right echo was refused: %v", err)
	}
	// Every byte of the third message, the stamp's too, is one that counts.
	const size = 100 + 2 + 4
	for at := 2 * size; at < 3*size; at++ {
		err := loadUntilFault(t, meddler(t, func(read int, b []byte) []byte {
			if i := at - read; i >= 0 && i < len(b) {
				b[i] ^= 1
			}
			return b
		}))
		if err == nil || !strings.Contains(err.Error(), errWrongEcho.Error()) {
			t.Fatalf("byte %d was wrong: %v", at, err)
		}
	}
	twice := func(_ int, b []byte) []byte { return append(b, b...) }
	if err := loadUntilFault(t, meddler(t, twice)); err == nil {
		t.Error("an echo that came twice was taken")
	}
}

func TestALoadThatIsTheLimitIsInvalid(t *testing.T) {
	for _, c := range []struct {
		load, server time.Duration
		limit        bool
	}{
		{990 * time.Millisecond, 990 * time.Millisecond, false},
		{990 * time.Millisecond, 750 * time.Millisecond, false}, // the ballast has its quarter
		{990 * time.Millisecond, 650 * time.Millisecond, true},  // and what the server did not want
		{900 * time.Millisecond, 650 * time.Millisecond, false},
	} {
		s := &echoSeries{line: EchoResult{Pinned: true}, latency: newHistogram(), figures: []echoFigures{{messages: 1000, seconds: 1, load: c.load, server: c.server}}}
		s.summarize(nil, nil)
		if s.line.Valid == c.limit || (len(s.line.Invalid) > 0) != c.limit {
			t.Errorf("load %v, server %v of a second: valid %v, %v", c.load, c.server, s.line.Valid, s.line.Invalid)
		}
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	of := func(messages ...uint64) *echoSeries {
		s := &echoSeries{latency: newHistogram()}
		for _, m := range messages {
			s.figures = append(s.figures, echoFigures{messages: m, seconds: 1, server: time.Second, load: time.Second / 2})
		}
		return s
	}
	s, bare := of(90, 45, 80), of(100, 50, 100)
	s.summarize(bare, nil)
	if r := s.line.RatioToC; r == nil || r.Median != 0.9 || r.Min != 0.8 || r.Max != 0.9 || s.line.RatioToGo != nil {
		t.Errorf("ratio %+v, to what was not measured %+v", r, s.line.RatioToGo)
	}
	if s.line.LoadCapacity != 200 || s.line.PerCPUSecond.Median != 80 {
		t.Errorf("load capacity %v, messages for a processor second %+v", s.line.LoadCapacity, s.line.PerCPUSecond)
	}
}

// TestEchoProfile measures our echo and the bare one in Go, as processes of
// their own.
func TestEchoProfile(t *testing.T) {
	dir := t.TempDir()
	peers := filepath.Join(dir, "peers")
	build := exec.Command("go", "build", "-C", "peers", "-o", filepath.Join(peers, bareGo), "./barego")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	targets, err := echoTargets(&Options{Peers: peers})
	if err != nil || len(targets) != 2 || targets[0].name != bareGo || targets[1].name != ours {
		t.Fatalf("targets %v: %v", targets, err)
	}
	server, unpin, err := pinEcho()
	if err != nil {
		t.Fatal(err)
	}
	defer unpin()
	ballast, err := startBallast(server)
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.stop()
	b := &echoBench{
		plan: echoPlan{connections: 10, size: 100, depths: []int{1, 16}, rounds: 2, warmup: 10 * time.Millisecond, round: 50 * time.Millisecond, idle: 20},
		dir:  dir, cpu: server, ballast: ballast, cpus: 2, progress: io.Discard,
	}
	res := &Result{Profile: "echo"}
	if err := b.measure(t.Context(), targets, res); err != nil {
		t.Fatal(err)
	}
	if len(res.Echo) != 4 {
		t.Fatalf("%d lines of two targets at two depths", len(res.Echo))
	}
	for _, l := range res.Echo {
		if l.Messages == 0 || l.Latency.Count < int64(l.Messages) || l.IdleBytes == 0 || l.Program == "" || l.RatioToGo == nil || l.RatioToC != nil {
			t.Errorf("%s at depth %d: %d messages, latencies of %d, %d bytes idle, ratios %v and %v", l.Target, l.Depth, l.Messages, l.Latency.Count, l.IdleBytes, l.RatioToGo, l.RatioToC)
		}
	}
	if ours := res.Echo[2].Program; ours != binarySum() || ours == res.Echo[0].Program {
		t.Errorf("our program is %s, the bare one %s", ours, res.Echo[0].Program)
	}
	var lines strings.Builder
	if err := res.WriteJSON(&lines); err != nil || strings.Count(lines.String(), "\n") != 4 || strings.Count(lines.String(), `"profile":"echo"`) != 4 {
		t.Errorf("%v: %s", err, lines.String())
	}
}

// The ballast is busy on the server's processor, and there alone, until it is stopped.
func TestBallast(t *testing.T) {
	var mine, on unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	server := 0
	for !mine.IsSet(server) {
		server++
	}
	b, err := startBallast(server)
	if err != nil {
		t.Fatal(err)
	}
	pid := b.cmd.Process.Pid
	if err := unix.SchedGetaffinity(pid, &on); err != nil || on.Count() != 1 || !on.IsSet(server) {
		t.Errorf("it may run on %d processors, on the server's: %v (%v)", on.Count(), on.IsSet(server), err)
	}
	for b.cpu() == 0 { // it works, sooner or later
		runtime.Gosched()
	}
	b.stop()
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("it is there when it was stopped: %v", err)
	}
	if none, err := startBallast(-1); err != nil || none.cpu() != 0 {
		t.Errorf("a ballast of no processor: %v", err)
	}
}

func TestPeersThatAreMissingAreSaid(t *testing.T) {
	if _, err := echoTargets(&Options{Peers: filepath.Join(t.TempDir(), "nothing")}); err == nil || !strings.Contains(err.Error(), "scripts/peers.sh build") {
		t.Errorf("peers of a folder that is not there: %v", err)
	}
}

// asEcho makes this program `rookery echo` when it is started as that.
func asEcho() {
	if len(os.Args) < 2 || os.Args[1] != "echo" {
		return
	}
	listen := strings.TrimPrefix(os.Args[2], "--listen=") // as both of its callers say it
	err := echo.Run(context.Background(), echo.Options{Listen: listen, Loops: 1, Ready: func(a net.Addr) { os.Stdout.WriteString("ready: ws://" + a.String() + "\n") }})
	if err != nil {
		os.Stderr.WriteString(err.Error())
	}
	os.Exit(1)
}
