package frame

import "time"

// Request is a client's opening handshake, checked.
type Request struct {
	Path          string // percent-decoded, without the query
	Host          string
	Origin        string   // "" where there is none
	Authorization string   // "" where there is none
	ForwardedFor  string   // X-Forwarded-For; several are joined by ", "
	Protocols     []string // Sec-WebSocket-Protocol, in the client's order
	Deflate       bool     // permessage-deflate is offered in a form we accept
}

// Header returns the first value of a header, "" where there is none.
func (r *Request) Header(name string) string { return "" }

// Decision answers a Request.
type Decision struct {
	Status   int    // 101, or the status of a refusal
	Protocol string // of a 101: one of Request.Protocols, or ""
	Deflate  bool   // of a 101: accept permessage-deflate if it is offered
	Reason   string // of a refusal: its body, "code_name: text"
	// RetryAfter of a refusal, rounded up to seconds. 0: no such header.
	RetryAfter time.Duration
}

// HandshakeLimits bounds a handshake; over them the refusal is 431.
type HandshakeLimits struct {
	Bytes   int // 0: 4096
	Headers int // 0: 100
}

// DeflateParams are the negotiated parameters of permessage-deflate, without
// context takeover on either side. The zero value is none.
type DeflateParams struct {
	ServerWindowBits uint8 // 8 to 15
	ClientWindowBits uint8 // 8 to 15
}

// Handshake is what was agreed.
type Handshake struct {
	Path     string
	Protocol string
	Deflate  DeflateParams
}

// Refusal is the error of a handshake that was refused.
type Refusal struct {
	Status int
	Reason string
}

// Error returns the reason.
func (r *Refusal) Error() string { return r.Reason }

// Upgrade reads a client's opening handshake from the start of in and asks
// decide, which must not keep the Request. Not done and no error: more is needed,
// and the caller keeps in. Done: out is the 101 to write and in[n:] is frames
// already. An error is a *Refusal: write out, then close.
func Upgrade(in []byte, l HandshakeLimits, decide func(*Request) Decision) (n int, out []byte, hs Handshake, done bool, err error) {
	return 0, nil, Handshake{}, false, nil
}
