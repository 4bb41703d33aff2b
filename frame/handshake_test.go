package frame

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The key and its answer are those of RFC 6455 section 1.3.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

var requestLines = []string{
	"GET /ws/alice HTTP/1.1", "Host: chat.example", "Upgrade: websocket", "Connection: Upgrade",
	"Sec-WebSocket-Key: " + sampleKey, "Sec-WebSocket-Version: 13",
}

func head(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n") }

// with is the request with more headers.
func with(headers ...string) []byte { return head(append(slices.Clone(requestLines), headers...)...) }

// replaced is the request with one line exchanged; "" leaves it out.
func replaced(old, new string) []byte {
	lines := slices.Clone(requestLines)
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, old) })
	if lines[i] = new; new == "" {
		lines = slices.Delete(lines, i, i+1)
	}
	return head(lines...)
}

func accept(r *Request) Decision {
	return Decision{Status: 101, Deflate: true, Protocol: slices.Max(append([]string{""}, r.Protocols...))}
}

func readResponse(t testing.TB, out []byte) (*http.Response, string) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
	if err != nil {
		t.Fatalf("the response %q: %v", out, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("the body of %q: %v", out, err)
	}
	return r, string(body)
}

func TestUpgrade(t *testing.T) {
	var seen Request
	in := with("Origin: https://chat.example", "Authorization: Bearer abc", "X-Forwarded-For: 192.0.2.1",
		"sec-websocket-protocol: rookery.v1, token.abc", "x-forwarded-for:  192.0.2.2\t", "Content-Length: 0",
		"Sec-WebSocket-Protocol: third", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
	in = bytes.Replace(in, []byte("/ws/alice"), []byte("/ws/alice%40home?q=/x"), 1)
	frames := "\x81\x80\x00\x00\x00\x00"
	n, out, hs, done, err := Upgrade(append(in, frames...), HandshakeLimits{}, func(r *Request) Decision {
		seen = *r
		return Decision{Status: 101, Protocol: "rookery.v1", Deflate: true}
	})
	if !done || err != nil || n != len(in) {
		t.Fatalf("took %d of %d bytes, done %v, %v", n, len(in), done, err)
	}
	all := DeflateParams{15, 15}
	if want := (Handshake{"/ws/alice@home", "rookery.v1", all}); hs != want {
		t.Errorf("agreed on %+v, want %+v", hs, want)
	}
	if seen.Header("x-FORWARDED-for") != "192.0.2.1, 192.0.2.2" || seen.Header("Cookie") != "" {
		t.Errorf("headers: %q", seen.fields)
	}
	seen.fields, seen.agreed = nil, [1]Request{}[0].agreed
	want := Request{Path: "/ws/alice@home", Host: "chat.example", Origin: "https://chat.example", Authorization: "Bearer abc",
		Protocols: []string{"rookery.v1", "token.abc", "third"}, Deflate: all}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("the request is %+v, want %+v", seen, want)
	}
	r, _ := readResponse(t, out)
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": sampleAccept, "Sec-WebSocket-Protocol": "rookery.v1",
		"Sec-WebSocket-Extensions": "permessage-deflate;server_no_context_takeover;client_no_context_takeover",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r.StatusCode != 101 {
		t.Errorf("status %d", r.StatusCode)
	}
}

// refusals are handshakes and the status they are refused with.
func refusals() map[string]struct {
	in     []byte
	status int
} {
	type refusal = struct {
		in     []byte
		status int
	}
	all := map[string]refusal{
		"TLS":                     {[]byte{0x16}, 400},
		"another method":          {[]byte("POST"), 405},
		"method in small letters": {[]byte("get / HTTP/1.1"), 405},
		"HTTP/1.0":                {replaced("GET", "GET / HTTP/1.0"), 505},
		"HTTP/2.0":                {replaced("GET", "GET / HTTP/2.0"), 505},
		"no version":              {replaced("GET", "GET /"), 400},
		"two spaces":              {replaced("GET", "GET  / HTTP/1.1"), 400},
		"space in the target":     {replaced("GET", "GET /a b HTTP/1.1"), 400},
		"absolute target":         {replaced("GET", "GET http://x/ HTTP/1.1"), 400},
		"fragment in the target":  {replaced("GET", "GET /a#b HTTP/1.1"), 400},
		"bad escape":              {replaced("GET", "GET /%4 HTTP/1.1"), 400},
		"escaped control":         {replaced("GET", "GET /%0a HTTP/1.1"), 400},
		"escaped no UTF-8":        {replaced("GET", "GET /%ff HTTP/1.1"), 400},
		"empty line first":        {append([]byte("\r\n"), with()...), 400},
		"no Host":                 {replaced("Host", ""), 400},
		"no Upgrade":              {replaced("Upgrade", ""), 426},
		"Upgrade to h2c":          {replaced("Upgrade", "Upgrade: h2c"), 426},
		"no Connection":           {replaced("Connection", ""), 400},
		"Connection: close":       {replaced("Connection", "Connection: close"), 400},
		"no version header":       {replaced("Sec-WebSocket-Version", ""), 426},
		"version 8":               {replaced("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), 426},
		"no key":                  {replaced("Sec-WebSocket-Key", ""), 400},
		"key too short":           {replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="), 400},
		"key no base64":           {replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!"), 400},
		"key with loose bits":     {replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="), 400},
		"body":                    {with("Content-Length: 1"), 400},
		"negative body":           {with("Content-Length: -1"), 400},
		"chunked":                 {with("Transfer-Encoding: chunked"), 400},
		"folded line":             {with("X: a", " b"), 400},
		"space before the colon":  {with("X : a"), 400},
		"no name":                 {with(": a"), 400},
		"no colon":                {with("X"), 400},
		"NUL":                     {with("X: a\x00b"), 400},
		"bare CR":                 {with("X: a\rY: b"), 400},
		"bare LF":                 {with("X: a\nY: b"), 400},
		"bare LF first":           {[]byte("GET / HTTP/1.1\n"), 400},
		"broken protocol list":    {with("Sec-WebSocket-Protocol: a b"), 400},
		"broken extension list":   {with("Sec-WebSocket-Extensions: a; ="), 400},
		"4097 bytes":              {with("X: " + strings.Repeat("a", 4097-len(with("X: ")))), 431},
		"4096 bytes and no end":   {bytes.Repeat([]byte("GET "), 1024), 431},
		"101 headers":             {with(slices.Repeat([]string{"X: a"}, 101-5)...), 431},
	}
	for _, name := range onceHeaders {
		first := slices.IndexFunc(requestLines, func(l string) bool { return strings.HasPrefix(l, name) })
		line := name + ": 0"
		if first >= 0 {
			line = requestLines[first]
		}
		all["two "+name] = refusal{with(line, strings.ToUpper(line[:len(name)])+line[len(name):]), 400}
	}
	return all
}

func TestRefusals(t *testing.T) {
	for name, c := range refusals() {
		_, out, hs, done, err := Upgrade(c.in, HandshakeLimits{}, accept)
		var bad *Refusal
		if done || hs != (Handshake{}) || !errors.As(err, &bad) || bad.Status != c.status {
			t.Errorf("%s: done %v, %v; want status %d", name, done, err, c.status)
			continue
		}
		r, body := readResponse(t, out)
		if r.StatusCode != c.status || !r.Close || body != bad.Reason+"\n" || !strings.HasPrefix(body, "protocol: ") {
			t.Errorf("%s: status %d, body %q, for %v", name, r.StatusCode, body, bad)
		}
		if c.status == 426 && (r.Header.Get("Sec-WebSocket-Version") != "13" || r.Header.Get("Upgrade") != "websocket") {
			t.Errorf("%s: the response does not say what to upgrade to: %v", name, r.Header)
		}
	}
}

func TestHandshakeAtItsLimits(t *testing.T) {
	longest := with("X: " + strings.Repeat("a", 4096-len(with("X: "))))
	for name, in := range map[string][]byte{
		"4096 bytes":  longest,
		"100 headers": with(slices.Repeat([]string{"X: a"}, 100-5)...),
	} {
		if n, _, _, done, err := Upgrade(append(in, 0x82), HandshakeLimits{}, accept); !done || n != len(in) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, _, done, err := Upgrade(with("X: a"), HandshakeLimits{Bytes: 8192, Headers: 5}, accept); done || err == nil {
		t.Error("the limit of headers is not the one set")
	}
	if _, _, _, done, _ := Upgrade(with("X: "+strings.Repeat("a", 8000)), HandshakeLimits{Bytes: 9000}, accept); !done {
		t.Error("the limit of bytes is not the one set")
	}
}

// A handshake that comes in any two parts ends as the whole does, and not
// before its last byte.
func TestHandshakeSplitAtEveryByte(t *testing.T) {
	good := with("Sec-WebSocket-Protocol: a")
	for cut := range good {
		if _, out, _, done, err := Upgrade(good[:cut], HandshakeLimits{}, accept); done || err != nil || out != nil {
			t.Fatalf("at %d: done %v, %v", cut, done, err)
		}
	}
	for name, c := range refusals() {
		_, _, _, _, want := Upgrade(c.in, HandshakeLimits{}, accept)
		for cut := range c.in {
			_, out, _, done, err := Upgrade(c.in[:cut], HandshakeLimits{}, accept)
			if done || err != nil && err.Error() != want.Error() || (out == nil) != (err == nil) {
				t.Fatalf("%s at %d: done %v, %v; want %v", name, cut, done, err, want)
			}
		}
	}
}

func TestDecisionRefuses(t *testing.T) {
	decided := Decision{Status: 503, Reason: "busy: no more connections now", RetryAfter: 1500 * time.Millisecond}
	n, out, _, done, err := Upgrade(with(), HandshakeLimits{}, func(*Request) Decision { return decided })
	if want := (&Refusal{503, decided.Reason, decided.RetryAfter}); done || !reflect.DeepEqual(err, error(want)) || n != len(with()) {
		t.Fatalf("took %d, done %v, %#v; want %#v", n, done, err, want)
	}
	r, body := readResponse(t, out)
	if r.StatusCode != 503 || r.Header.Get("Retry-After") != "2" || body != "busy: no more connections now\n" {
		t.Errorf("status %d, %v, body %q", r.StatusCode, r.Header, body)
	}
}

func TestNegotiateDeflate(t *testing.T) {
	const answer = "permessage-deflate;server_no_context_takeover;client_no_context_takeover"
	for offer, want := range map[string]struct {
		params DeflateParams
		answer string
	}{
		"permessage-deflate":                                                         {DeflateParams{15, 15}, answer},
		"permessage-deflate; client_max_window_bits":                                 {DeflateParams{15, 15}, answer},
		"permessage-deflate; client_max_window_bits=10":                              {DeflateParams{15, 10}, answer + ";client_max_window_bits=10"},
		"permessage-deflate; server_max_window_bits=8":                               {DeflateParams{8, 15}, answer + ";server_max_window_bits=8"},
		"permessage-deflate; server_max_window_bits=\"9\"":                           {DeflateParams{9, 15}, answer + ";server_max_window_bits=9"},
		"permessage-deflate; server_max_window_bits=15":                              {DeflateParams{15, 15}, answer + ";server_max_window_bits=15"},
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover": {DeflateParams{15, 15}, answer},
		"x-webkit-deflate-frame, permessage-deflate":                                 {DeflateParams{15, 15}, answer},
		"permessage-deflate; server_max_window_bits=9, permessage-deflate":           {DeflateParams{9, 15}, answer + ";server_max_window_bits=9"},
		"permessage-deflate; server_max_window_bits=7, permessage-deflate":           {DeflateParams{15, 15}, answer},
		"permessage-deflate; server_max_window_bits=16":                              {},
		"permessage-deflate; server_max_window_bits":                                 {},
		"permessage-deflate; client_max_window_bits=7":                               {},
		"permessage-deflate; server_no_context_takeover=1":                           {},
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover": {},
		"permessage-deflate; unknown":                                                {},
		"x-webkit-deflate-frame":                                                     {},
	} {
		for _, agree := range []bool{true, false} {
			in := with("Sec-WebSocket-Extensions: " + offer)
			_, out, hs, _, err := Upgrade(in, HandshakeLimits{}, func(r *Request) Decision {
				if r.Deflate != want.params {
					t.Errorf("%s: the request has %v, want %v", offer, r.Deflate, want.params)
				}
				return Decision{Status: 101, Deflate: agree}
			})
			params, answer := want.params, want.answer
			if !agree {
				params, answer = DeflateParams{}, ""
			}
			if err != nil || hs.Deflate != params {
				t.Errorf("%s: agreed on %v, %v; want %v", offer, hs.Deflate, err, params)
				continue
			}
			if r, _ := readResponse(t, out); r.Header.Get("Sec-WebSocket-Extensions") != answer {
				t.Errorf("%s: the answer is %v, want %q", offer, r.Header, answer)
			}
		}
	}
}

// What is accepted, net/http reads in the same way; where it is cut does not
// matter.
func FuzzHandshake(f *testing.F) {
	f.Add(with("Origin: a", "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9"), uint(7))
	f.Add(append(with("X-Forwarded-For: 1"), 0x81, 0x80), uint(100))
	for _, c := range refusals() {
		f.Add(c.in, uint(len(c.in)/2))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint) {
		var seen *Request
		n, out, hs, done, err := Upgrade(in, HandshakeLimits{}, func(r *Request) Decision {
			seen = r
			return accept(r)
		})
		part := in[:cut%(uint(len(in))+1)]
		_, _, _, early, errEarly := Upgrade(part, HandshakeLimits{}, accept)
		if early && (!done || len(part) < n) || errEarly != nil && (err == nil || err.Error() != errEarly.Error()) {
			t.Fatalf("the first %d bytes: done %v, %v; all: done %v, %v", len(part), early, errEarly, done, err)
		}
		switch {
		case err != nil:
			readResponse(t, out)
		case !done:
			if out != nil || len(in) >= DefaultHandshakeBytes {
				t.Fatalf("waits after %d bytes with %q", len(in), out)
			}
		default:
			compareWithHTTP(t, in[:n], seen, hs, out)
		}
	})
}

func compareWithHTTP(t *testing.T, head []byte, seen *Request, hs Handshake, out []byte) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", head, err)
	}
	if r.URL.Path != hs.Path || r.Host != seen.Host || r.Header.Get("Authorization") != seen.Authorization ||
		r.Header.Get("Origin") != seen.Origin || cmp.Or(r.ContentLength, 0) != 0 || len(r.TransferEncoding) > 0 {
		t.Fatalf("net/http reads %q as %+v, not as %+v", head, r, seen)
	}
	if answer, _ := readResponse(t, out); answer.StatusCode != 101 || answer.Header.Get("Sec-WebSocket-Accept") == "" {
		t.Fatal(fmt.Sprint("the answer is ", answer))
	}
}
