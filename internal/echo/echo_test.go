package echo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/frame"
)

func TestMain(m *testing.M) {
	// gnet makes a pool of goroutines when it is loaded, and keeps it.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"))
}

const request = "GET /any/path HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

var key = [4]byte{1, 2, 3, 4}

func start(t *testing.T, h handler) *engine.Engine {
	t.Helper()
	e, err := engine.Start(engine.Options{Listen: "127.0.0.1:0", Loops: 1, MaxOutBytes: maxOutBytes, TickMs: 10}, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

// visitor is a client: a socket, what came after the 101, and a frame reader.
type visitor struct {
	net.Conn
	t      *testing.T
	in     *bufio.Reader
	reader frame.Reader
	limits frame.Limits
}

// visit connects and sends first behind the handshake, in one segment.
func visit(t *testing.T, addr net.Addr, headers, first string) *visitor {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	v := &visitor{Conn: c, t: t, in: bufio.NewReader(c), limits: frame.Limits{Client: true, Deflate: true, MessageBytes: MessageBytes}}
	v.send([]byte(request + headers + "\r\n" + first))
	return v
}

func (v *visitor) send(b []byte) {
	v.t.Helper()
	if _, err := v.Write(b); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) upgraded() http.Header {
	v.t.Helper()
	r, err := http.ReadResponse(v.in, nil)
	if err != nil || r.StatusCode != 101 {
		v.t.Fatalf("%v, %v", r, err)
	}
	return r.Header
}

// next returns the next event, its payload a copy.
func (v *visitor) next() frame.Event {
	v.t.Helper()
	for {
		if _, err := v.in.Peek(1); err != nil {
			v.t.Fatal(err)
		}
		in, _ := v.in.Peek(v.in.Buffered())
		n, ev, ok, err := v.reader.Next(in, &v.limits)
		if err != nil {
			v.t.Fatal(err)
		}
		ev.Payload = bytes.Clone(ev.Payload)
		if v.in.Discard(n); ok {
			return ev
		}
	}
}

func (v *visitor) expect(op frame.Op, payload string, code uint16) {
	v.t.Helper()
	if ev := v.next(); ev.Op != op || string(ev.Payload) != payload || ev.Code != code {
		v.t.Fatalf("got %d %.100q %d, want %d %.100q %d", ev.Op, ev.Payload, ev.Code, op, payload, code)
	}
}

func (v *visitor) expectEnd() {
	v.t.Helper()
	if b, err := v.in.ReadByte(); err != io.EOF {
		v.t.Fatalf("%v and %v after the end", b, err)
	}
}

func masked(op frame.Op, payload string) string {
	return string(frame.AppendMasked(nil, op, []byte(payload), key))
}

func TestEcho(t *testing.T) {
	v := visit(t, start(t, handler{handshakeMs}).Addr(), "", masked(frame.OpText, "with the handshake"))
	if h := v.upgraded(); h.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("an extension nobody offered: %v", h)
	}
	v.expect(frame.OpText, "with the handshake", 0)
	v.send([]byte(masked(frame.OpPing, "1") + masked(frame.OpPong, "unasked") + masked(frame.OpBinary, "\x00\xff") + masked(frame.OpPing, "2")))
	v.expect(frame.OpPong, "1", 0)
	v.expect(frame.OpBinary, "\x00\xff", 0)
	v.expect(frame.OpPong, "2", 0)
	v.send([]byte(masked(frame.OpClose, "\x0f\xa0bye") + masked(frame.OpText, "late")))
	v.expect(frame.OpClose, "bye", 4000)
	v.expectEnd()
}

func TestHandshakeInPieces(t *testing.T) {
	e := start(t, handler{handshakeMs})
	v := visit(t, e.Addr(), "X: and no empty line yet", "")
	for pieces, rest := uint64(1), "\r\n"+masked(frame.OpText, "hi"); rest != ""; pieces++ {
		for e.Stats().Reads < pieces {
			runtime.Gosched()
		}
		v.send([]byte(rest[:1]))
		rest = rest[1:]
	}
	v.upgraded()
	v.expect(frame.OpText, "hi", 0)
}

// The answers to all that one read brought go out in one system call.
func TestOneWriteForManyFrames(t *testing.T) {
	e := start(t, handler{handshakeMs})
	v := visit(t, e.Addr(), "", "")
	v.upgraded()
	before := e.Stats()
	v.send([]byte(strings.Repeat(masked(frame.OpBinary, "rook"), 500)))
	for range 500 {
		v.expect(frame.OpBinary, "rook", 0)
	}
	after := e.Stats()
	if writes, reads := after.Writes-before.Writes, after.Reads-before.Reads; writes > reads {
		t.Errorf("%d writes for %d reads", writes, reads)
	}
}

func TestDeflate(t *testing.T) {
	offer := "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n"
	v := visit(t, start(t, handler{handshakeMs}).Addr(), offer, masked(frame.OpText, strings.Repeat("rook", 1000)))
	if got := v.upgraded().Get("Sec-WebSocket-Extensions"); !strings.Contains(got, "server_max_window_bits=9") {
		t.Errorf("the answer is %q", got)
	}
	if b, err := v.in.Peek(4); err != nil || b[0] != 0xc1 || b[1] > 100 {
		t.Errorf("the answer is not compressed: %x, %v", b, err)
	}
	v.expect(frame.OpText, strings.Repeat("rook", 1000), 0)
}

func TestLargestMessage(t *testing.T) {
	v := visit(t, start(t, handler{handshakeMs}).Addr(), "", "")
	v.upgraded()
	large := strings.Repeat("0123456789abcdef", 1<<20)
	go v.Write([]byte(masked(frame.OpBinary, large)))
	v.expect(frame.OpBinary, large, 0)
	v.send([]byte(masked(frame.OpClose, "")))
	v.expect(frame.OpClose, "", frame.CloseNoStatus)
	v.expectEnd()
}

func TestViolationIsClosedWithItsCode(t *testing.T) {
	for in, code := range map[string]uint16{
		"\x81\x01a":                  1002,
		masked(frame.OpText, "\xff"): 1007,
		"\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00": 1009,
	} {
		v := visit(t, start(t, handler{handshakeMs}).Addr(), "", masked(frame.OpText, "before")+in)
		v.upgraded()
		v.expect(frame.OpText, "before", 0)
		if ev := v.next(); ev.Op != frame.OpClose || ev.Code != code || len(ev.Payload) == 0 {
			t.Errorf("%q: %d %q %d", in, ev.Op, ev.Payload, ev.Code)
		}
		v.expectEnd()
	}
}

func TestRefusal(t *testing.T) {
	v := visit(t, start(t, handler{handshakeMs}).Addr(), "Content-Length: 5\r\n", "")
	r, err := http.ReadResponse(v.in, nil)
	if err != nil || r.StatusCode != 400 {
		t.Fatal(r, err)
	}
	if body, err := io.ReadAll(r.Body); err != nil || !strings.HasPrefix(string(body), "protocol: ") {
		t.Errorf("%q, %v", body, err)
	}
	v.expectEnd()
}

func TestSlowHandshakeIsEnded(t *testing.T) {
	v := visit(t, start(t, handler{1}).Addr(), "X: and then noth", "")
	v.expectEnd()
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	addrs, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Listen: "127.0.0.1:0", Loops: 1, Ready: func(a net.Addr) { addrs <- a }})
	}()
	v := visit(t, <-addrs, "", "")
	v.upgraded()
	cancel()
	v.expectEnd()
	v.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := Run(ctx, Options{Listen: "nowhere"}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a bad address: %v", err)
	}
}
