package push

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore holds the push rows of one user, bob.
type fakeStore struct {
	mu      sync.Mutex
	targets map[chat.Device]storage.PushTarget
	cursors map[chat.Device]chat.Position
	devices []storage.Device
	fail    error // of every call
	failPut error // of PutPushed
	calls   int
}

var errStore = errors.New("the store is away")

func (s *fakeStore) begin() (unlock func(), err error) {
	s.mu.Lock()
	s.calls++
	return s.mu.Unlock, s.fail
}

func (s *fakeStore) Devices(context.Context, chat.User) ([]storage.Device, error) {
	unlock, err := s.begin()
	defer unlock()
	return s.devices, err
}

func (s *fakeStore) Cursors(context.Context, chat.User) (list []storage.Cursor, err error) {
	unlock, err := s.begin()
	defer unlock()
	for d, pos := range s.cursors {
		list = append(list, storage.Cursor{Device: d, Position: pos})
	}
	return list, err
}

func (s *fakeStore) PushTargets(context.Context, chat.User) (list []storage.PushTarget, err error) {
	unlock, err := s.begin()
	defer unlock()
	for _, t := range s.targets {
		list = append(list, t)
	}
	return list, err
}

func (s *fakeStore) PutPushTarget(_ context.Context, _ chat.User, t storage.PushTarget) error {
	unlock, err := s.begin()
	defer unlock()
	if err == nil && t.Token == "" {
		delete(s.targets, t.Device)
	} else if err == nil {
		s.targets[t.Device] = t
	}
	return err
}

func (s *fakeStore) PutPushed(_ context.Context, _ chat.User, d chat.Device, pos chat.Position) error {
	unlock, err := s.begin()
	defer unlock()
	if t, ok := s.targets[d]; ok && err == nil && s.failPut == nil {
		t.Pushed = max(t.Pushed, pos)
		s.targets[d] = t
	}
	return errors.Join(err, s.failPut)
}

// set changes the store under its lock.
func (s *fakeStore) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *fakeStore) pushed(d chat.Device) chat.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.targets[d].Pushed
}

// sent is one call of a fakeSender.
type sent struct {
	token string
	Notice
	after time.Duration // since the test began
}

// fakeSender answers with errs in turn, then with nil.
type fakeSender struct {
	start time.Time

	mu    sync.Mutex
	errs  []error
	calls []sent
	hold  chan struct{} // Send waits for it, if there is one
	takes time.Duration
	onceA func() // called by the first Send
}

func (f *fakeSender) Check(token string) error {
	if token == "bad" {
		return errors.New("it is bad")
	}
	return nil
}

func (f *fakeSender) Send(ctx context.Context, token string, n Notice) error {
	f.mu.Lock()
	f.calls = append(f.calls, sent{token, n, time.Since(f.start)})
	var err error
	if len(f.errs) > 0 {
		err, f.errs = f.errs[0], f.errs[1:]
	}
	hold, first := f.hold, f.onceA
	f.onceA = nil
	f.mu.Unlock()
	if first != nil {
		first()
	}
	time.Sleep(f.takes)
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (f *fakeSender) all() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// fixture is a queue of bob's with a phone.
type fixture struct {
	t      *testing.T
	q      *Queue
	store  *fakeStore
	sender *fakeSender

	mu     sync.Mutex
	online map[chat.Device]bool
}

func (f *fixture) setOnline(d chat.Device, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.online[d] = on
}

// run runs a test in a bubble, where time passes when everybody waits for it.
func run(t *testing.T, change func(o *Options), test func(f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{
			t: t, sender: &fakeSender{start: time.Now()}, online: map[chat.Device]bool{},
			store: &fakeStore{
				targets: map[chat.Device]storage.PushTarget{"phone": {Device: "phone", Provider: "fake", Token: "t1"}},
				cursors: map[chat.Device]chat.Position{},
			},
		}
		o := Options{
			Senders: Senders{"fake": f.sender}, Key: make([]byte, 16), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Online: func(_ context.Context, _ chat.User, d chat.Device) bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.online[d]
			},
		}
		if change != nil {
			change(&o)
		}
		q, err := New(o, f.store)
		if err != nil {
			t.Fatal(err)
		}
		f.q = q
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		defer q.Stop(ended)
		test(f)
	})
}

// settled waits until nothing waits, at most for a while of the bubble's time.
func (f *fixture) settled() {
	f.t.Helper()
	for deadline := time.Now().Add(3 * time.Hour); f.q.Stats.Waiting.Load() > 0; {
		if time.Now().After(deadline) {
			f.t.Fatalf("%d notices still wait", f.q.Stats.Waiting.Load())
		}
		f.pass(time.Second)
	}
}

// pass lets time pass and everybody come to rest.
func (f *fixture) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wantDropped compares what was dropped, by reason; none other was.
func (f *fixture) wantDropped(want map[Reason]uint64) {
	f.t.Helper()
	for _, r := range Reasons() {
		if got := f.q.Stats.Dropped(r); got != want[r] {
			f.t.Errorf("dropped for %s: %d, not %d", r, got, want[r])
		}
	}
}

func (f *fixture) wantSent(n int) []sent {
	f.t.Helper()
	calls := f.sender.all()
	if len(calls) != n {
		f.t.Fatalf("%d pushes, not %d: %v", len(calls), n, calls)
	}
	return calls
}
