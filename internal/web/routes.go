package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rookery-chat/rookery/chat"
)

// handler is everything that the listener answers.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.area(areaPage, s.page))
	mux.Handle("/config", s.area(areaPage, s.config))
	mux.Handle("/dev/token", s.area(areaToken, s.token))
	mux.Handle("/media/", s.area(areaMedia, s.blob))
	for pattern, answer := range s.calls() {
		mux.Handle(pattern, s.area(areaAPI, s.api(answer)))
	}
	mux.Handle("/v1/", s.area(areaAPI, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			s.preflight(w, r)
			return
		}
		fail(w, chat.Errorf(chat.CodeNotFound, "the API has no %s %.100q: see docs/openapi.yaml", r.Method, r.URL.Path))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ours(r) {
			s.Stats.WrongHost.Add(1)
			failWith(w, http.StatusMisdirectedRequest, chat.Errorf(chat.CodeBadOrigin, "this server is not %.100q; web.url names it where a balancer is in front", r.Host))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// area counts the requests of one part of the listener and what became of
// them, and sets the headers that all answers have.
func (s *Server) area(a area, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Stats.Requests[a].Add(1)
		s.secure(w.Header(), r)
		answer(&statusWriter{ResponseWriter: w, stats: &s.Stats}, r)
	})
}

// secure sets what keeps a browser from doing more with an answer than the page
// needs: nothing of anybody else's is loaded, asked, framed or told.
func (s *Server) secure(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", s.policy(r))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(self), geolocation=(), microphone=()") // safety numbers are scanned
	h.Set("Cache-Control", "no-store")
	if s.scheme() == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// policy lets the page run its own files, WebAssembly among them, show what it
// has decrypted, and speak with the sockets.
func (s *Server) policy(r *http.Request) string {
	connect := "'self' " + origin(s.socketsURL(r))
	if at := s.URL(); s.site.Blobs != nil && at != s.scheme()+"://"+r.Host { // the page is at another name, such as localhost
		connect += " " + at
	}
	if s.site.Media != nil {
		for _, at := range s.site.Media.Hosts() {
			connect += " " + at
		}
	}
	return strings.Join([]string{
		"default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "worker-src 'self'", "style-src 'self'", "manifest-src 'self'",
		"img-src 'self' blob:", "media-src blob:", "connect-src " + connect,
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
}

// origin cuts a URL's path off.
func origin(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// allowed answers a request whose method is none of these.
func allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	failWith(w, http.StatusMethodNotAllowed, chat.Errorf(chat.CodeBadPacket, "%.20q is not for this", r.Method))
	return false
}

// reply writes an answer in JSON.
func reply(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer) // who has gone does not read the error
}

// failure is the body of an answer that is an error.
type failure struct {
	Code    string `json:"code"`
	Number  uint16 `json:"number"`
	Text    string `json:"text"`
	RetryMs int64  `json:"retry_ms,omitempty"`
}

// fail answers with an error of the one table of codes.
func fail(w http.ResponseWriter, err error) { failWith(w, statusOf(chat.CodeOf(err)), err) }

func failWith(w http.ResponseWriter, status int, err error) {
	code := chat.CodeOf(err)
	f := failure{Code: code.String(), Number: uint16(code), Text: strings.TrimPrefix(err.Error(), code.String()+": ")}
	var coded *chat.Error
	if errors.As(err, &coded) && coded.RetryAfter > 0 {
		f.RetryMs = coded.RetryAfter.Milliseconds()
		w.Header().Set("Retry-After", strconv.FormatInt((f.RetryMs+999)/1000, 10))
	}
	reply(w, status, f)
}

// statusOf is the HTTP status that goes with a code.
func statusOf(code chat.Code) int {
	switch code {
	case chat.CodeUnauthorized, chat.CodeExpired:
		return http.StatusUnauthorized
	case chat.CodeForbidden, chat.CodeWrongUser, chat.CodeBadOrigin, chat.CodeQuota, chat.CodeRevoked:
		return http.StatusForbidden
	case chat.CodeNotFound:
		return http.StatusNotFound
	case chat.CodeIDConflict, chat.CodeReplaced:
		return http.StatusConflict
	case chat.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case chat.CodeRateLimited, chat.CodeTooMany:
		return http.StatusTooManyRequests
	case chat.CodeOverloaded, chat.CodeUnavailable, chat.CodeBusy, chat.CodeDraining, chat.CodeUnknown, chat.CodeIdle:
		return http.StatusServiceUnavailable
	case chat.CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}
