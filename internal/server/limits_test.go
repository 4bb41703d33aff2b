package server

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/klauspost/compress/flate"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// bystanders are two users who go on talking while others misbehave.
type bystanders struct {
	t        *testing.T
	from, to *wire
}

func standBy(t *testing.T, s *Server) *bystanders {
	t.Helper()
	a, b := name("by"), name("by")
	return &bystanders{t, dial(t, s, a, "phone", packet.ResumeCursor), dial(t, s, b, "phone", packet.ResumeCursor)}
}

// notice nothing: a message still passes.
func (b *bystanders) noticeNothing() {
	b.t.Helper()
	id := b.from.send(b.to.user, "still here")
	if m := expect[*packet.Message](b.to); m.ID != id {
		b.t.Errorf("a bystander got %v instead of %v", m.ID, id)
	}
}

func TestHandshakeRefusals(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Auth.Origins = []string{"https://chat.example"} })
	by := standBy(t, s)
	good := "Authorization: Bearer " + token(t, s, "eve", "", time.Hour)
	sub := "Sec-WebSocket-Protocol: " + packet.Subprotocol
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "eve", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	confused, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "eve", "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(s.DevKey().Public()))
	if err != nil {
		t.Fatal(err)
	}
	_, strange, _ := ed25519.GenerateKey(nil)
	forged, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "eve", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(strange)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, path string
		headers    []string
		status     int
		code       string
	}{
		{"no token", "/ws/eve", []string{sub}, 401, "unauthorized"},
		{"a token in the query", "/ws/eve?token=" + token(t, s, "eve", "", time.Hour), []string{sub}, 401, "unauthorized"},
		{"an expired token", "/ws/eve", []string{sub, "Authorization: Bearer " + token(t, s, "eve", "", -time.Hour)}, 401, "expired"},
		{"alg none", "/ws/eve", []string{sub, "Authorization: Bearer " + none}, 401, "unauthorized"},
		{"the public key as a secret", "/ws/eve", []string{sub, "Authorization: Bearer " + confused}, 401, "unauthorized"},
		{"a stranger's signature", "/ws/eve", []string{sub, "Authorization: Bearer " + forged}, 401, "unauthorized"},
		{"a huge token", "/ws/eve", []string{sub, "Authorization: Bearer " + strings.Repeat("a.", 1700)}, 401, "unauthorized"},
		{"somebody else's path", "/ws/bob", []string{sub, good}, 403, "wrong_user"},
		{"another page's origin", "/ws/eve", []string{sub, good, "Origin: https://evil.example"}, 403, "bad_origin"},
		{"another path", "/chat/eve", []string{sub, good}, 404, "not_found"},
		{"a path out of bounds", "/ws/../eve", []string{sub, good}, 404, "not_found"},
		{"no subprotocol", "/ws/eve", []string{good}, 400, "bad_version"},
		{"a body", "/ws/eve", []string{sub, good, "Content-Length: 3"}, 400, ""},
		{"two keys", "/ws/eve", []string{sub, good, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, 400, ""},
		{"many headers", "/ws/eve", append([]string{sub, good}, lines("X-H%d: v", 120)...), 431, ""},
		{"long headers", "/ws/eve", []string{sub, good, "X-Long: " + strings.Repeat("x", 8000)}, 431, ""},
	} {
		_, r := handshake(t, s, c.path, c.headers...)
		body := new(bytes.Buffer)
		body.ReadFrom(r.Body)
		if r.StatusCode != c.status || !strings.Contains(body.String(), c.code) {
			t.Errorf("%s: %d %q, want %d %s", c.what, r.StatusCode, body, c.status, c.code)
		}
	}
	for _, headers := range [][]string{
		{sub, good, "Origin: https://chat.example"},
		{sub + ", rookery.token." + token(t, s, "eve", "", time.Hour)}, // a browser
	} {
		if _, r := handshake(t, s, "/ws/eve", headers...); r.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%v: %s", headers[0], r.Status)
		}
	}
	by.noticeNothing()
}

func lines(format string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return all
}

func TestSlowAndHalfHandshakesEnd(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) {
		c.Session.HandshakeTimeout, c.Session.HelloTimeout = 200*time.Millisecond, 200*time.Millisecond
	})
	by := standBy(t, s)
	half, err := netDial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	fmt.Fprint(half, "GET /ws/eve HTTP/1.1\r\nHost: x\r\n")
	if n, err := half.Read(make([]byte, 100)); err == nil {
		t.Errorf("half a handshake was answered with %d bytes", n)
	}
	silent := open(t, s, "eve")
	if code, _ := silent.byeCode(); code != chat.CodeIdle {
		t.Errorf("without hello: %v", code)
	}
	by.noticeNothing()
}

func TestAFrameInTheHandshakesSegmentCounts(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	c, err := netDial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := fmt.Sprintf("GET /ws/eve HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: rookery.v1\r\nAuthorization: Bearer %s\r\n\r\n", token(t, s, "eve", "", time.Hour))
	hello := (&packet.Hello{Version: 1, Device: "phone", Resume: packet.ResumeCursor}).AppendTo(nil)
	if _, err := c.Write(append([]byte(request), frame.AppendMasked(nil, frame.OpBinary, hello, [4]byte{1, 2, 3, 4})...)); err != nil {
		t.Fatal(err)
	}
	w := wireOn(t, c)
	expect[*packet.Welcome](w)
}

func TestWebSocketViolationsCloseWithTheirCode(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Deflate = true })
	by := standBy(t, s)
	key := [4]byte{1, 2, 3, 4}
	fragment := func(op byte, fin bool, n int) []byte {
		b := frame.AppendMasked(nil, frame.Op(op), make([]byte, n), key)
		if !fin {
			b[0] &= 0x7f
		}
		return b
	}
	for _, c := range []struct {
		what  string
		bytes []byte
		close uint16
	}{
		{"2^63 bytes declared", []byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x78}, 1002},
		{"2^40 bytes declared", []byte{0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x78}, 1009},
		{"one byte over the limit", frame.AppendMasked(nil, frame.OpBinary, make([]byte, 256<<10+1), key), 1009},
		{"an unmasked frame", []byte{0x82, 0x01, 0xc0}, 1002},
		{"a reserved bit", []byte{0xa2, 0x80, 1, 2, 3, 4}, 1002},
		{"a reserved opcode", []byte{0x83, 0x80, 1, 2, 3, 4}, 1002},
		{"a ping of 126 bytes", append([]byte{0x89, 0xfe, 0, 126, 1, 2, 3, 4}, make([]byte, 126)...), 1002},
		{"text", frame.AppendMasked(nil, frame.OpText, []byte("hi"), key), 1003},
		{"fragments without end", append(fragment(2, false, 1), bytes.Repeat(fragment(0, false, 0), 100_000)...), 1009},
	} {
		w := dial(t, s, name("eve"), "phone", packet.ResumeCursor)
		w.raw(c.bytes)
		if _, code := w.byeCode(); code != c.close {
			t.Errorf("%s: closed with %d, want %d", c.what, code, c.close)
		}
	}
	by.noticeNothing()
}

func TestDeflateBombIsStoppedInside(t *testing.T) {
	var bomb bytes.Buffer
	z, _ := flate.NewWriter(&bomb, 9)
	z.Write(make([]byte, 16<<20))
	z.Flush()
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Deflate = true })
	by := standBy(t, s)
	w, r := handshake(t, s, "/ws/eve", "Sec-WebSocket-Protocol: "+packet.Subprotocol,
		"Authorization: Bearer "+token(t, s, "eve", "", time.Hour), "Sec-WebSocket-Extensions: permessage-deflate")
	if !strings.Contains(r.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		t.Fatalf("permessage-deflate was not agreed on: %v", r.Header)
	}
	b := frame.AppendMasked(nil, frame.OpBinary, bytes.TrimSuffix(bomb.Bytes(), []byte{0, 0, 0xff, 0xff}), [4]byte{1, 2, 3, 4})
	b[0] |= 0x40
	w.raw(b)
	if _, code := w.byeCode(); code != 1009 {
		t.Errorf("a bomb of %d bytes: closed with %d, want 1009", bomb.Len(), code)
	}
	by.noticeNothing()
}

// refusedWith sends and expects a refusal; then that a good send under the same
// number passes, and that newer ones in between were dropped.
func TestSendRefusals(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	by := standBy(t, s)
	w := dial(t, s, "eve", "phone", packet.ResumeCursor)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	other := dial(t, s, "eve", "laptop", packet.ResumeCursor)
	now := time.Now()
	at := func(d time.Duration) chat.ID { return chat.NewID(chat.Ticks(now.Add(d)), 7, w.welcome.Node) }
	for _, c := range []struct {
		what string
		send packet.Send
		code chat.Code
	}{
		{"content over the limit", packet.Send{ID: at(0), Content: make([]byte, 64<<10+1)}, chat.CodeTooLarge},
		{"a media URL over the limit", packet.Send{ID: at(0), Media: make([]byte, 2049)}, chat.CodeTooLarge},
		{"an id of the future", packet.Send{ID: at(time.Minute)}, chat.CodeIDFuture},
		{"an id of 31 days ago", packet.Send{ID: at(-31 * 24 * time.Hour)}, chat.CodeIDExpired},
		{"a retry of 31 days ago", packet.Send{ID: at(-31 * 24 * time.Hour), Flags: packet.SendRetry}, chat.CodeIDExpired},
		{"another device's id", packet.Send{ID: chat.NewID(chat.Ticks(now), 7, other.welcome.Node)}, chat.CodeIDNode},
		{"a random id", packet.Send{ID: chat.ID{1, 2, 3, 0x40}}, chat.CodeBadID},
		{"a malformed name", packet.Send{ID: at(0), To: []byte("bob/../x")}, chat.CodeBadName},
		{"too long a life", packet.Send{ID: at(0), TTL: 366 * 24 * 3600}, chat.CodeBadTTL},
	} {
		c.send.N = w.n + 1
		if c.send.To == nil {
			c.send.To = []byte("bob")
		}
		late := packet.Send{N: w.n + 2, ID: at(time.Second), To: []byte("bob"), Content: []byte("must not arrive")}
		w.put(&c.send, &late)
		r, ok := nextOf[*packet.Refused](w)
		if !ok || r.N != w.n+1 || r.Code != c.code {
			t.Errorf("%s: %+v, want %v", c.what, r, c.code)
		}
		w.send("bob", c.what)
		expect[*packet.Accepted](w)
		if m := expect[*packet.Message](bob); string(m.Content) != c.what {
			t.Errorf("after %s bob got %q", c.what, m.Content)
		}
	}
	id := w.clock.Next(time.Now())
	w.send("bob", "newer")
	expect[*packet.Accepted](w)
	w.put(&packet.Send{N: w.n + 1, ID: id, To: []byte("bob")})
	if r, ok := nextOf[*packet.Refused](w); !ok || r.Code != chat.CodeBadID {
		t.Errorf("an id below the last one: %+v", r)
	}
	by.noticeNothing()
}

func TestSessionsThatEnd(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	by := standBy(t, s)
	deep := append([]byte{0x92, 9}, bytes.Repeat([]byte{0x91}, 20)...)
	for _, c := range []struct {
		what  string
		act   func(w *wire)
		hello bool
		code  chat.Code
	}{
		{"a number left out", func(w *wire) { w.put(&packet.Send{N: 2, ID: w.clock.Next(time.Now()), To: []byte("bob")}) }, true, chat.CodeBadSequence},
		{"nested too deep", func(w *wire) { w.raw(frame.AppendMasked(nil, frame.OpBinary, append(deep, 1), [4]byte{})) }, true, chat.CodeBadPacket},
		{"no packet at all", func(w *wire) { w.raw(frame.AppendMasked(nil, frame.OpBinary, []byte{0xc1}, [4]byte{})) }, true, chat.CodeBadPacket},
		{"a send before hello", func(w *wire) { w.put(&packet.Mark{Pos: 1}) }, false, chat.CodeNotHello},
		{"a send with a field of another type", func(w *wire) { w.put(rawPacket{0x92, byte(packet.TypeSend), 0xa1, 'x'}) }, true, chat.CodeBadPacket},
		{"another version", func(w *wire) { w.put(&packet.Hello{Version: 9, Device: "d"}) }, false, chat.CodeBadVersion},
		{"a device without a name", func(w *wire) { w.put(&packet.Hello{Version: 1, Device: "a b"}) }, false, chat.CodeBadName},
		{"a resume of -5", func(w *wire) { w.put(&packet.Hello{Version: 1, Device: "d", Resume: -5}) }, false, chat.CodeBadPacket},
	} {
		w := open(t, s, name("eve"))
		if c.hello {
			w.hello("phone", packet.ResumeCursor)
		}
		c.act(w)
		if code, closeCode := w.byeCode(); code != c.code || closeCode != 4000+uint16(c.code) {
			t.Errorf("%s: bye %v, close %d, want %v", c.what, code, closeCode, c.code)
		}
	}
	ahead := open(t, s, name("eve"))
	ahead.put(&packet.Hello{Version: 1, Device: "d", Resume: 1 << 40})
	if code, _ := ahead.byeCode(); code != chat.CodeBadPosition {
		t.Errorf("a resume above the end of the log: bye %v", code)
	}
	by.noticeNothing()
}

func TestRequestsThatAreNotServed(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Watches = 2 })
	w := dial(t, s, "eve", "phone", packet.ResumeCursor)
	for _, c := range []struct {
		what string
		p    appender
		code chat.Code
	}{
		{"a second hello", &packet.Hello{Version: 1, Device: "phone"}, chat.CodeAlreadyHello},
		{"an unknown type", rawPacket{0x91, 99}, chat.CodeUnknownType},
		{"a field of another type", rawPacket{0x92, byte(packet.TypeMark), 0xa1, 'x'}, chat.CodeBadPacket},
		{"a mark beyond what was sent", &packet.Mark{Pos: 1000}, chat.CodeBadPosition},
		{"a read beyond what was sent", &packet.Read{Peer: []byte("bob"), Pos: 1000}, chat.CodeBadPosition},
		{"too many watches", &packet.Watch{Req: 5, Users: []string{"a", "b", "c"}}, chat.CodeTooMany},
		{"a watch of nobody known", &packet.Watch{Req: 6, Users: []string{"bob"}}, chat.CodeForbidden},
		{"history of a bad name", &packet.History{Req: 7, Peer: "a b", Limit: 1}, chat.CodeBadName},
		{"a stranger's token", &packet.Refresh{Token: token(t, s, "bob", "", time.Hour)}, chat.CodeWrongUser},
		{"a token that is none", &packet.Refresh{Token: "x.y.z"}, chat.CodeUnauthorized},
	} {
		w.put(c.p)
		if e, ok := nextOf[*packet.Error](w); !ok || e.Code != c.code {
			t.Errorf("%s: %+v, want %v", c.what, e, c.code)
		}
	}
	w.send("bob", "the session goes on")
	expect[*packet.Accepted](w)
}

type rawPacket []byte

func (r rawPacket) AppendTo(dst []byte) []byte { return append(dst, r...) }

func TestRateAndFlood(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.RateMessages, c.Session.RateBurst = 1, 5 })
	by := standBy(t, s)
	w := dial(t, s, name("eve"), "phone", packet.ResumeCursor)
	for range 8 {
		w.send("bob", "x")
	}
	r, ok := nextRefused(w)
	if !ok || r.Code != chat.CodeRateLimited || r.Retry == 0 {
		t.Errorf("over the rate: %+v", r)
	}
	flood := dial(t, s, name("eve"), "phone", packet.ResumeCursor)
	flood.raw(bytes.Repeat(frame.AppendMasked(nil, frame.OpPing, nil, [4]byte{}), 100))
	if code, _ := flood.byeCode(); code != chat.CodeFlood {
		t.Errorf("a flood of pings ended with %v", code)
	}
	by.noticeNothing()
}

func nextRefused(w *wire) (*packet.Refused, bool) {
	for p := w.next(); p != nil; p = w.next() {
		if r, ok := p.(*packet.Refused); ok {
			return r, true
		}
	}
	return nil, false
}

func TestTokenExpiresUnlessRefreshed(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Auth.Leeway, c.Session.ExpiryNotice = 0, 30*time.Minute })
	short := func(user string) *wire {
		w, r := handshake(t, s, "/ws/"+user, "Sec-WebSocket-Protocol: "+packet.Subprotocol, "Authorization: Bearer "+token(t, s, user, "", 2*time.Second))
		if r.StatusCode != 101 {
			t.Fatal(r.Status)
		}
		w.user = user
		w.hello("phone", packet.ResumeCursor)
		return w
	}
	kept, lost := short("kept"), short("lost")
	if e, ok := nextOf[*packet.Error](lost); !ok || e.Code != chat.CodeExpired {
		t.Errorf("the notice is %+v", e)
	}
	kept.put(&packet.Refresh{Token: token(t, s, "kept", "", time.Hour)})
	for p := kept.next(); ; p = kept.next() {
		if r, ok := p.(*packet.Refreshed); ok {
			if time.Until(time.UnixMilli(r.Expires)) < time.Minute {
				t.Errorf("refreshed until %v", time.UnixMilli(r.Expires))
			}
			break
		}
	}
	if code, _ := lost.byeCode(); code != chat.CodeExpired {
		t.Errorf("the other ended with %v", code)
	}
	kept.send("bob", "still here")
	expect[*packet.Accepted](kept)
}

func TestIdleSessionsArePingedThenEnded(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) {
		c.Session.Heartbeat, c.Session.Idle = 200*time.Millisecond, 900*time.Millisecond
	})
	quiet := dial(t, s, "quiet", "phone", packet.ResumeCursor) // its wire answers pings
	deaf := dial(t, s, "deaf", "phone", packet.ResumeCursor)
	deaf.deaf = true
	quiet.drainUntilPinged(5)
	if code, _ := deaf.byeCode(); code != chat.CodeIdle {
		t.Errorf("who does not answer pings ended with %v", code)
	}
	quiet.send("bob", "x")
	expect[*packet.Accepted](quiet)
}

func TestAUsersDevicesAreBounded(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Devices = 2 })
	by := standBy(t, s)
	dial(t, s, "eve", "phone", packet.ResumeCursor)
	dial(t, s, "eve", "laptop", packet.ResumeCursor)
	over := open(t, s, "eve")
	over.put(&packet.Hello{Version: packet.Version, Device: "tablet", Resume: packet.ResumeCursor})
	if code, _ := over.byeCode(); code != chat.CodeTooManyDevices {
		t.Errorf("a third of two devices ended with %v", code)
	}
	dial(t, s, "eve", "phone", packet.ResumeCursor) // one of the two comes again
	by.noticeNothing()
}
