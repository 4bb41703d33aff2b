package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// gnet has one pool of workers for the whole process, which it never
		// ends; Register, called once a loop, leaves an idle worker in it.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}

// hooks is a Handler made of functions; a nil one does nothing.
type hooks struct {
	open, deadline, drained func(*Conn)
	data                    func(*Conn, []byte)
	closed                  func(*Conn, error)
	turn                    func(*Loop)
}

func (h hooks) Open(c *Conn) {
	if h.open != nil {
		h.open(c)
	}
}

func (h hooks) Data(c *Conn, in []byte) {
	if h.data != nil {
		h.data(c, in)
	}
}

func (h hooks) Deadline(c *Conn) {
	if h.deadline != nil {
		h.deadline(c)
	}
}

func (h hooks) Drained(c *Conn) {
	if h.drained != nil {
		h.drained(c)
	}
}

func (h hooks) Closed(c *Conn, err error) {
	if h.closed != nil {
		h.closed(c, err)
	}
}

func (h hooks) Turn(l *Loop) {
	if h.turn != nil {
		h.turn(l)
	}
}

func echo(c *Conn, in []byte) {
	out := c.Pending()
	*out = append(*out, in...)
}

// start runs an engine until the test ends.
func start(t testing.TB, o Options, h Handler) *Engine {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Loops == 0 {
		o.Loops = 1
	}
	if o.TickMs == 0 {
		o.TickMs = 5
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e, err := Start(o, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, e) })
	return e
}

func stop(t testing.TB, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func dial(t testing.TB, e *Engine) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // a hang fails instead of hanging
	return c.(*net.TCPConn)
}

func send(t testing.TB, c net.Conn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, c net.Conn, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// take waits for a value, and fails the test if none comes.
func take[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// onLoop runs f on the loop and waits for the end of that turn.
func onLoop(t testing.TB, l *Loop, f func(*Loop)) {
	t.Helper()
	for _, f := range []func(*Loop){f, func(*Loop) {}} {
		done := make(chan struct{})
		if !l.Post(func(l *Loop) { f(l); close(done) }) {
			t.Fatal("the mailbox is closed")
		}
		take(t, done)
	}
}

// link is the server's end of a connection; conn is for the loop alone.
type link struct {
	conn *Conn
	id   ID
}

func into(opened chan<- link) func(*Conn) { return func(c *Conn) { opened <- link{c, c.ID()} } }

// openOne connects and returns both ends, the handler's Open being into(opened).
func openOne(t testing.TB, e *Engine, opened <-chan link) (*net.TCPConn, link) {
	t.Helper()
	client := dial(t, e)
	return client, take(t, opened)
}

func TestEcho(t *testing.T) {
	e := start(t, Options{Loops: 2}, hooks{data: echo})
	var wg sync.WaitGroup
	for range 8 {
		c := dial(t, e)
		wg.Go(func() {
			for _, size := range []int{1, 100, 1 << 16, 1<<20 + 3} {
				want := make([]byte, size)
				for i := range want {
					want[i] = byte(rand.Uint32())
				}
				go func() { _, _ = c.Write(want) }()
				got := make([]byte, size)
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes came back different (%v)", size, err)
				}
			}
		})
	}
	wg.Wait()
	const bytesEach = 1 + 100 + 1<<16 + 1<<20 + 3
	if s := e.Stats(); s.BytesIn != 8*bytesEach || s.BytesOut != 8*bytesEach || s.Accepted != 8 || s.Open != 8 {
		t.Errorf("counted %+v", s)
	}
}

func TestConnectionsAreSpreadOverTheLoops(t *testing.T) {
	opened := make(chan ID, 64)
	e := start(t, Options{Loops: 2}, hooks{open: func(c *Conn) {
		if c.ID().Loop() != c.Loop().Index() {
			t.Errorf("%x is on loop %d", c.ID(), c.Loop().Index())
		}
		opened <- c.ID()
	}})
	var on [2]int
	ids := map[ID]bool{}
	for range 64 {
		dial(t, e)
		id := take(t, opened)
		ids[id] = true
		on[id.Loop()]++
	}
	if on[0] == 0 || on[1] == 0 || len(ids) != 64 {
		t.Errorf("%v connections on the loops, %d ids", on, len(ids))
	}
	for i, n := range on {
		each := make(chan int, 1)
		e.Loop(i).Post(func(l *Loop) {
			seen := 0
			l.Each(func(c *Conn) {
				if l.Conn(c.ID()) == c && ids[c.ID()] {
					seen++
				}
			})
			each <- seen
		})
		if seen := take(t, each); seen != n || e.Loop(i).Conns() != n {
			t.Errorf("loop %d knows %d and counts %d, not %d", i, seen, e.Loop(i).Conns(), n)
		}
	}
}

// The first call of a loop is Turn, so that a handler can prepare Loop.Data.
func TestTurnComesFirst(t *testing.T) {
	e := start(t, Options{Loops: 2}, hooks{
		turn: func(l *Loop) {
			if l.Data == nil {
				l.Data = "prepared"
			}
		},
		open: func(c *Conn) {
			out := c.Pending()
			*out = append(*out, c.Loop().Data.(string)...)
		},
	})
	for range 8 {
		if got := receive(t, dial(t, e), 8); string(got) != "prepared" {
			t.Errorf("got %q", got)
		}
	}
}

func TestAddresses(t *testing.T) {
	got := make(chan string, 1)
	report := func(c *Conn) { got <- c.Remote().String() }
	for _, listen := range []string{"127.0.0.1:0", "localhost:0"} {
		e := start(t, Options{Listen: listen}, hooks{open: report})
		c := dial(t, e)
		if remote := take(t, got); remote != c.LocalAddr().String() || e.Addr().String() != c.RemoteAddr().String() {
			t.Errorf("%s: %v at %v for %v to %v", listen, remote, e.Addr(), c.LocalAddr(), c.RemoteAddr())
		}
	}
	e := start(t, Options{Listen: ":0"}, hooks{open: report})
	_, port, _ := net.SplitHostPort(e.Addr().String())
	c, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		t.Fatalf("an IPv4 client of all addresses: %v", err)
	}
	defer c.Close()
	if remote := take(t, got); remote != c.LocalAddr().String() {
		t.Errorf("the client %v is called %v", c.LocalAddr(), remote)
	}
}

// A connection's last bytes arrive although its peer is still sending.
func TestCloseDeliversWhatIsPending(t *testing.T) {
	closed := make(chan error, 1)
	e := start(t, Options{}, hooks{
		data: func(c *Conn, in []byte) {
			out := c.Pending()
			*out = append(*out, "goodbye"...)
			c.Close()
			c.Close()
		},
		closed: func(_ *Conn, err error) { closed <- err },
	})
	c := dial(t, e)
	send(t, c, make([]byte, 4<<20))
	got, err := io.ReadAll(c)
	if string(got) != "goodbye" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	_ = c.Close()
	if err := take(t, closed); err != nil {
		t.Errorf("Closed says %v", err)
	}
}

// A peer that does not close is not waited for longer than lingerMs.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	closed := make(chan error, 1)
	e := start(t, Options{}, hooks{open: (*Conn).Close, closed: func(_ *Conn, err error) { closed <- err }})
	dial(t, e)
	if err := take(t, closed); err != nil {
		t.Errorf("Closed says %v", err)
	}
}

func TestHalfClosedPeerGetsItsAnswer(t *testing.T) {
	closed := make(chan error, 1)
	e := start(t, Options{}, hooks{data: echo, closed: func(_ *Conn, err error) { closed <- err }})
	c := dial(t, e)
	release := hold(t, e.Loop(0)) // until the end of input is there, too
	send(t, c, []byte("question"))
	_ = c.CloseWrite()
	release()
	if got, err := io.ReadAll(c); string(got) != "question" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := take(t, closed); err != io.EOF {
		t.Errorf("Closed says %v", err)
	}
}

func TestStopClosesEveryConnection(t *testing.T) {
	const conns = 20
	opened := make(chan link, conns)
	closed := make(chan error, 2*conns)
	e := start(t, Options{Loops: 2}, hooks{
		open:   into(opened),
		closed: func(_ *Conn, err error) { closed <- err },
	})
	var clients []net.Conn
	for range conns {
		c, _ := openOne(t, e, opened)
		clients = append(clients, c)
	}
	for i := range e.Loops() {
		e.Loop(i).Post(func(l *Loop) {
			l.Each(func(c *Conn) { out := c.Pending(); *out = append(*out, "bye"...) })
		})
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			_ = c.Close()
		})
	}
	stop(t, e)
	wg.Wait()
	if len(closed) != conns || e.Stats().Open != 0 || e.Stats().Closed != conns {
		t.Errorf("%d of %d closed, %+v", len(closed), conns, e.Stats())
	}
	for range conns {
		if err := <-closed; err != nil {
			t.Errorf("Closed says %v", err)
		}
	}
	if _, err := net.Dial("tcp", e.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
	if e.Loop(0).Post(func(*Loop) {}) {
		t.Error("the mailbox is still open")
	}
	<-e.Done()
}

// A context that is done closes what is left at once.
func TestStopHeedsItsContext(t *testing.T) {
	opened, closed := make(chan link, 1), make(chan error, 1)
	e := start(t, Options{}, hooks{open: into(opened), closed: func(_ *Conn, err error) { closed <- err }})
	openOne(t, e, opened)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop says %v", err)
	}
	if err := take(t, closed); err != nil {
		t.Errorf("Closed says %v", err)
	}
}
