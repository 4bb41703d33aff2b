package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/push"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	notice   = push.Notice{Chat: "00112233445566778899aabbccddeeff", Count: 3}
	secret   = []byte("0123456789abcdef0123456789abcdef")
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

// receiver is what somebody who takes pushes would write from the document.
type receiver struct {
	*httptest.Server
	answer http.HandlerFunc
	calls  int
	bodies []string
	faults []error
}

const window = 5 * time.Minute

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.calls++
	body, err := io.ReadAll(q.Body)
	if err == nil {
		err = r.verify(q.Header, body)
	}
	if err != nil {
		r.faults = append(r.faults, err)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	r.bodies = append(r.bodies, string(body))
	if r.answer != nil {
		r.answer(w, q)
	}
}

func (r *receiver) verify(h http.Header, body []byte) error {
	stamp := h.Get("Rookery-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return err
	}
	if age := time.Since(time.Unix(seconds, 0)); age > window || age < -window {
		return fmt.Errorf("%v old", age)
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s", stamp, body)
	want := "v1=" + hex.EncodeToString(mac.Sum(nil))
	if got := h.Get("Rookery-Signature"); !hmac.Equal([]byte(got), []byte(want)) {
		return fmt.Errorf("signed %q", got)
	}
	return nil
}

func (r *receiver) host() string { return strings.TrimPrefix(r.URL, "https://") }

func (r *receiver) sender(t *testing.T, change func(*Options)) *Sender {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(r.Certificate())
	o := Options{Secret: secret, Hosts: []string{r.host()}, Allow: loopback, Roots: roots}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSend(t *testing.T) {
	r := newReceiver(t)
	if err := r.sender(t, nil).Send(t.Context(), r.URL+"/for/bobs/phone", notice); err != nil {
		t.Fatal(err)
	}
	want := `{"event":"waiting","chat":"` + notice.Chat + `","count":3}`
	if len(r.bodies) != 1 || r.bodies[0] != want || len(r.faults) != 0 {
		t.Errorf("%q %v", r.bodies, r.faults)
	}
}

// The signature holds for this body at this time and nothing else.
func TestSignature(t *testing.T) {
	r := newReceiver(t)
	s := r.sender(t, nil)
	q, err := s.request(t.Context(), r.URL, notice)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(q.Body)
	if err := r.verify(q.Header, body); err != nil {
		t.Error(err)
	}
	if err := r.verify(q.Header, append(body, ' ')); err == nil {
		t.Error("holds for another body")
	}
	for _, by := range []time.Duration{-time.Minute, -2 * window, 2 * window} { // a replay at another time
		h := q.Header.Clone()
		h.Set("Rookery-Timestamp", strconv.FormatInt(time.Now().Add(by).Unix(), 10))
		if err := r.verify(h, body); err == nil {
			t.Errorf("holds %v from its time", by)
		}
	}
	old := strconv.FormatInt(time.Now().Add(-2*window).Unix(), 10)
	h := http.Header{}
	h.Set("Rookery-Timestamp", old)
	h.Set("Rookery-Signature", "v1="+hex.EncodeToString(sign(secret, old, body)))
	if err := r.verify(h, body); err == nil || !strings.Contains(err.Error(), "old") {
		t.Errorf("an old push that is signed well: %v", err)
	}
	other := r.sender(t, func(o *Options) { o.Secret = []byte(strings.Repeat("x", 32)) })
	if err := other.Send(t.Context(), r.URL, notice); kind(err) != "refused" || len(r.faults) != 1 {
		t.Errorf("%v for another's secret", err)
	}
}

// The example of docs/protocol.md.
func TestSignatureOfTheDocument(t *testing.T) {
	const example = "7bbc311a6c4d1f07d840154999b5f37778363a3e9181cbdf4e56f6c1a7349171"
	body := `{"event":"waiting","chat":"00112233445566778899aabbccddeeff","count":3}`
	if got := hex.EncodeToString(sign(secret, "1767323045", []byte(body))); got != example {
		t.Errorf("%s", got)
	}
	doc, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil || !strings.Contains(string(doc), "v1="+example) || !strings.Contains(string(doc), body) {
		t.Errorf("the document has another: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	status := func(code int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, h := range headers {
				name, value, _ := strings.Cut(h, ": ")
				w.Header().Set(name, value)
			}
			w.WriteHeader(code)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"no content": {status(204), "ok"}, "not found": {status(404), "gone"}, "gone": {status(410), "gone"},
		"too many": {status(429, "Retry-After: 30"), "later 30s"}, "away": {status(503), "later 0s"},
		"bad": {status(400), "refused"}, "forbidden": {status(403), "refused"},
	} {
		r := newReceiver(t)
		r.answer = c.answer
		if err := r.sender(t, nil).Send(t.Context(), r.URL, notice); kind(err) != c.want {
			t.Errorf("%s is %v", name, err)
		}
	}
}

func kind(err error) string {
	later, ok := errors.AsType[*push.Later](err)
	switch {
	case err == nil:
		return "ok"
	case ok:
		return "later " + later.After.String()
	case errors.Is(err, push.ErrTokenGone):
		return "gone"
	case errors.Is(err, push.ErrRefused):
		return "refused"
	}
	return "again"
}

// No redirect is followed, wherever it leads.
func TestRedirectIsRefused(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		r, inner := newReceiver(t), newReceiver(t)
		r.answer = func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, inner.URL, code) }
		s := r.sender(t, func(o *Options) { o.Hosts = append(o.Hosts, inner.host()) })
		if err := s.Send(t.Context(), r.URL, notice); kind(err) != "refused" || inner.calls != 0 || r.calls != 1 {
			t.Errorf("%d: %v, and %d calls there", code, err, inner.calls)
		}
	}
}

// A host on the list that leads to a private address is not dialled, by
// whatever name or spelling it does.
func TestPrivateAddressIsRefused(t *testing.T) {
	r := newReceiver(t)
	port := strings.TrimPrefix(r.host(), "127.0.0.1")
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1"} {
		s := r.sender(t, func(o *Options) { o.Allow, o.Hosts = nil, []string{host + port} })
		err := s.Send(t.Context(), "https://"+host+port, notice)
		if kind(err) != "refused" || !strings.Contains(err.Error(), "private") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if r.calls != 0 {
		t.Errorf("%d calls", r.calls)
	}
}

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"1.1.1.1": true, "2606:4700::1111": true, "::ffff:1.1.1.1": true,
		"10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "127.0.0.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false, "192.0.0.1": false,
		"::": false, "::1": false, "fe80::1": false, "fc00::1": false, "fd12::1": false, "ff02::1": false, "fec0::1": false,
		"::ffff:10.0.0.1": false, "::127.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001::1": false, "2001:db8::1": false,
	} {
		if got := public(netip.MustParseAddr(address), nil); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	ten := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	if !public(netip.MustParseAddr("::ffff:10.1.2.3"), ten) || public(netip.MustParseAddr("10.2.0.1"), ten) {
		t.Error("what is allowed is not what was said")
	}
}

func TestCheck(t *testing.T) {
	s, err := New(Options{Secret: secret, Hosts: []string{"push.example", "other.example:8443"}})
	if err != nil {
		t.Fatal(err)
	}
	for token, ok := range map[string]bool{
		"https://push.example/x?y=z": true, "https://push.example:443/": true, "https://PUSH.example/": true, "https://other.example:8443": true,
		"http://push.example/": false, "https://push.example:8443/": false, "https://other.example/": false, "https://evil.example/": false,
		"https://push.example@evil.example/": false, "https://a:b@push.example/": false, "https://push.example.evil.example/": false,
		"https://evil.example/#push.example": false, "https://push.example/#x": false, "https://sub.push.example/": false, "push.example": false,
		"//push.example": false, "https://": false, "https://push.example\\@evil.example": false, "": false, "https://push.example/\r\nX: y": false,
	} {
		if err := s.Check(token); (err == nil) != ok {
			t.Errorf("%q: %v", token, err)
		}
		if !ok {
			if err := s.Send(t.Context(), token, notice); !errors.Is(err, push.ErrRefused) {
				t.Errorf("%q is sent: %v", token, err)
			}
		}
	}
}

// Only so much of an answer is read, and what is far too long is none.
func TestAnswersAreBounded(t *testing.T) {
	r := newReceiver(t)
	const most = 64 << 20 // what may lie in buffers on the way, and far more
	written := make(chan int, 1)
	r.answer = func(w http.ResponseWriter, _ *http.Request) {
		total := 0
		for total < 2*most { // until the sender goes away
			n, err := w.Write(make([]byte, 64<<10))
			if total += n; err != nil {
				break
			}
		}
		written <- total
	}
	s := r.sender(t, nil)
	if err := s.Send(t.Context(), r.URL, notice); err != nil {
		t.Error(err)
	}
	if n := <-written; n > most {
		t.Errorf("%d bytes were taken", n)
	}
	r.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", maxHeaderBytes+4096))
	}
	if err := s.Send(t.Context(), r.URL, notice); kind(err) != "again" {
		t.Error(err)
	}
}

func TestErrorsHoldNoAddress(t *testing.T) {
	r := newReceiver(t)
	s := r.sender(t, nil)
	r.Close()
	if err := s.Send(t.Context(), r.URL+"/s3cret", notice); kind(err) != "again" || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

func TestContext(t *testing.T) {
	r := newReceiver(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	sent := make(chan struct{})
	r.answer = func(http.ResponseWriter, *http.Request) { cancel(); <-sent } // an answer would be as good
	err := r.sender(t, nil).Send(ctx, r.URL, notice)
	close(sent)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// No proxy of the environment dials in our place, unchecked.
func TestNoProxy(t *testing.T) {
	s, err := New(Options{Secret: secret, Hosts: []string{"push.example"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy is asked")
	}
}

func TestValidate(t *testing.T) {
	err := (&Options{Secret: []byte("short"), Hosts: []string{"https://x", "a/b", "u@h", ""}}).Validate()
	for _, want := range []string{"secret", `"https://x"`, `"a/b"`, `"u@h"`, `""`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if err := (&Options{Secret: secret}).Validate(); err == nil || !strings.Contains(err.Error(), "no hosts") {
		t.Error(err)
	}
	if err := (&Options{Secret: secret, Hosts: []string{"a.example", "b.example:8443", "[2606:4700::1]:443"}}).Validate(); err != nil {
		t.Error(err)
	}
}
