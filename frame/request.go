package frame

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/ws/wsflate"
)

// Defaults of HandshakeLimits.
const (
	DefaultHandshakeBytes   = 4096
	DefaultHandshakeHeaders = 100
)

// HandshakeLimits bounds a client's opening handshake; over them it is refused
// with 431.
type HandshakeLimits struct {
	Bytes   int // of request line and headers; 0: DefaultHandshakeBytes
	Headers int // 0: DefaultHandshakeHeaders
}

// Request is a client's opening handshake, checked. Its strings share one
// memory: clone what outlives the decision.
type Request struct {
	Path          string   // percent-decoded, without the query
	Host          string   // may be empty
	Origin        string   // "" where there is none
	Authorization string   // "" where there is none
	Protocols     []string // Sec-WebSocket-Protocol, in the client's order

	// Deflate is what of the client's offers of permessage-deflate would be
	// agreed to; zero where there is none.
	Deflate DeflateParams

	agreed wsflate.Parameters // Deflate, as it goes into the answer
	fields []field
}

type field struct{ name, value string }

// Header returns a header's values joined by ", ", "" where there is none.
func (r *Request) Header(name string) string {
	joined := ""
	for _, f := range r.fields {
		if !strings.EqualFold(f.name, name) {
			continue
		}
		if joined != "" {
			joined += ", "
		}
		joined += f.value
	}
	return joined
}

// Headers that may come once: those the handshake, its end or the identity of
// the client hang on. Two of them are read differently by different proxies.
var onceHeaders = []string{
	"Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
	"Content-Length", "Transfer-Encoding", "Origin", "Authorization",
}

func refuse(status int, text string) *Refusal {
	return &Refusal{Status: status, Reason: "protocol: " + text}
}

// readRequest reads a request's head from the start of in, strictly: what two
// readers could understand in two ways is refused (RFC 9112 sections 2.2, 3, 5
// and 11.2). n is 0 while more is needed. What is wrong is reported with the
// first line that shows it.
func readRequest(in []byte, l HandshakeLimits) (r *Request, n int, bad *Refusal) {
	maxBytes := cmp.Or(l.Bytes, DefaultHandshakeBytes)
	within := in[:min(len(in), maxBytes)]
	if bad = checkMethod(within); bad != nil {
		return nil, 0, bad
	}
	r = new(Request)
	for first := true; ; first = false {
		line, size, bad := readLine(within[n:])
		switch {
		case bad != nil:
			return nil, 0, bad
		case size == 0 && len(in) >= maxBytes:
			return nil, 0, refuse(http.StatusRequestHeaderFieldsTooLarge, "the handshake is too long")
		case size == 0:
			return nil, 0, nil
		}
		n += size
		switch {
		case first:
			r.Path, bad = parseRequestLine(line)
		case line == "":
			return r, n, r.check()
		case len(r.fields) == cmp.Or(l.Headers, DefaultHandshakeHeaders):
			bad = refuse(http.StatusRequestHeaderFieldsTooLarge, "too many headers")
		default:
			bad = r.addField(line)
		}
		if bad != nil {
			return nil, 0, bad
		}
	}
}

// checkMethod judges as much of "GET " as is there, so that another protocol's
// opening is not waited for.
func checkMethod(in []byte) *Refusal {
	const get = "GET "
	for i := 0; i < len(in) && i < len(get); i++ {
		switch {
		case in[i] == get[i]:
		case isToken(string(in[i : i+1])):
			return refuse(http.StatusMethodNotAllowed, "the method is not GET")
		default:
			return refuse(http.StatusBadRequest, "this is not HTTP")
		}
	}
	return nil
}

// readLine returns the next line without its CRLF, and its size with it; the
// size is 0 while the line has not all come.
func readLine(in []byte) (line string, size int, bad *Refusal) {
	end := bytes.IndexByte(in, '\n')
	if end < 0 {
		return "", 0, nil
	}
	if end == 0 || in[end-1] != '\r' {
		return "", 0, refuse(http.StatusBadRequest, "a line does not end in CR LF")
	}
	text := in[:end-1]
	for _, c := range text {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", 0, refuse(http.StatusBadRequest, "a control character in the head")
		}
	}
	return string(text), end + 1, nil
}

// parseRequestLine returns the path of "GET target HTTP/1.1".
func parseRequestLine(line string) (path string, bad *Refusal) {
	target, version, found := strings.Cut(strings.TrimPrefix(line, "GET "), " ")
	switch {
	case !found || !strings.HasPrefix(version, "HTTP/"):
		return "", refuse(http.StatusBadRequest, "the request line is malformed")
	case version != "HTTP/1.1":
		return "", refuse(http.StatusHTTPVersionNotSupported, "the version is not HTTP/1.1")
	case !strings.HasPrefix(target, "/") || strings.ContainsAny(target, "#\t"):
		return "", refuse(http.StatusBadRequest, "the target is not a path")
	}
	raw, _, _ := strings.Cut(target, "?")
	path, err := url.PathUnescape(raw)
	if err != nil || !utf8.ValidString(path) || strings.ContainsFunc(path, isControl) {
		return "", refuse(http.StatusBadRequest, "the path is malformed")
	}
	return path, nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// addField adds "name: value". A folded line begins with a space, and so has no
// name.
func (r *Request) addField(line string) *Refusal {
	name, value, found := strings.Cut(line, ":")
	if !found || !isToken(name) {
		return refuse(http.StatusBadRequest, "a header is malformed")
	}
	r.fields = append(r.fields, field{name, strings.Trim(value, " \t")})
	return nil
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			continue
		}
		if strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(s) > 0
}

// check judges the headers together, and fills in the Request.
func (r *Request) check() *Refusal {
	count := make(map[string]int, len(onceHeaders))
	for _, f := range r.fields {
		for _, once := range onceHeaders {
			if strings.EqualFold(f.name, once) {
				count[once]++
			}
		}
	}
	for _, once := range onceHeaders {
		if count[once] > 1 {
			return refuse(http.StatusBadRequest, "more than one "+once+" header")
		}
	}
	if length := r.Header("Content-Length"); count["Transfer-Encoding"] > 0 || length != "" && length != "0" {
		return refuse(http.StatusBadRequest, "the request has a body")
	}
	if count["Sec-WebSocket-Key"] > 0 && !isKey(r.Header("Sec-WebSocket-Key")) {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	r.Host, r.Origin, r.Authorization = r.Header("Host"), r.Header("Origin"), r.Header("Authorization")
	return nil
}

func isKey(s string) bool {
	key, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(key) == 16
}
