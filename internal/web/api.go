package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/chat"
)

// call answers one request to the API for who sent it; the answer becomes JSON.
type call func(w http.ResponseWriter, r *http.Request, id caller) (answer any, err error)

// calls are the API, as docs/openapi.yaml describes it.
func (s *Server) calls() map[string]call {
	return map[string]call{
		"POST /v1/media":            s.mediaBegin,
		"GET /v1/media/{name}/slot": s.mediaSlot,
		"POST /v1/media/{name}/end": s.mediaEnd,
		"GET /v1/media/{name}":      s.mediaURL,
		"DELETE /v1/media/{name}":   s.mediaDrop,
		"POST /v1/ids":              s.botIDs,
		"PUT /v1/messages/{id}":     s.botSend,
		"GET /v1/events":            s.botEvents,
		"POST /v1/read":             s.botRead,
		"GET /v1/history":           s.botHistory,
	}
}

// api is a call for whoever shows a token.
func (s *Server) api(answer call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := s.share(w, r); err != nil {
			fail(w, err)
			return
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, chat.Errorf(chat.CodeUnauthorized, "send Authorization: Bearer and a token"))
			return
		}
		identity, err := s.opt.Verify(r.Context(), token)
		if err != nil {
			if statusOf(chat.CodeOf(err)) == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			}
			fail(w, err)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, s.opt.BodyBytes)
		got, err := answer(w, r, caller{identity, token})
		if err != nil {
			fail(w, err)
			return
		}
		reply(w, http.StatusOK, got)
	}
}

// share lets our own page and those of allowed origins read the answer, and
// refuses others. Ours is told so too: behind media.cdn, or at another name of
// this machine, a browser takes it for another's. Tokens are in a header, so no
// other page can send a user's.
func (s *Server) share(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Add("Vary", "Origin") // also where there is none, or a cache gives a page what it kept of an app
	from := r.Header.Get("Origin")
	if from == "" {
		return nil
	}
	own := from == s.scheme()+"://"+r.Host || slices.Contains(s.Origins(), from)
	if !own && !slices.Contains(s.opt.Origins, "*") && !slices.Contains(s.opt.Origins, from) {
		return chat.Errorf(chat.CodeBadOrigin, "this origin is not in the allow-list")
	}
	h.Set("Access-Control-Allow-Origin", from)
	h.Set("Access-Control-Expose-Headers", "Retry-After, Content-Range")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	return nil
}

// preflight tells a browser what a page of another origin may ask.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request) {
	if err := s.share(w, r); err != nil {
		fail(w, err)
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, PUT, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// body reads a request's JSON. An unknown key is a fault.
func body(r *http.Request, to any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(to)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("something follows the JSON")
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return chat.Errorf(chat.CodeTooLarge, "a body has at most %d bytes", large.Limit)
	}
	return chat.Errorf(chat.CodeBadPacket, "the body is not the JSON it should be: %v", err)
}
