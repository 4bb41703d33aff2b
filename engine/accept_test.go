package engine

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refused waits for the server to end a connection that sent nothing.
func refused(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestMaxConns(t *testing.T) {
	closed := make(chan error, 2)
	e := start(t, Options{MaxConns: 2}, hooks{data: echo, closed: func(_ *Conn, err error) { closed <- err }})
	works := func(c net.Conn) {
		send(t, c, []byte("x"))
		receive(t, c, 1)
	}
	first, second := dial(t, e), dial(t, e)
	works(first)
	works(second)
	refused(t, dial(t, e))
	if s := e.Stats(); s.Accepted != 2 || s.Rejected != 1 || s.Open != 2 || s.MaxConns != 2 {
		t.Errorf("%+v", s)
	}
	_ = first.Close()
	if err := take(t, closed); err != io.EOF {
		t.Errorf("Closed says %v", err)
	}
	onLoop(t, e.Loop(0), func(*Loop) {})
	works(dial(t, e))
	works(second)
}

func TestAcceptPerSecond(t *testing.T) {
	e := start(t, Options{AcceptPerSecond: 1}, hooks{data: echo})
	var accepted, rejected uint64
	for rejected == 0 && accepted < 20 {
		c := dial(t, e)
		_, _ = c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			accepted++
		} else {
			rejected++
		}
	}
	if s := e.Stats(); accepted == 0 || rejected == 0 || s.Accepted != accepted || s.Rejected != rejected {
		t.Errorf("%d accepted, %d rejected, %+v", accepted, rejected, s)
	}
}

func TestBucket(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBucket(10, now)
	takes := func(n int) (taken int) {
		for range n {
			if b.take(now) {
				taken++
			}
		}
		return taken
	}
	if n := takes(20); n != 10 {
		t.Errorf("a full bucket gives %d", n)
	}
	now = now.Add(300 * time.Millisecond)
	if n := takes(20); n != 3 {
		t.Errorf("0.3 s later it gives %d", n)
	}
	now = now.Add(time.Hour)
	if n := takes(20); n != 10 {
		t.Errorf("an hour later it gives %d", n)
	}
	if b := newBucket(0, now); !b.take(now) {
		t.Error("no limit is a limit")
	}
}

func TestStopAccepting(t *testing.T) {
	e := start(t, Options{}, hooks{data: echo})
	c := dial(t, e)
	send(t, c, []byte("x"))
	receive(t, c, 1)
	e.StopAccepting()
	refused(t, dial(t, e))
	send(t, c, []byte("y"))
	receive(t, c, 1)
}

func TestConnsWithin(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, c := range []struct{ want, files, allowed int }{
		{0, 20_000, 18_976},
		{15_000, 20_000, 15_000},
		{20_000, 20_000, 18_976},
		{0, 256, 192},
		{100, 1 << 20, 100},
	} {
		if got := connsWithin(c.want, ConnsOf(c.files), c.files, log); got != c.allowed {
			t.Errorf("%d wanted of %d files: %d allowed, not %d", c.want, c.files, got, c.allowed)
		}
	}
}

// The loops share their port among themselves, and with nobody else.
func TestPortInUse(t *testing.T) {
	first := start(t, Options{}, hooks{})
	o := Options{Listen: first.Addr().String(), Loops: 1}
	if e, err := Start(o, hooks{}); err == nil {
		stop(t, e)
		t.Error("a second engine has the port")
	} else if !strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	for _, listen := range []string{"192.0.2.1:0", "no.such.host.invalid:80"} {
		o := Options{Listen: listen, Logger: slog.New(slog.DiscardHandler)}
		if e, err := Start(o, hooks{}); err == nil {
			stop(t, e)
			t.Errorf("listens on %s", listen)
		}
	}
}

// All faults are reported together.
func TestValidate(t *testing.T) {
	bad := Options{Loops: 257, MaxConns: -1, MaxOutBytes: -1, MaxOutTotalBytes: -1, AcceptPerSecond: -1, TurnEvery: time.Second + 1, TickMs: 1001}
	err := bad.Validate()
	for _, name := range []string{"Listen", "Loops", "MaxConns", "MaxOutBytes", "MaxOutTotalBytes", "AcceptPerSecond", "TurnEvery", "TickMs"} {
		if err == nil || !strings.Contains(err.Error(), name+" is") {
			t.Errorf("%s is missing in %v", name, err)
		}
	}
	if _, err := Start(bad, hooks{}); err == nil {
		t.Error("Start takes it")
	}
	if err := (Options{Listen: ":0"}).Validate(); err != nil {
		t.Error(err)
	}
}

// starve connects to e when there is no descriptor left for it, and returns
// what gives some back.
func starve(t *testing.T, e *Engine) (release func()) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	next, err := unix.Dup(fd) // the lowest number that is free
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(next)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: uint64(next), Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	release = func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }
	t.Cleanup(release)
	addr := e.Addr().(*net.TCPAddr)
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())})
	if err != nil && err != unix.EINPROGRESS {
		t.Error(err)
	}
	return release
}
