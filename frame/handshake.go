package frame

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// Decision answers a Request.
type Decision struct {
	Status int // 101, or the status of a refusal

	// Of a 101.
	Protocol string // one of Request.Protocols, or ""
	Deflate  bool   // agree to permessage-deflate, if it is offered

	// Of a refusal.
	Reason     string        // its body: "code_name: text"
	RetryAfter time.Duration // rounded up to seconds; 0: no such header
}

// Handshake is what was agreed.
type Handshake struct {
	Path     string
	Protocol string
	Deflate  DeflateParams
}

// Refusal is the error of a handshake that was refused.
type Refusal struct {
	Status     int
	Reason     string
	RetryAfter time.Duration
}

// Error returns the reason.
func (r *Refusal) Error() string { return "websocket: handshake refused: " + r.Reason }

// Upgrade reads a client's opening handshake (RFC 6455 section 4.2) from the
// start of in and asks decide. Not done and no error: more is needed; the caller
// keeps in and comes back with more behind it. Done: out is the 101 to write,
// and in[n:] is frames already. An error is a *Refusal: out is to be written, and
// the connection closed.
func Upgrade(in []byte, l HandshakeLimits, decide func(*Request) Decision) (n int, out []byte, hs Handshake, done bool, err error) {
	request, n, bad := readRequest(in, l)
	if bad == nil && n == 0 {
		return 0, nil, Handshake{}, false, nil
	}
	if bad == nil {
		out, hs, bad = request.upgrade(in[:n], decide)
	}
	if bad != nil {
		return n, bad.response(), Handshake{}, false, bad
	}
	return n, out, hs, true, nil
}

// exchange is a request to read and a response to write.
type exchange struct {
	*bytes.Reader
	out bytes.Buffer
}

func (x *exchange) Write(p []byte) (int, error) { return x.out.Write(p) }

// upgrade has the library judge what is WebSocket's of the head, and decide the
// rest.
func (r *Request) upgrade(head []byte, decide func(*Request) Decision) ([]byte, Handshake, *Refusal) {
	var d Decision
	upgrader := ws.Upgrader{
		ProtocolCustom: func(value []byte) (string, bool) {
			return "", r.addProtocols(string(value))
		},
		Negotiate: func(offer httphead.Option) (none httphead.Option, err error) {
			if !r.Deflate.enabled() {
				r.offered(offer)
			}
			return none, nil
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			d = decide(r)
			if d.Status != http.StatusSwitchingProtocols {
				return nil, errors.New("refused")
			}
			return ws.HandshakeHeaderString(r.answer(&d)), nil
		},
	}
	x := exchange{Reader: bytes.NewReader(head)}
	if _, err := upgrader.Upgrade(&x); err != nil {
		if d.Status != 0 {
			return nil, Handshake{}, &Refusal{d.Status, d.Reason, d.RetryAfter}
		}
		return nil, Handshake{}, refuse(statusOf(err), err.Error())
	}
	hs := Handshake{Path: strings.Clone(r.Path), Protocol: strings.Clone(d.Protocol)}
	if d.Deflate {
		hs.Deflate = r.Deflate
	}
	return x.out.Bytes(), hs, nil
}

// statusOf returns the status for an error of the library's. What is no
// WebSocket request of version 13 is told to upgrade.
func statusOf(err error) int {
	switch err {
	case ws.ErrHandshakeBadUpgrade, ws.ErrHandshakeBadSecVersion, ws.ErrHandshakeUpgradeRequired:
		return http.StatusUpgradeRequired
	}
	return http.StatusBadRequest
}

// addProtocols adds a list of subprotocols; false if it is not one.
func (r *Request) addProtocols(list string) bool {
	for protocol := range strings.SplitSeq(list, ",") {
		protocol = strings.Trim(protocol, " \t")
		if !isToken(protocol) {
			return false
		}
		r.Protocols = append(r.Protocols, protocol)
	}
	return true
}

// offered looks at one extension the client offers.
func (r *Request) offered(offer httphead.Option) {
	var ok bool
	if r.agreed, ok = agree(offer); ok {
		r.Deflate = DeflateParams{
			ServerWindowBits: cmp.Or(uint8(r.agreed.ServerMaxWindowBits), maxWindowBits),
			ClientWindowBits: cmp.Or(uint8(r.agreed.ClientMaxWindowBits), maxWindowBits),
		}
	}
}

// agree returns the parameters to answer an offered extension with; false if it
// is none of ours or not as RFC 7692 section 7.1 has it. A window the client
// names is taken as it is.
func agree(offer httphead.Option) (p wsflate.Parameters, ok bool) {
	if string(offer.Name) != wsflate.ExtensionName || p.Parse(offer) != nil {
		return wsflate.Parameters{}, false
	}
	p.ServerNoContextTakeover, p.ClientNoContextTakeover = true, true
	if p.ClientMaxWindowBits < minWindowBits {
		p.ClientMaxWindowBits = 0 // offered without a value: any will do
	}
	return p, true
}

// answer returns the headers of a 101 that say what was chosen.
func (r *Request) answer(d *Decision) string {
	var b strings.Builder
	if d.Protocol != "" {
		fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", d.Protocol)
	}
	if d.Deflate && r.Deflate.enabled() {
		b.WriteString("Sec-WebSocket-Extensions: ")
		httphead.WriteOptions(&b, []httphead.Option{r.agreed.Option()})
		b.WriteString("\r\n")
	}
	return b.String()
}

// response returns the HTTP response of a refusal.
func (r *Refusal) response() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: close\r\n", r.Status, http.StatusText(r.Status))
	switch r.Status {
	case http.StatusUpgradeRequired:
		b.WriteString("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
	case http.StatusMethodNotAllowed:
		b.WriteString("Allow: GET\r\n")
	}
	if r.RetryAfter > 0 {
		fmt.Fprintf(&b, "Retry-After: %d\r\n", (r.RetryAfter+time.Second-1)/time.Second)
	}
	fmt.Fprintf(&b, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s\n", len(r.Reason)+1, r.Reason)
	return b.Bytes()
}
