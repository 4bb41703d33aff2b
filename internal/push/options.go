package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// Options are a Queue's settings.
type Options struct {
	Senders Senders // by the provider's name

	// Online reports whether a device has a session now. A wrong answer costs a
	// push too many or one that comes later.
	Online func(ctx context.Context, user chat.User, device chat.Device) bool

	// Key makes the names of chats, at least 16 bytes; the same in every process
	// and over restarts, or notices of one chat do not replace each other.
	Key []byte

	Entries  int           // notices that wait or are at work, for each provider, and as many before they are looked up, about 400 bytes each; over it they are dropped; 0 is 65,536
	Delay    time.Duration // how long a notice waits for its device to come, and for others to join it; 0 is 1 s
	Settle   time.Duration // how long a device that is connected and does not take its message is watched, as its connection may be dead: more than the session's idle time; 0 is 3 min
	Every    time.Duration // a device gets one push in this time on average; 0 is 5 s
	Burst    int           // pushes that a device gets at once after a pause; 0 is 10
	Devices  int           // devices whose rate is remembered, about 200 bytes each; 0 is 65,536
	Lookups  int           // users looked up at once; 0 is 4
	Workers  int           // pushes under way at once, for each provider; 0 is 16
	Timeout  time.Duration // of one try; 0 is 15 s
	Tries    int           // of one notice; 0 is 10
	MaxAge   time.Duration // of a notice; 0 is 1 h
	RetryMin time.Duration // before the second try; it doubles with each; 0 is 1 s
	RetryMax time.Duration // the longest wait between tries that the provider did not ask for; 0 is 5 min
	Logger   *slog.Logger  // nil is slog.Default
}

const minKeyBytes = 16

// Validate reports everything that is wrong with the options.
func (o *Options) Validate() error {
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("push: "+format, args...))
		}
	}
	bad(o.Online != nil, "Online is missing")
	bad(len(o.Key) >= minKeyBytes, "Key has %d bytes, it has to have %d", len(o.Key), minKeyBytes)
	for name, value := range map[string]int{"Entries": o.Entries, "Burst": o.Burst, "Devices": o.Devices, "Lookups": o.Lookups, "Workers": o.Workers, "Tries": o.Tries} {
		bad(value >= 0, "%s is %d, it cannot be negative", name, value)
	}
	for name, value := range map[string]time.Duration{"Delay": o.Delay, "Settle": o.Settle, "Every": o.Every, "Timeout": o.Timeout, "MaxAge": o.MaxAge, "RetryMin": o.RetryMin, "RetryMax": o.RetryMax} {
		bad(value >= 0, "%s is %v, it cannot be negative", name, value)
	}
	for name, sender := range o.Senders {
		bad(name != "" && sender != nil, "the provider %q has no name or no sender", name)
	}
	return errors.Join(errs...)
}

func (o *Options) setDefaults() {
	count := func(value *int, otherwise int) {
		if *value == 0 {
			*value = otherwise
		}
	}
	span := func(value *time.Duration, otherwise time.Duration) {
		if *value == 0 {
			*value = otherwise
		}
	}
	count(&o.Entries, 65_536)
	count(&o.Burst, 10)
	count(&o.Devices, 65_536)
	count(&o.Lookups, 4)
	count(&o.Workers, 16)
	count(&o.Tries, 10)
	span(&o.Delay, time.Second)
	span(&o.Settle, 3*time.Minute)
	span(&o.Every, 5*time.Second)
	span(&o.Timeout, 15*time.Second)
	span(&o.MaxAge, time.Hour)
	span(&o.RetryMin, time.Second)
	span(&o.RetryMax, 5*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}
