package web

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

const (
	tokenBody = 1 << 10 // bytes of a request for a token
	tokenLife = 12 * time.Hour
)

// tokenAnswer is a token of the development key.
type tokenAnswer struct {
	User    string `json:"user"`
	Token   string `json:"token"`
	Expires int64  `json:"expires"` // ms since 1970
}

// token lets a page of this server on this machine be whoever it names.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodPost) {
		return
	}
	if err := s.mayPick(r); err != nil {
		failWith(w, http.StatusForbidden, err)
		return
	}
	if err := s.fromPage(r); err != nil {
		failWith(w, http.StatusForbidden, err)
		return
	}
	var ask struct {
		User string `json:"user"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, tokenBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		fail(w, chat.Errorf(chat.CodeBadPacket, `send {"user": "<name>"}: %v`, err))
		return
	}
	user, err := chat.NewUser("", ask.User)
	if err != nil {
		fail(w, err)
		return
	}
	token, err := s.opt.Token(user, tokenLife)
	if err != nil {
		s.opt.Logger.Error("no token of the development key", "err", err)
		fail(w, chat.Errorf(chat.CodeInternal, "the log says why"))
		return
	}
	reply(w, http.StatusOK, tokenAnswer{User: ask.User, Token: token, Expires: time.Now().Add(tokenLife).UnixMilli()})
}

// mayPick says why a request may not pick a name: that takes the development
// key, and that server and client are this one machine, with nobody between.
func (s *Server) mayPick(r *http.Request) error {
	switch {
	case s.opt.Token == nil:
		return chat.Errorf(chat.CodeForbidden, "this server does not take the development key: bring a token")
	case !s.loopback || !loopbackPeer(r):
		return chat.Errorf(chat.CodeForbidden, "names are picked on the server's own machine only")
	case r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("Via") != "":
		return chat.Errorf(chat.CodeForbidden, "names are picked without a proxy between only")
	case !s.byLoopback(r):
		return chat.Errorf(chat.CodeBadOrigin, "names are picked at a loopback address only")
	}
	return nil
}

// fromPage says why a request does not come from this server's own page. A
// browser lets no page leave out or choose these headers.
func (s *Server) fromPage(r *http.Request) error {
	if !strings.EqualFold(r.Header.Get("Origin"), s.scheme()+"://"+r.Host) {
		return chat.Errorf(chat.CodeBadOrigin, "this is for the page of this server: its Origin is %s://%s", s.scheme(), r.Host)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return chat.Errorf(chat.CodeBadOrigin, "this is for the page of this server")
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" {
		return chat.Errorf(chat.CodeBadPacket, "the Content-Type is application/json")
	}
	return nil
}

func loopbackPeer(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}
