// Package webhook pushes by a signed POST of our own to an address that the
// device gave as its token. The address is a user's word, so it is believed in
// nothing: its host has to be on a list, what the host's name leads to is
// checked when it is dialled, and no redirect is followed.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/internal/push"
)

// Provider is the name that devices register with.
const Provider = "webhook"

// Options are a Sender's settings.
type Options struct {
	Secret []byte         // signs each push, at least 32 bytes
	Hosts  []string       // that may be pushed to: host, whose port is 443, or host:port
	Allow  []netip.Prefix // addresses that may be dialled though they are private
	Roots  *x509.CertPool // nil is the system's
}

const (
	minSecretBytes   = 32
	dialTimeout      = 5 * time.Second
	timeout          = 10 * time.Second // of a whole push
	maxHeaderBytes   = 16 << 10         // of an answer
	maxResponseBytes = 4 << 10          // that are read of an answer, so that its connection can be used again
	idleTimeout      = time.Minute
	idlePerHost      = 16
)

// The headers of a push.
const (
	HeaderTimestamp = "Rookery-Timestamp" // seconds since 1970
	HeaderSignature = "Rookery-Signature" // "v1=" and the hex HMAC-SHA256 of timestamp, ".", body
)

// Sender is a push.Sender.
type Sender struct {
	secret []byte
	hosts  []string // each with its port
	client *http.Client
}

// Validate reports everything that is wrong with the options.
func (o *Options) Validate() error {
	var errs []error
	if len(o.Secret) < minSecretBytes {
		errs = append(errs, fmt.Errorf("webhook: the secret has %d bytes, it has to have %d", len(o.Secret), minSecretBytes))
	}
	if len(o.Hosts) == 0 {
		errs = append(errs, errors.New("webhook: no hosts: there is nowhere to push to"))
	}
	for _, host := range o.Hosts {
		if u, err := url.Parse("https://" + host); err != nil || u.Host != host || u.Hostname() == "" {
			errs = append(errs, fmt.Errorf("webhook: %q is no host or host:port", host))
		}
	}
	return errors.Join(errs...)
}

// New returns a Sender.
func New(o Options) (*Sender, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Sender{secret: slices.Clone(o.Secret)}
	for _, host := range o.Hosts {
		s.hosts = append(s.hosts, withPort(&url.URL{Host: host}))
	}
	s.client = &http.Client{
		Transport:     transport(o.Allow, o.Roots),
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// Close ends idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// Check takes an https address whose host is on the list.
func (s *Sender) Check(token string) error {
	u, err := url.Parse(token)
	switch {
	case err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "":
		return errors.New("it has to be an https address, without a user and a fragment")
	case !slices.Contains(s.hosts, withPort(u)):
		return errors.New("its host is not on the list of this server")
	}
	return nil
}

// body is what is posted.
type body struct {
	Event string `json:"event"` // "waiting"
	Chat  string `json:"chat"`
	Count int    `json:"count"`
}

// Send implements push.Sender.
func (s *Sender) Send(ctx context.Context, token string, n push.Notice) error {
	if err := s.Check(token); err != nil {
		return push.Refusedf("webhook: %v", err) // the list was another one
	}
	request, err := s.request(ctx, token, n)
	if err != nil {
		return push.Refusedf("webhook: no request")
	}
	response, err := s.client.Do(request)
	if errors.Is(err, errPrivate) {
		return push.Refusedf("%v", errPrivate)
	}
	if err != nil {
		return fmt.Errorf("webhook: %w", push.WithoutURL(err))
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxResponseBytes)
	return judge(response)
}

func (s *Sender) request(ctx context.Context, token string, n push.Notice) (*http.Request, error) {
	b, err := json.Marshal(body{"waiting", n.Chat, n.Count})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, token, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "rookery")
	r.Header.Set(HeaderTimestamp, timestamp)
	r.Header.Set(HeaderSignature, "v1="+hex.EncodeToString(sign(s.secret, timestamp, b)))
	return r, nil
}

func sign(secret []byte, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

func judge(r *http.Response) error {
	err := fmt.Errorf("webhook: %d", r.StatusCode)
	switch code := r.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusNotFound, code == http.StatusGone:
		return push.ErrTokenGone
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return &push.Later{After: push.RetryAfter(r.Header, time.Now()), Err: err}
	}
	return push.Refusedf("%v", err)
}
