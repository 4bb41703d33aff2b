package server

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// openAs connects with a token, without hello.
func openAs(t *testing.T, s *Server, user, token string) *wire {
	t.Helper()
	w, r := handshake(t, s, "/ws/"+user, "Sec-WebSocket-Protocol: "+packet.Subprotocol, "Authorization: Bearer "+token)
	if r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake of %s: %s", user, r.Status)
	}
	w.user = user
	return w
}

// refusedHello says hello as a device and returns the code it is refused with.
func refusedHello(w *wire, device string) chat.Code {
	w.t.Helper()
	w.put(&packet.Hello{Version: packet.Version, Device: device, Seq: 7, Resume: packet.ResumeCursor})
	code, _ := w.byeCode()
	return code
}

// revoke has a session take a device of its user away, and returns what was answered.
func revoke(w *wire, device string) chat.Code {
	w.t.Helper()
	w.put(&packet.DeviceRevoke{Req: 77, Device: device})
	for {
		switch p := w.next().(type) {
		case *packet.Done:
			return chat.CodeOK
		case *packet.Error:
			return p.Code
		case nil:
			w.t.Fatal("the server closed")
		}
	}
}

func (w *wire) devices() []packet.OwnDevice {
	w.t.Helper()
	w.put(&packet.DevicesGet{Req: 78})
	return expect[*packet.Devices](w).Devices
}

// A device that another one revokes is told so, comes back under no name that its
// token fits, and leaves no cursor; the others go on.
func TestARevokedDeviceIsOut(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	laptop := dial(t, s, "bob", "laptop", packet.ResumeCursor)
	bound, old := token(t, s, "bob", "stolen", time.Hour), auth.NewClaims("", "bob", "", time.Hour)
	old.IssuedAt = jwt.NewNumericDate(time.Now().Add(-time.Minute))
	unbound, err := s.DevKey().Sign(old)
	must(t, err)
	stolen := openAs(t, s, "bob", bound)
	stolen.hello("stolen", packet.ResumeCursor)
	alice.send("bob", "before")
	m := expect[*packet.Message](stolen)
	stolen.put(&packet.Mark{Pos: m.Pos})
	if r := expect[*packet.Receipt](alice); r.Delivered != m.Pos {
		t.Fatalf("%+v", r)
	}
	expect[*packet.Message](laptop)

	if code := revoke(laptop, "none"); code != chat.CodeNotFound {
		t.Errorf("a device that there is not: %v", code)
	}
	laptop.put(&packet.DeviceLabel{Req: 5, Device: "laptop", Label: "Bob's laptop"})
	expect[*packet.Done](laptop)
	for _, label := range []string{string(make([]byte, 65)), "a\nb"} {
		laptop.put(&packet.DeviceLabel{Req: 6, Device: "laptop", Label: label})
		if e := expect[*packet.Error](laptop); e.Code != chat.CodeBadName {
			t.Errorf("the label %q: %+v", label, e)
		}
	}
	for range 2 { // the second time changes nothing
		if code := revoke(laptop, "stolen"); code != chat.CodeOK {
			t.Fatalf("revoke: %v", code)
		}
	}
	if code, _ := stolen.byeCode(); code != chat.CodeRevoked {
		t.Errorf("its session ended with %v", code)
	}
	list := laptop.devices()
	if len(list) != 2 || list[0].Device != "laptop" || list[0].Label != "Bob's laptop" || list[0].Revoked != 0 || list[1].Device != "stolen" || list[1].Revoked == 0 {
		t.Errorf("devices: %+v", list)
	}
	if code := refusedHello(openAs(t, s, "bob", bound), "stolen"); code != chat.CodeRevoked {
		t.Errorf("back under its token: %v", code)
	}
	if code := refusedHello(openAs(t, s, "bob", token(t, s, "bob", "", time.Hour)), "stolen"); code != chat.CodeRevoked {
		t.Errorf("back under its name: %v", code)
	}
	// With a token of before that fits any device it comes back as none.
	for _, name := range []string{"laptop", "another"} {
		if code := refusedHello(openAs(t, s, "bob", unbound), name); code != chat.CodeUnauthorized {
			t.Errorf("back as %s: %v", name, code)
		}
	}
	cursors, err := s.store.Cursors(t.Context(), "bob")
	if err != nil || len(cursors) != 0 {
		t.Errorf("cursors: %+v, %v", cursors, err)
	}
	alice.send("bob", "after")
	if m := expect[*packet.Message](laptop); string(m.Content) != "after" {
		t.Errorf("%+v", m)
	}
	dial(t, s, "bob", "tablet", packet.ResumeCursor) // a token of now
}

// Nor does a revoked device's token ask the web listener anything, with or without
// a session of it there, nor one of before that fits any device.
func TestARevokedDeviceIsOutOfTheWeb(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	laptop := dial(t, s, "bob", "laptop", packet.ResumeCursor)
	tokenOf := func(device string, ago time.Duration) *service {
		claims := auth.NewClaims("", "bob", device, time.Hour)
		claims.IssuedAt = jwt.NewNumericDate(time.Now().Add(-ago))
		b := newService(t, s, "bob")
		var err error
		b.token, err = s.DevKey().Sign(claims)
		must(t, err)
		return b
	}
	stolen, kept, unbound := tokenOf("stolen", time.Minute), tokenOf("kept", time.Minute), tokenOf("", time.Minute)
	all := map[string]*service{"stolen": stolen, "kept": kept, "unbound": unbound}
	ask := []struct{ method, path, body string }{
		{"POST", "/v1/ids", `{"count":1}`}, {"GET", "/v1/history?peer=ann", ""}, {"POST", "/v1/media", `{"size":5,"type":"application/octet-stream"}`},
	}
	for _, q := range ask {
		for _, b := range all {
			b.call(200, q.method, q.path, q.body)
		}
	}
	if code := revoke(laptop, "stolen"); code != chat.CodeOK {
		t.Fatal(code)
	}
	for _, q := range ask {
		if got := stolen.call(403, q.method, q.path, q.body); got["code"] != "revoked" {
			t.Errorf("the revoked device, %s: %v", q.path, got)
		}
		if got := unbound.call(401, q.method, q.path, q.body); got["code"] != "unauthorized" {
			t.Errorf("a token of before, %s: %v", q.path, got)
		}
		kept.call(200, q.method, q.path, q.body)
		tokenOf("", 0).call(200, q.method, q.path, q.body)
	}
	if got := tokenOf("", 0).call(403, "POST", "/v1/ids?device=stolen", `{"count":1}`); got["code"] != "revoked" {
		t.Errorf("under its name: %v", got)
	}
}

// What was revoked counts no more among a user's devices, but is not forgotten.
func TestRevokedDevicesAreBounded(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Devices, c.Keys.Rate = 2, 100_000 })
	phone := dial(t, s, "eve", "phone", packet.ResumeCursor)
	for i := range 2*16 - 1 {
		name := fmt.Sprint("d", i)
		w := openAs(t, s, "eve", token(t, s, "eve", name, time.Hour))
		w.hello(name, packet.ResumeCursor)
		if code := revoke(phone, name); code != chat.CodeOK {
			t.Fatal(code)
		}
	}
	if code := refusedHello(openAs(t, s, "eve", token(t, s, "eve", "more", time.Hour)), "more"); code != chat.CodeTooManyDevices {
		t.Errorf("one more ended with %v", code)
	}
}

// A device that is at another gateway is out before who revokes it is answered.
func TestRevokedAtAnotherGateway(t *testing.T) {
	cl := newCluster(t)
	cl.start("processor", nil)
	first, second := cl.start("gateway", nil), cl.start("gateway", nil)
	laptop := dial(t, first, "bob", "laptop", packet.ResumeCursor)
	expect[*packet.CaughtUp](laptop)
	stolen := openAs(t, second, "bob", token(t, second, "bob", "stolen", time.Hour))
	stolen.hello("stolen", packet.ResumeCursor)
	other := openAs(t, second, "bob", token(t, second, "bob", "watch", time.Hour)) // which stays
	other.hello("watch", packet.ResumeCursor)
	if code := revoke(laptop, "stolen"); code != chat.CodeOK {
		t.Fatal(code)
	}
	if code, _ := stolen.byeCode(); code != chat.CodeRevoked {
		t.Errorf("its session ended with %v", code)
	}
	for _, s := range []*Server{first, second} {
		if code := refusedHello(openAs(t, s, "bob", token(t, s, "bob", "stolen", time.Hour)), "stolen"); code != chat.CodeRevoked {
			t.Errorf("back: %v", code)
		}
	}
	if list := other.devices(); len(list) != 3 || list[1].Revoked == 0 || list[0].Revoked+list[2].Revoked != 0 {
		t.Errorf("devices: %+v", list)
	}
	alice := dial(t, first, "alice", "phone", packet.ResumeCursor)
	alice.send("bob", "after")
	for _, w := range []*wire{laptop, other} {
		if m := expect[*packet.Message](w); string(m.Content) != "after" {
			t.Errorf("%+v", m)
		}
	}
}
