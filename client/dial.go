package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// refusalBytes bounds what is read of the body of a refused handshake.
const refusalBytes = 512

// endpoint adds the user's path to a server's URL, if it has none.
func endpoint(base, user string) string {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return base
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/ws/" + user
	}
	return u.String()
}

// dial opens a WebSocket. rest is what arrived with the handshake already.
// Errors are *chat.Error: a refusal has the server's code.
func (c *Client) dial(ctx context.Context, base, token string) (conn net.Conn, rest []byte, err error) {
	target := endpoint(base, c.o.User)
	var refusal *chat.Error
	d := ws.Dialer{
		NetDial:   c.o.Dial,
		TLSConfig: c.o.TLS,
		Protocols: []string{packet.Subprotocol},
		Header:    ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + token}},
		OnStatusError: func(status int, _ []byte, resp io.Reader) {
			refusal = readRefusal(status, resp)
		},
	}
	conn, br, hs, err := d.Dial(ctx, target)
	if err != nil {
		if refusal != nil {
			return nil, nil, refusal
		}
		return nil, nil, unreachable(target, err)
	}
	if br != nil {
		rest, _ = br.Peek(br.Buffered())
		rest = append([]byte(nil), rest...)
		ws.PutReader(br)
	}
	if hs.Protocol != packet.Subprotocol {
		conn.Close()
		return nil, nil, chat.Errorf(chat.CodeBadVersion, "%s does not speak %s: is it a Rookery server?", target, packet.Subprotocol)
	}
	return conn, rest, nil
}

func unreachable(target string, err error) *chat.Error {
	hint := "check the network and the URL"
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		hint = "is the server running, and is this its URL?"
	}
	return chat.Errorf(chat.CodeUnavailable, "cannot connect to %s: %v: %s", target, err, hint)
}

// readRefusal reads the answer that refused a handshake: its body says
// "code_name: text", and where it does not the status has to do.
func readRefusal(status int, resp io.Reader) *chat.Error {
	e := chat.Errorf(codeOfStatus(status), "the server answered the handshake with status %d", status)
	r, err := http.ReadResponse(bufio.NewReader(resp), nil)
	if err != nil {
		return e
	}
	defer r.Body.Close()
	e.RetryAfter = parseRetryAfter(r.Header.Get("Retry-After"), time.Now())
	body, _ := io.ReadAll(io.LimitReader(r.Body, refusalBytes))
	said := strings.TrimSpace(string(body))
	name, text, _ := strings.Cut(said, ": ")
	if code, ok := codeNamed(name); ok {
		e.Code, e.Text = code, text
	} else if said != "" {
		e.Text += ": " + said
	}
	return e
}

func codeNamed(name string) (chat.Code, bool) {
	for _, code := range chat.Codes() {
		if code.String() == name && code != chat.CodeOK {
			return code, true
		}
	}
	return 0, false
}

func codeOfStatus(status int) chat.Code {
	switch {
	case status == http.StatusUnauthorized:
		return chat.CodeUnauthorized
	case status == http.StatusForbidden:
		return chat.CodeWrongUser
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return chat.CodeBusy
	case status >= 500:
		return chat.CodeUnavailable
	}
	return chat.CodeProtocol
}

// parseRetryAfter reads the header's two forms: seconds, or a date.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
