// Package push tells devices that are not connected that something waits for
// them, through the provider each of them registered with. What it tells has no
// content and no names: the device comes and fetches. A push is a hint, as
// delivery's are; the inbox is the truth.
//
// Each provider's adapter has a folder of its own: fcm, apns, webhook. Log is
// the one for a server that has none.
package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// Notice is all that a provider and a device are told.
type Notice struct {
	// Chat names the chat to the device alone: 32 hex digits, a keyed hash that
	// is another one for each of the chat's users. A later notice of the same
	// chat takes the place of an earlier one.
	Chat string

	Count int // messages since the last notice of the chat, at least 1
}

// Sender is one provider. Its methods are safe for concurrent use.
type Sender interface {
	// Check says what is wrong with a token, before it is stored. nil does not
	// say that the provider knows it.
	Check(token string) error

	// Send tells one device. nil says that the provider took it. The error is
	// ErrTokenGone, ErrRefused, a Later, or any other, after which it is tried
	// again. It never holds any of the token.
	Send(ctx context.Context, token string, n Notice) error
}

// ErrTokenGone says that the token leads to no device any more.
var ErrTokenGone = errors.New("push: the provider knows the token no more")

// ErrRefused says that the provider does not take this notice, now or later.
var ErrRefused = errors.New("push: refused")

// Later is a provider that wants to be left alone for a while.
type Later struct {
	After time.Duration // 0 where it did not say how long
	Err   error
}

func (e *Later) Error() string { return e.Err.Error() }
func (e *Later) Unwrap() error { return e.Err }

// RetryAfter reads the header of the same name (RFC 9110 section 10.2.3): whole
// seconds, or a date. 0 is none.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// WithoutURL takes the address off an HTTP client's error: it may hold a token.
func WithoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Senders are the providers of this server, by the name that devices give.
type Senders map[string]Sender

// Check says what is wrong with what a device wants to register, as the
// CodeBadPush that it is answered with.
func (s Senders) Check(provider, token string) error {
	sender, ok := s[provider]
	if provider == LogProvider || !ok {
		return chat.Errorf(chat.CodeBadPush, "no such provider here; there is: %s", s.names())
	}
	if err := sender.Check(token); err != nil {
		return chat.Errorf(chat.CodeBadPush, "no token of %s: %v", provider, err)
	}
	return nil
}

func (s Senders) names() string {
	var names []string
	for name := range s {
		if name != LogProvider {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Refusedf makes an ErrRefused that says why.
func Refusedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}
