package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// Values of Options.From that are no position.
const (
	FromLast  = "last"  // after the last entry this device has handled
	FromStart = "start" // from the oldest that is kept
	FromNow   = "now"   // only what comes from now on
)

// Defaults of Options.
const (
	DefaultOutboxMessages = 10_000
	DefaultOutboxBytes    = 64 << 20
	DefaultEventQueue     = 1024
	DefaultBackoffMin     = 500 * time.Millisecond
	DefaultBackoffMax     = 30 * time.Second
	DefaultDialTimeout    = 10 * time.Second
)

// Options of a client.
type Options struct {
	// URL of the server, ws://host:port or wss://host:port.
	URL string
	// User and Device are who this is. Two clients of one device take the
	// session from each other: give each a device of its own.
	User, Device string
	// Token returns a JWT for the user. It is called for each connection, and
	// again in time before the token in use expires.
	Token func(context.Context) (string, error)

	// State is the path of the file that keeps the outbox and the cursor, made
	// where it is missing. One process at a time can use it. Empty: in memory,
	// and what is not accepted when the process ends is lost.
	State string
	// From says where the chain begins: FromLast, FromStart, FromNow or a
	// position as chat.Position prints it. Empty: FromLast, which for a device
	// without a State is what the server remembers of it.
	From string
	// SendOnly makes a client that sends and learns of receipts, but takes no
	// messages: none is marked as delivered, and Receive returns none.
	SendOnly bool

	// Manual makes HandledTo alone say what has been handled; Receive and Handled
	// say nothing.
	Manual bool

	// Own has Receive return also what this device sent to groups, as Own, in its
	// place among what others sent.
	Own bool

	// BeforeMark is called before a cursor is made durable: what the app keeps of
	// the messages it has handled has to be durable when it returns. Its error
	// ends the client. nil: nothing.
	BeforeMark func() error

	// OutboxMessages and OutboxBytes bound what waits to be accepted; Send
	// waits for room. 0: DefaultOutboxMessages, DefaultOutboxBytes.
	OutboxMessages, OutboxBytes int
	// EventQueue bounds the events that wait for Receive. 0: DefaultEventQueue.
	EventQueue int

	// BackoffMin and BackoffMax bound the wait before connecting again: after
	// the nth failure in a row it is random up to BackoffMin * 2^n, at most
	// BackoffMax. 0: DefaultBackoffMin, DefaultBackoffMax.
	BackoffMin, BackoffMax time.Duration
	// DialTimeout bounds a connection attempt up to the welcome, and every
	// write. 0: DefaultDialTimeout.
	DialTimeout time.Duration

	// Dial opens the transport. nil: a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is for wss. nil: the system's roots.
	TLS *tls.Config
	// Logger hears about connections; never about content or tokens. nil: silent.
	Logger *slog.Logger
}

// Validate reports everything that is wrong with the options, together.
func (o *Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, chat.Errorf(chat.CodeBadName, "client options: "+format, args...))
	}
	if u, err := url.Parse(o.URL); err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		fault("URL %q is not of the form ws://host:port or wss://host:port", o.URL)
	}
	var bad *chat.Error
	if _, err := chat.NewUser("", o.User); errors.As(err, &bad) {
		fault("User %q: %s", o.User, bad.Text)
	}
	if _, err := chat.NewDevice(o.Device); errors.As(err, &bad) {
		fault("Device %q: %s", o.Device, bad.Text)
	}
	if o.Token == nil {
		fault("Token is nil: give a function that returns a JWT")
	}
	if _, err := o.resume(); err != nil {
		fault("From %q is not start, last, now or a position", o.From)
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"OutboxMessages", int64(o.OutboxMessages)}, {"OutboxBytes", int64(o.OutboxBytes)}, {"EventQueue", int64(o.EventQueue)},
		{"BackoffMin", int64(o.BackoffMin)}, {"BackoffMax", int64(o.BackoffMax)}, {"DialTimeout", int64(o.DialTimeout)},
	} {
		if n.value < 0 {
			fault("%s is negative", n.name)
		}
	}
	return errors.Join(faults...)
}

// resume returns the position From asks for, or nil for the last one.
func (o *Options) resume() (*int64, error) {
	switch o.From {
	case "", FromLast:
		return nil, nil
	case FromStart:
		return new(int64), nil
	case FromNow:
		now := int64(resumeNow)
		return &now, nil
	}
	pos, err := chat.ParsePosition(o.From)
	at := int64(pos)
	return &at, err
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	o.OutboxMessages = cmp.Or(o.OutboxMessages, DefaultOutboxMessages)
	o.OutboxBytes = cmp.Or(o.OutboxBytes, DefaultOutboxBytes)
	o.EventQueue = cmp.Or(o.EventQueue, DefaultEventQueue)
	o.BackoffMin = cmp.Or(o.BackoffMin, DefaultBackoffMin)
	o.BackoffMax = max(cmp.Or(o.BackoffMax, DefaultBackoffMax), o.BackoffMin)
	o.DialTimeout = cmp.Or(o.DialTimeout, DefaultDialTimeout)
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
