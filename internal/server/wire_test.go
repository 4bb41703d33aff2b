package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

func TestMain(m *testing.M) {
	if os.Getenv(gatewayVariable) != "" {
		os.Exit(serveAsGateway())
	}
	goleak.VerifyTestMain(m,
		// gnet has one pool of workers for the whole process, which it never ends.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		// gocql, closed while it reconnects, sleeps its second to the end.
		goleak.IgnoreAnyFunction("github.com/gocql/gocql.(*hostConnPool).connect"),
		goleak.IgnoreAnyFunction("github.com/gocql/gocql.(*hostConnPool).connectMany"),
	)
}

// patience bounds every wait of these tests; none depends on how long it is.
const patience = 20 * time.Second

// startServer starts a server on free ports with a data folder.
func startServer(t *testing.T, dir string, change func(*config.Config)) *Server {
	t.Helper()
	return startLogged(t, dir, slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})), change)
}

// startLogged is startServer with another log.
func startLogged(t *testing.T, dir string, logger *slog.Logger, change func(*config.Config)) *Server {
	t.Helper()
	c := config.Default()
	c.Listen, c.Admin, c.Web.Listen, c.Data = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", dir
	c.Pipeline.SegmentBytes, c.Store.MemtableBytes, c.Store.CacheBytes = 4<<20, 4<<20, 8<<20
	c.Engine.Loops = 2
	c.Drain.Grace = 2 * time.Second
	if change != nil {
		change(c)
	}
	s, err := Start(t.Context(), c, Options{Version: "test", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.stopped.Load() {
			stopServer(t, s)
		}
	})
	return s
}

// settle waits until what has been accepted is applied, and so part of every
// catch-up that begins afterwards.
func settle(t *testing.T, s *Server) {
	t.Helper()
	ends := make([]chat.Position, s.log.Partitions())
	for p := range ends {
		ends[p] = s.log.End(p)
	}
	if err := s.awaitApplied(t.Context(), ends); err != nil {
		t.Fatal(err)
	}
}

func stopServer(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
		t.Errorf("stop: %v", err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// wire is a client that knows nothing but the protocol.
type wire struct {
	t      *testing.T
	net    net.Conn
	in     *bufio.Reader
	reader frame.Reader
	queue  []any // packets not asked for yet
	closed *frame.Event
	pings  int
	deaf   bool // does not answer pings

	user      string
	welcome   packet.Welcome
	clock     *chat.Clock
	n         uint64        // of the last send
	pos       chat.Position // where the chain stands
	presences []*packet.Presence
}

var clientLimits = frame.Limits{Client: true, MessageBytes: 1 << 20}

func token(t *testing.T, s *Server, user, device string, ttl time.Duration) string {
	t.Helper()
	signed, err := s.DevKey().Sign(auth.NewClaims("", user, device, ttl))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// handshake connects and sends an upgrade request with extra header lines.
func handshake(t *testing.T, s *Server, path string, headers ...string) (*wire, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", path)
	for _, h := range headers {
		fmt.Fprintf(c, "%s\r\n", h)
	}
	io.WriteString(c, "\r\n")
	return answer(t, c)
}

func answer(t *testing.T, c net.Conn) (*wire, *http.Response) {
	t.Helper()
	w := &wire{t: t, net: c, in: bufio.NewReader(c)}
	r, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return w, r
}

// wireOn is a wire on a connection whose upgrade has been asked for.
func wireOn(t *testing.T, c net.Conn) *wire {
	t.Helper()
	w, r := answer(t, c)
	if r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %s", r.Status)
	}
	return w
}

func netDial(s *Server) (net.Conn, error) {
	c, err := net.Dial("tcp", s.Addr().String())
	if err == nil {
		c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

// drainUntilPinged reads until so many pings have come.
func (w *wire) drainUntilPinged(pings int) {
	w.t.Helper()
	for w.pings < pings {
		if !w.read() {
			w.t.Fatalf("%s: the server closed", w.user)
		}
	}
}

// open connects with a good token, without hello.
func open(t *testing.T, s *Server, user string) *wire {
	t.Helper()
	w, r := handshake(t, s, "/ws/"+user, "Sec-WebSocket-Protocol: "+packet.Subprotocol, "Authorization: Bearer "+token(t, s, user, "", time.Hour))
	if r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake of %s: %s", user, r.Status)
	}
	w.user = user
	return w
}

// dial connects and says hello.
func dial(t *testing.T, s *Server, user, device string, resume int64) *wire {
	t.Helper()
	w := open(t, s, user)
	w.hello(device, resume)
	return w
}

func (w *wire) hello(device string, resume int64) {
	w.t.Helper()
	w.put(&packet.Hello{Version: packet.Version, Device: device, Seq: 7, Resume: resume})
	w.welcomed(expect[*packet.Welcome](w))
}

func (w *wire) welcomed(p *packet.Welcome) {
	w.welcome, w.pos = *p, p.Resume
	w.clock = chat.NewClock(w.welcome.Node, 7, chat.ID{})
}

type appender interface{ AppendTo([]byte) []byte }

// put sends packets in one message.
func (w *wire) put(packets ...appender) {
	w.t.Helper()
	var b []byte
	for _, p := range packets {
		b = p.AppendTo(b)
	}
	w.raw(frame.AppendMasked(nil, frame.OpBinary, b, [4]byte{1, 2, 3, 4}))
}

func (w *wire) raw(b []byte) {
	w.t.Helper()
	if _, err := w.net.Write(b); err != nil {
		w.t.Logf("write: %v", err)
	}
}

// send sends a message and returns its id.
func (w *wire) send(to, text string) chat.ID {
	w.t.Helper()
	id := w.clock.Next(time.Now())
	w.n++
	w.put(&packet.Send{N: w.n, ID: id, To: []byte(to), Content: []byte(text)})
	return id
}

// next returns the next packet, or nil when the server closed.
func (w *wire) next() any {
	w.t.Helper()
	for len(w.queue) == 0 && w.closed == nil {
		if !w.read() {
			return nil
		}
	}
	if len(w.queue) == 0 {
		return nil
	}
	p := w.queue[0]
	w.queue = w.queue[1:]
	return p
}

func (w *wire) read() bool {
	w.t.Helper()
	buf := make([]byte, 64<<10)
	n, err := w.in.Read(buf)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			w.t.Fatalf("%s: nothing came", w.user)
		}
		return false
	}
	in := buf[:n]
	for {
		n, ev, ok, err := w.reader.Next(in, &clientLimits)
		in = in[n:]
		if err != nil {
			w.t.Fatalf("the server broke the protocol: %v", err)
		}
		if !ok {
			return true
		}
		switch ev.Op {
		case frame.OpBinary:
			w.unpack(append([]byte(nil), ev.Payload...))
		case frame.OpPing:
			w.pings++
			if w.deaf {
				continue
			}
			w.raw(frame.AppendMasked(nil, frame.OpPong, ev.Payload, [4]byte{9}))
		case frame.OpClose:
			ev.Payload = append([]byte(nil), ev.Payload...)
			w.closed = &ev
		}
	}
}

func (w *wire) unpack(msg []byte) {
	w.t.Helper()
	for len(msg) > 0 {
		raw, rest, err := packet.Next(msg)
		if err != nil {
			w.t.Fatalf("server packet: %v in %x", err, msg)
		}
		msg = rest
		p := serverPacket(raw.Type)
		if p == nil {
			w.t.Fatalf("server packet of type %d", raw.Type)
		}
		if err := p.Decode(raw); err != nil {
			w.t.Fatalf("server packet of type %d: %v", raw.Type, err)
		}
		w.queue = append(w.queue, p)
	}
}

type decoder interface{ Decode(packet.Raw) error }

func serverPacket(t packet.Type) decoder {
	switch t {
	case packet.TypeWelcome:
		return &packet.Welcome{}
	case packet.TypeAccepted:
		return &packet.Accepted{}
	case packet.TypeRefused:
		return &packet.Refused{}
	case packet.TypeMessage:
		return &packet.Message{}
	case packet.TypeCopy:
		return &packet.Copy{}
	case packet.TypeGroupMessage:
		return &packet.GroupMessage{}
	case packet.TypeGroupPage:
		return &packet.GroupPage{}
	case packet.TypeDevices:
		return &packet.Devices{}
	case packet.TypeDone:
		return &packet.Done{}
	case packet.TypeReceipt:
		return &packet.Receipt{}
	case packet.TypeCaughtUp:
		return &packet.CaughtUp{}
	case packet.TypeTruncated:
		return &packet.Truncated{}
	case packet.TypeTypingFrom:
		return &packet.TypingFrom{}
	case packet.TypePresence:
		return &packet.Presence{}
	case packet.TypeHistoryPage:
		return &packet.HistoryPage{}
	case packet.TypeChatsPage:
		return &packet.ChatsPage{}
	case packet.TypeOutcome:
		return &packet.Outcome{}
	case packet.TypeRefreshed:
		return &packet.Refreshed{}
	case packet.TypePong:
		return &packet.Pong{}
	case packet.TypeError:
		return &packet.Error{}
	case packet.TypeBye:
		return &packet.Bye{}
	}
	return nil
}

// expect returns the next packet of type P; others before it are checked as
// links of the chain and dropped.
func expect[P any](w *wire) P {
	w.t.Helper()
	for {
		p := w.next()
		if p == nil {
			w.t.Fatalf("%s: the server closed (%+v) before a %T came", w.user, w.closed, *new(P))
		}
		w.link(p)
		if want, ok := p.(P); ok {
			return want
		}
		switch p.(type) {
		case *packet.Bye, *packet.Error, *packet.Refused:
			w.t.Fatalf("%s: %+v came instead of a %T", w.user, p, *new(P))
		}
	}
}

// link holds every packet against the chain rule, and keeps what is told of
// presence.
func (w *wire) link(p any) {
	w.t.Helper()
	var pos chat.Position
	var gap uint64
	switch p := p.(type) {
	case *packet.Message:
		pos, gap = p.Pos, p.Gap
	case *packet.Copy:
		pos, gap = p.Pos, p.Gap
	case *packet.GroupMessage:
		pos, gap = p.Pos, p.Gap
	case *packet.Receipt:
		if p.Pos == 0 {
			return
		}
		pos, gap = p.Pos, p.Gap
	case *packet.Presence:
		w.presences = append(w.presences, p)
		return
	case *packet.Truncated:
		w.pos = p.Pos
		return
	case *packet.CaughtUp:
		if p.Pos < w.pos {
			w.t.Errorf("%s: caught up to %v but stands at %v", w.user, p.Pos, w.pos)
		}
		w.pos = p.Pos
		return
	default:
		return
	}
	if pos <= w.pos || pos-chat.Position(gap) > w.pos {
		w.t.Errorf("%s: link at %v with gap %d does not follow %v", w.user, pos, gap, w.pos)
	}
	w.pos = pos
}

// byeCode reads to the end and returns the code of the bye and of the close.
func (w *wire) byeCode() (chat.Code, uint16) {
	w.t.Helper()
	var code chat.Code
	for p := w.next(); p != nil; p = w.next() {
		if b, ok := p.(*packet.Bye); ok {
			code = b.Code
		}
	}
	if w.closed == nil {
		return code, 0
	}
	return code, w.closed.Code
}

var nameCount atomic.Int64

// name returns a user nobody had before.
func name(prefix string) string { return fmt.Sprintf("%s%d", prefix, nameCount.Add(1)) }
