package push

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func many(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// Waits double, half of each by chance, up to the longest.
func TestBackoff(t *testing.T) {
	run(t, func(o *Options) { o.RetryMin, o.RetryMax = time.Second, 6*time.Second }, func(f *fixture) {
		f.sender.errs = many(6, errors.New("away"))
		f.q.Offer("bob", "alice", 7)
		f.settled()
		calls := f.wantSent(7)
		for i, most := range []time.Duration{1, 2, 4, 6, 6, 6} {
			wait := calls[i+1].after - calls[i].after
			if wait < most*time.Second/2 || wait > most*time.Second {
				t.Errorf("wait %d is %v of at most %d s", i+1, wait, most)
			}
		}
		if r := f.q.Stats.Retries.Load(); r != 6 {
			t.Errorf("%d retries", r)
		}
		f.wantDropped(nil)
	})
}

// Two notices that failed at once are not tried again at once.
func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		seen[backoff(time.Second, time.Minute, 3)] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different waits", len(seen))
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.sender.errs = []error{&Later{After: 2 * time.Minute, Err: errors.New("busy")}}
		f.q.Offer("bob", "alice", 7)
		f.settled()
		calls := f.wantSent(2)
		if wait := calls[1].after - calls[0].after; wait < 2*time.Minute || wait > 2*time.Minute+time.Second {
			t.Errorf("tried again after %v", wait)
		}
	})
}

func TestGivenUpAfterTries(t *testing.T) {
	run(t, func(o *Options) { o.Tries = 3 }, func(f *fixture) {
		f.sender.errs = many(10, errors.New("away"))
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.wantSent(3)
		f.wantDropped(map[Reason]uint64{GaveUp: 1})
	})
}

func TestGivenUpWhenOld(t *testing.T) {
	run(t, func(o *Options) { o.MaxAge = time.Minute }, func(f *fixture) {
		f.sender.errs = []error{&Later{After: 2 * time.Minute, Err: errors.New("busy")}}
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.wantSent(1)
		f.wantDropped(map[Reason]uint64{GaveUp: 1})
	})
}

func TestRefused(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.sender.errs = []error{Refusedf("no")}
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.wantSent(1)
		f.wantDropped(map[Reason]uint64{Refused: 1})
		if f.store.pushed("phone") != 0 {
			t.Error("a refused push was noted as one")
		}
	})
}

func TestDeadTokenIsForgotten(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.sender.errs = []error{ErrTokenGone}
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.wantDropped(map[Reason]uint64{TokenGone: 1})
		if len(f.store.targets) != 0 {
			t.Errorf("%v", f.store.targets)
		}
		f.q.Offer("bob", "alice", 8)
		f.settled()
		f.wantSent(1)
	})
}

// A token that the device registered while the old one was found dead stays.
func TestNewTokenIsNotForgotten(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.sender.errs = []error{ErrTokenGone}
		f.sender.onceA = func() {
			_ = f.store.PutPushTarget(t.Context(), "bob", storage.PushTarget{Device: "phone", Provider: "fake", Token: "t2"})
		}
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.q.Offer("bob", "alice", 8)
		f.settled()
		if calls := f.wantSent(2); calls[1].token != "t2" {
			t.Errorf("%+v", calls)
		}
	})
}

// A try that hangs is ended.
func TestTimeout(t *testing.T) {
	run(t, func(o *Options) { o.Timeout, o.Tries = 3*time.Second, 2 }, func(f *fixture) {
		f.sender.hold = make(chan struct{})
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.wantSent(2)
		f.wantDropped(map[Reason]uint64{GaveUp: 1})
	})
}

// The log's lines stand in for devices that registered nowhere, are bounded,
// and hold no names.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	run(t, func(o *Options) {
		o.Senders = Senders{LogProvider: NewLog(slog.New(slog.NewTextHandler(&out, nil)))}
	}, func(f *fixture) {
		f.store.targets = map[chat.Device]storage.PushTarget{}
		f.store.devices = []storage.Device{{Name: "phone"}, {Name: "laptop"}}
		f.setOnline("laptop", true)
		for i := range 3 {
			f.q.Offer("bob", []chat.User{"alice", "carol", "dave"}[i], chat.Position(i+1))
		}
		f.settled()
		if s := f.q.Stats.Sent.Load(); s != 3 {
			t.Errorf("%d sent", s)
		}
		f.q.Offer("bob", "alice", 4)
		f.settled()
		text := out.String()
		if strings.Count(text, "\n") != 2 || !strings.Contains(text, "others=2") {
			t.Errorf("logged:\n%s", text)
		}
		for _, name := range []string{"alice", "bob", "carol", "dave", "phone"} {
			if strings.Contains(text, name) {
				t.Errorf("%s is in\n%s", name, text)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	s := Senders{"b": &fakeSender{}, "a": &fakeSender{}, LogProvider: NewLog(nil)}
	for _, c := range []struct{ provider, token, want string }{
		{"a", "t", ""},
		{"a", "bad", "it is bad"},
		{"c", "t", "a, b"},
		{LogProvider, "t", "a, b"},
	} {
		err := s.Check(c.provider, c.token)
		if (err == nil) != (c.want == "") || err != nil && (chat.CodeOf(err) != chat.CodeBadPush || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %.10s: %v", c.provider, c.token, err)
		}
	}
	if err := (Senders{}).Check("a", "t"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Error(err)
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0, "-1": 0, "soon": 0,
		"99999999999999999999": 0,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q is %v, not %v", value, got, want)
		}
	}
}

func TestWithoutURL(t *testing.T) {
	err := WithoutURL(&url.Error{Op: "Post", URL: "https://h/secret", Err: errors.New("refused")})
	if strings.Contains(err.Error(), "secret") || err.Error() != "refused" {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	err := (&Options{Key: []byte("short"), Entries: -1, Delay: -1, Senders: Senders{"x": nil}}).Validate()
	for _, want := range []string{"Online", "Key", "Entries", "Delay", `"x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if _, err := New(Options{}, nil); err == nil {
		t.Error("New takes what Validate refuses")
	}
}

func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if r.String() == "" || seen[r.String()] {
			t.Errorf("reason %d is %q", r, r)
		}
		seen[r.String()] = true
	}
}
