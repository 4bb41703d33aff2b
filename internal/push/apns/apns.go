// Package apns pushes through Apple's Push Notification service: HTTP/2, with
// provider tokens (ES256).
package apns

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"

	"github.com/rookery-chat/rookery/internal/push"
)

// Provider is the name that devices register with.
const Provider = "apns"

// Options are a Sender's settings.
type Options struct {
	Key     []byte      // the signing key, a .p8 file of the developer account
	KeyID   string      // its name there, 10 characters
	TeamID  string      // the team's, 10 characters
	Topic   string      // the app's bundle id
	Sandbox bool        // of builds under development
	Host    string      // an address as https://host:port; "" is Apple's
	TLS     *tls.Config // nil is the default
}

// Sender is a push.Sender.
type Sender struct {
	topic  string
	client *apns2.Client
}

// New returns a Sender. Nothing is sent before the first Send.
func New(o Options) (*Sender, error) {
	var errs []error
	key, err := token.AuthKeyFromBytes(o.Key)
	if err != nil {
		errs = append(errs, fmt.Errorf("apns: the key is no .p8 file with an elliptic curve's key: %w", err))
	}
	for name, value := range map[string]string{"key id": o.KeyID, "team id": o.TeamID, "topic": o.Topic} {
		if value == "" {
			errs = append(errs, fmt.Errorf("apns: the %s is missing", name))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t := &token.Token{AuthKey: key, KeyID: o.KeyID, TeamID: o.TeamID}
	if _, err := t.Generate(); err != nil {
		return nil, fmt.Errorf("apns: the key does not sign with ES256: %w", err)
	}
	return &Sender{topic: o.Topic, client: &apns2.Client{
		Host: host(&o), Token: t, HTTPClient: &http.Client{Transport: retryAfters{transport(o.TLS)}},
	}}, nil
}

func host(o *Options) string {
	switch {
	case o.Host != "":
		return o.Host
	case o.Sandbox:
		return apns2.HostDevelopment
	}
	return apns2.HostProduction
}

// transport speaks HTTP/2 alone, and pings a connection that has gone quiet.
func transport(config *tls.Config) *http.Transport {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, TLSHandshakeTimeout: 10 * time.Second,
		Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second},
	}
	t.Protocols.SetHTTP2(true)
	return t
}

// Close ends idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// maxTokenBytes is in hex digits; Apple's have 64 and may grow.
const maxTokenBytes = 200

// Check takes hex digits alone: a token becomes part of a path.
func (s *Sender) Check(device string) error {
	if _, err := hex.DecodeString(device); err != nil || device == "" || len(device) > maxTokenBytes {
		return fmt.Errorf("a device token is up to %d hex digits", maxTokenBytes)
	}
	return nil
}

// Send implements push.Sender.
func (s *Sender) Send(ctx context.Context, device string, n push.Notice) error {
	if s.Check(device) != nil {
		return push.ErrTokenGone
	}
	issued := s.issued()
	r, after, err := s.push(ctx, device, n)
	if err == nil && r.StatusCode == http.StatusForbidden && r.Reason == apns2.ReasonExpiredProviderToken && s.renew(issued) {
		r, after, err = s.push(ctx, device, n)
	}
	if err != nil {
		return fmt.Errorf("apns: %w", push.WithoutURL(err))
	}
	return judge(r, after)
}

func (s *Sender) push(ctx context.Context, device string, n push.Notice) (*apns2.Response, time.Duration, error) {
	var after time.Duration
	r, err := s.client.PushWithContext(context.WithValue(ctx, retryAfterKey{}, &after), s.notification(device, n))
	return r, after, err
}

// notification has a text by its key in the app, which says in the user's
// language that something waits; mutable, so that the app may fetch and say
// what.
func (s *Sender) notification(device string, n push.Notice) *apns2.Notification {
	type dict = map[string]any
	return &apns2.Notification{
		DeviceToken: device, Topic: s.topic, CollapseID: n.Chat,
		PushType: apns2.PushTypeAlert, Priority: apns2.PriorityHigh,
		Payload: dict{
			"aps":     dict{"alert": dict{"loc-key": "ROOKERY_WAITING"}, "sound": "default", "thread-id": n.Chat, "mutable-content": 1},
			"rookery": dict{"chat": n.Chat, "count": n.Count},
		},
	}
}

// judge follows Apple's table of status codes and reasons.
func judge(r *apns2.Response, after time.Duration) error {
	err := fmt.Errorf("apns: %d %s", r.StatusCode, r.Reason)
	switch {
	case r.Sent():
		return nil
	case r.StatusCode == http.StatusGone, r.Reason == apns2.ReasonBadDeviceToken:
		return push.ErrTokenGone
	case r.StatusCode == http.StatusTooManyRequests, r.StatusCode >= 500:
		return &push.Later{After: after, Err: err}
	case r.StatusCode == http.StatusForbidden:
		return err // of our key: an operator mends that
	}
	return push.Refusedf("%v", err)
}

// renewEvery is how often Apple takes a new provider token.
const renewEvery = 20 * time.Minute

func (s *Sender) issued() int64 {
	s.client.Token.Lock()
	defer s.client.Token.Unlock()
	return s.client.Token.IssuedAt
}

// renew signs another provider token in place of the one issued at a time that
// Apple no longer takes, and reports whether there is another one now.
func (s *Sender) renew(issued int64) bool {
	t := s.client.Token
	t.Lock()
	defer t.Unlock()
	if t.IssuedAt != issued {
		return true
	}
	if time.Since(time.Unix(issued, 0)) < renewEvery {
		return false
	}
	_, err := t.Generate()
	return err == nil
}

// retryAfters keeps the header that the library's answer leaves out.
type retryAfters struct{ *http.Transport }

type retryAfterKey struct{}

func (t retryAfters) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if after, ok := r.Context().Value(retryAfterKey{}).(*time.Duration); ok && err == nil {
		*after = push.RetryAfter(response.Header, time.Now())
	}
	return response, err
}
