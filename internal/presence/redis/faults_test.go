package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/presence/presencetest"
	"github.com/rookery-chat/rookery/internal/services"
)

// sessions is a handler of a gateway that has some.
type sessions struct {
	mu      sync.Mutex
	list    []presence.Session
	settled []presence.Session
	told    []string
}

func (s *sessions) handler() presence.Handler {
	return presence.Handler{
		Sessions: func(yield func(presence.Session) bool) {
			s.mu.Lock()
			list := slices.Clone(s.list)
			s.mu.Unlock()
			for _, x := range list {
				if !yield(x) {
					return
				}
			}
		},
		Settled: func(x presence.Session, _ presence.Registration, _ error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settled = append(s.settled, x)
		},
		Changed: func(user chat.User, online bool, seen int64) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, fmt.Sprint(user, " ", online, " ", seen))
		},
	}
}

func (s *sessions) add(x presence.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, x)
}

func (s *sessions) isSettled(x presence.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.settled, x)
}

func (s *sessions) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

// impatient makes the time limit short, as a test that waits for it wants it.
func impatient(o *Options) { o.Timeout = 200 * time.Millisecond }

// failUntilOpen calls until the breaker is open: no call may succeed, and none
// but the first few may have been made.
func failUntilOpen(t *testing.T, d *Directory) {
	t.Helper()
	for range maxFailures {
		if _, err := d.Where(t.Context(), []chat.User{"bob"}); !errors.Is(err, presence.ErrUnavailable) {
			t.Fatalf("a dead server told where bob is: %v", err)
		}
	}
	presencetest.Eventually(t, "the breaker opens", d.BreakerOpen)
	rejected := d.Stats.Rejected.Load()
	for range 1000 {
		if _, err := d.Where(t.Context(), []chat.User{"bob"}); !errors.Is(err, presence.ErrUnavailable) {
			t.Fatalf("a dead server told where bob is: %v", err)
		}
	}
	if n := d.Stats.Rejected.Load() - rejected; n < 1000 {
		t.Errorf("of 1000 calls of a dead server %d were made", 1000-n)
	}
	if d.Health() == nil {
		t.Error("healthy without a server")
	}
}

func TestServerDiesAndComesBack(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	b.change = func(o *Options) { impatient(o); o.Lease = time.Hour }
	var s sessions
	g, p := b.join(t, "g1", s.handler()), b.join(t, "", presence.Handler{})
	old := session("ann", phone, 1)
	s.add(old)
	register(t, g, "ann", 1)
	before, _ := g.Self()

	server.Kill()
	failUntilOpen(t, p)
	failUntilOpen(t, g)              // it has noticed too, and so doubts its lease
	late := session("bob", phone, 2) // comes while it is dead
	s.add(late)
	if _, err := g.Register(t.Context(), late); !errors.Is(err, presence.ErrUnavailable) {
		t.Errorf("registered at a dead server: %v", err)
	}
	server.Restart() // with nothing in it

	healthy(t, g)
	healthy(t, p)
	presencetest.Eventually(t, "a new epoch, as the server lost everything", func() bool {
		after, held := g.Self()
		return held && after.Epoch > before.Epoch
	})
	presencetest.Eventually(t, "both are found", func() bool { return at(t, p, "ann") == 1 && at(t, p, "bob") == 1 })
	if !s.isSettled(old) || !s.isSettled(late) {
		t.Error("who is found is not settled")
	}
}

func TestServerStalls(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	b.change = impatient
	var s sessions
	g, p := b.join(t, "g1", s.handler()), b.join(t, "", presence.Handler{})
	gone, stays := session("gone", phone, 1), session("stays", phone, 1)
	s.add(stays)
	register(t, g, "gone", 1)
	register(t, g, "stays", 1)

	server.Pause()
	if _, err := g.Unregister(t.Context(), gone, 5); !errors.Is(err, presence.ErrUnavailable) {
		t.Errorf("unregistered at a server that stands still: %v", err)
	}
	failUntilOpen(t, p)
	presencetest.Eventually(t, "the lease is lost", func() bool { _, held := g.Self(); return !held })
	server.Resume()

	healthy(t, g)
	healthy(t, p)
	presencetest.Eventually(t, "what was missed is done", func() bool {
		found, err := p.Where(t.Context(), []chat.User{"gone", "stays"})
		return err == nil && len(found[0]) == 0 && len(found[1]) == 1
	})
	if server.Pid() == 0 {
		t.Error("no server")
	}
}

// TestMissedCalls holds that what could not be said is said later, though the
// lease never ended: calls that an open breaker refuses never reach the server.
func TestMissedCalls(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	b.change = func(o *Options) { impatient(o); o.Lease = time.Hour }
	var s sessions
	g, p := b.join(t, "g1", s.handler()), b.join(t, "", presence.Handler{})
	register(t, g, "bob", 1)
	register(t, g, "ann", 1)
	server.Pause()
	failUntilOpen(t, g)
	late := session("eve", phone, 7)
	for _, x := range []presence.Session{late, session("ann", phone, 2)} {
		if _, err := g.Register(t.Context(), x); err == nil {
			t.Error("registered at a server that stands still")
		}
	}
	for _, x := range []presence.Session{session("bob", phone, 1), session("ann", phone, 2), session("ann", phone, 1)} {
		if _, err := g.Unregister(t.Context(), x, 5); err == nil {
			t.Error("unregistered at a server that stands still")
		}
	}
	server.Resume()
	presencetest.Eventually(t, "eve registered", func() bool { return s.isSettled(late) })
	presencetest.Eventually(t, "eve is here alone", func() bool {
		found, err := p.Where(t.Context(), []chat.User{"bob", "eve", "ann"})
		return err == nil && len(found[0]) == 0 && len(found[1]) == 1 && len(found[2]) == 0
	})
	if n := g.Stats.LeasesLost.Load(); n != 0 {
		t.Errorf("%d leases lost", n)
	}
}

func TestPending(t *testing.T) {
	var p pending
	p.init(2)
	older, newer := session("bob", phone, 1), session("bob", phone, 2)
	put := func(o op, want bool) {
		t.Helper()
		if p.put(o) != want {
			t.Errorf("%+v was taken %v", o, !want)
		}
	}
	put(op{session: newer}, true)
	put(op{session: older, gone: true}, true) // is for nothing: the newer one overwrites it
	if o := p.ops[device{"bob", phone}]; o.session != newer {
		t.Errorf("%+v took the place of a newer one", o)
	}
	put(op{session: session("ann", phone, 1)}, true)
	put(op{session: session("eve", phone, 1)}, false)
	put(op{session: newer, gone: true}, true) // of a device that has its place
	p.drop(older)
	p.drop(session("ann", phone, 1))
	ops, walk := p.take(9)
	if len(ops) != 1 || ops[0] != (op{session: newer, gone: true}) || walk {
		t.Errorf("%+v is pending, walk %v", ops, walk)
	}
	p.walkAgain()
	put(op{session: newer}, true)
	if ops, walk := p.take(9); len(ops) != 0 || !walk {
		t.Errorf("%+v goes before the walk", ops)
	}
}

// TestPendingOverflows crosses Options.Pending: what cannot be kept is done by
// a new epoch, in which all are registered again.
func TestPendingOverflows(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	b.change = func(o *Options) { impatient(o); o.Lease = time.Hour; o.Pending = 1 }
	var s sessions
	g, p := b.join(t, "g1", s.handler()), b.join(t, "", presence.Handler{})
	s.add(session("stays", phone, 1))
	for _, user := range []chat.User{"a", "b", "c", "stays"} {
		register(t, g, user, 1)
	}
	server.Pause()
	for _, user := range []chat.User{"a", "b", "c"} {
		if _, err := g.Unregister(t.Context(), session(user, phone, 1), 5); err == nil {
			t.Error("unregistered at a server that stands still")
		}
	}
	late := session("late", phone, 1)
	s.add(late)
	if _, err := g.Register(t.Context(), late); err == nil {
		t.Error("registered at a server that stands still")
	}
	if g.Stats.Overflows.Load() == 0 {
		t.Error("four failed calls had one place, and none overflowed")
	}
	server.Resume()
	presencetest.Eventually(t, "a new epoch", func() bool { return g.Stats.LeasesTaken.Load() == 2 })
	presencetest.Eventually(t, "those who are here alone", func() bool {
		found, err := p.Where(t.Context(), []chat.User{"a", "b", "c", "stays", "late"})
		return err == nil && len(found[0])+len(found[1])+len(found[2]) == 0 && len(found[3]) == 1 && len(found[4]) == 1
	})
}

// TestStartsBeforeTheServer holds that a directory waits for its server.
func TestStartsBeforeTheServer(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	server.Kill()
	var s sessions
	d, err := Open(b.options("g1", s.handler()))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Watch("bob")
	early := session("bob", phone, 1)
	s.add(early)
	if _, err := d.Register(t.Context(), early); !errors.Is(err, presence.ErrUnavailable) {
		t.Errorf("registered without a server: %v", err)
	}
	presencetest.Eventually(t, "what is wrong", func() bool {
		err := d.Health()
		return err != nil && strings.Contains(err.Error(), server.Address) && strings.Contains(err.Error(), "refused")
	})
	server.Restart()
	healthy(t, d)
	presencetest.Eventually(t, "registered", func() bool { return s.isSettled(early) })
	presencetest.Eventually(t, "heard", func() bool { return slices.Contains(s.heard(), "bob true 0") })
}

// TestClosesWithoutTheServer holds that a stop waits for nobody: goleak sees
// what is left.
func TestClosesWithoutTheServer(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	b.change = impatient
	g := b.join(t, "g1", presence.Handler{})
	g.Watch("bob")
	register(t, g, "bob", 1)
	server.Pause()
	defer server.Resume()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { _, _ = g.Where(t.Context(), []chat.User{"ann"}) })
	}
	wg.Wait()
	g.Close()
	if _, err := g.Where(t.Context(), []chat.User{"ann"}); !errors.Is(err, presence.ErrUnavailable) {
		t.Errorf("closed, and answers: %v", err)
	}
}

// TestGap holds that what was not heard is read: an entry is changed so that
// nobody is told, and then the listeners' connections are cut.
func TestGap(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	var s sessions
	g, w := b.join(t, "g1", presence.Handler{}), b.join(t, "", s.handler())
	register(t, g, "ann", 1)
	w.Watch("ann")
	w.Watch("bob")
	presencetest.Eventually(t, "both known", func() bool { return len(s.heard()) == 2 })
	self, _ := g.Self()
	b.do(t, "DEL", w.keys.user("ann"))
	b.do(t, "HSET", w.keys.user("bob"), field(phone), entry{1, self.Epoch, "g1"}.String())
	if got := s.heard(); len(got) != 2 {
		t.Fatalf("heard %q of what nobody said", got)
	}
	here, away := chat.User("bob"), chat.User("ann")
	for round := range 3 {
		b.admin(t, "CLIENT", "KILL", "TYPE", "pubsub")
		presencetest.Eventually(t, "what was missed", func() bool { return len(s.heard()) == 2*round+4 })
		got := s.heard()[2*round+2:]
		for _, want := range []string{string(here) + " true 0", string(away) + " false 0"} {
			if !slices.Contains(got, want) {
				t.Errorf("told %q, and not %q", got, want)
			}
		}
		if int(w.Stats.Gaps.Load()) <= round {
			t.Errorf("%d gaps after %d", w.Stats.Gaps.Load(), round+1)
		}
		here, away = away, here
		b.do(t, "DEL", w.keys.user(away))
		b.do(t, "HSET", w.keys.user(here), field(phone), entry{1, self.Epoch, "g1"}.String())
	}
}

// TestConnectionsCut holds that a cut connection loses what was cached over it.
func TestConnectionsCut(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	g, p := b.join(t, "g1", presence.Handler{}), b.join(t, "", presence.Handler{})
	register(t, g, "bob", 1)
	if at(t, p, "bob") != 1 {
		t.Fatal("bob is not here")
	}
	b.do(t, "DEL", p.keys.user("bob"))
	b.admin(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	presencetest.Eventually(t, "bob is gone", func() bool {
		found, err := p.Where(t.Context(), []chat.User{"bob"})
		return err == nil && len(found[0]) == 0
	})
}

// TestCallsAreBounded crosses maxCalls.
func TestCallsAreBounded(t *testing.T) {
	var stats Stats
	g := newGuard(time.Minute, &stats)
	var none rueidis.Client
	g.client.Store(&none)
	g.mend()
	hold := make(chan struct{})
	var wg sync.WaitGroup
	for range maxCalls {
		wg.Go(func() {
			if _, err := call(t.Context(), g, func(rueidis.Client) (int, error) { <-hold; return 0, nil }); err != nil {
				t.Error(err)
			}
		})
	}
	presencetest.Eventually(t, "all are under way", func() bool { return len(g.slots) == maxCalls })
	if _, err := call(t.Context(), g, func(rueidis.Client) (int, error) { return 0, nil }); !errors.Is(err, errBusy) {
		t.Errorf("one more: %v", err)
	}
	close(hold)
	wg.Wait()
	g.drain()
}

// TestOneNameTwice holds that of two processes with one name the later one is
// the gateway, and that they do not take it from each other.
func TestOneNameTwice(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	first := b.join(t, "g1", presence.Handler{})
	second := b.join(t, "g1", presence.Handler{})
	presencetest.Eventually(t, "the first says so", func() bool {
		err := first.Health()
		return err != nil && strings.Contains(err.Error(), "another process holds the lease of gateway g1")
	})
	if _, held := second.Self(); !held {
		t.Error("the later one does not hold the lease")
	}
	if n := second.Stats.LeasesLost.Load(); n != 0 {
		t.Errorf("the later one lost it %d times", n)
	}
	second.Close()
	healthy(t, first)
}

func TestCacheIsUsed(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	b.change = func(o *Options) { o.Lease = time.Hour }
	g, p := b.join(t, "g1", presence.Handler{}), b.join(t, "", presence.Handler{})
	register(t, g, "bob", 1)
	at(t, p, "bob")
	misses := p.Stats.Misses.Load()
	for range 10 {
		at(t, p, "bob")
	}
	if hits := p.Stats.CacheHits.Load(); hits != 10 || p.Stats.Misses.Load() != misses {
		t.Errorf("of 10 questions %d were answered here, %d asked", hits, p.Stats.Misses.Load()-misses)
	}
	for range 10 {
		at(t, p, "nobody")
	}
	if n := p.Stats.Misses.Load() - misses; n != 10 {
		t.Errorf("of 10 questions for who is nowhere %d were asked", n)
	}
}

// TestStaleEntriesGo holds that entries of a gateway that is gone are removed
// by whoever meets them.
func TestStaleEntriesGo(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	g, p := b.join(t, "g1", presence.Handler{}), b.join(t, "", presence.Handler{})
	register(t, g, "bob", 1)
	if ttl := b.do(t, "PTTL", p.keys.user("bob")); strings.HasPrefix(ttl, "-") {
		t.Errorf("an entry is kept for ever: %s", ttl)
	}
	b.Vanish(t, g)
	presencetest.Eventually(t, "the entry is removed", func() bool {
		at(t, p, "bob")
		return b.do(t, "EXISTS", p.keys.user("bob")) == "0"
	})
	presencetest.Eventually(t, "and counted", func() bool { return p.Stats.Cleaned.Load() == 1 })
}

// TestEntriesAreRenewed holds that a session outlives Options.Keep.
func TestEntriesAreRenewed(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	b.change = func(o *Options) { o.Keep = 10 * time.Second }
	var s sessions
	s.add(session("bob", phone, 1))
	g := b.join(t, "g1", s.handler())
	presencetest.Eventually(t, "the first walk", func() bool { return s.isSettled(session("bob", phone, 1)) })
	key := g.keys.user("bob")
	b.do(t, "PEXPIRE", key, "1000000") // so that renewing is seen
	presencetest.Eventually(t, "the entry is renewed", func() bool {
		return len(b.do(t, "PTTL", key)) == len("9999")
	})
}

// TestNobodyWaitsLonger holds that a caller's wait ends with the time limit,
// or with its context, whatever the driver does.
func TestNobodyWaitsLonger(t *testing.T) {
	var stats Stats
	g := newGuard(time.Millisecond, &stats)
	var none rueidis.Client
	g.client.Store(&none)
	hold := make(chan struct{})
	stuck := func(rueidis.Client) (int, error) { <-hold; return 0, nil }
	for i := range maxFailures {
		g.open.Store(false)
		if _, err := call(t.Context(), g, stuck); !errors.Is(err, errTimeout) {
			t.Errorf("call %d that is stuck: %v", i, err)
		}
	}
	if g.health() == nil {
		t.Error("the breaker is closed")
	}
	if _, err := call(t.Context(), g, stuck); !errors.Is(err, errTimeout) || stats.Rejected.Load() != 1 {
		t.Errorf("a call of an open breaker: %v, %d rejected", err, stats.Rejected.Load())
	}
	g.mend()
	g.timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := call(ctx, g, stuck); !errors.Is(err, context.Canceled) || g.failures.Load() != 0 {
		t.Errorf("a caller that went: %v, %d failures", err, g.failures.Load())
	}
	close(hold)
	g.drain()
}

// TestLateWriteOfAnEarlierEpoch holds that a registration that was long on its
// way does not undo the one of the next epoch.
func TestLateWriteOfAnEarlierEpoch(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	g := b.join(t, "g1", presence.Handler{})
	register(t, g, "bob", 1)
	self, _ := g.Self()
	c := *g.guard.client.Load()
	if _, newer, err := g.enter(c, session("bob", phone, 1), entry{1, self.Epoch - 1, "g1"}, ""); err != nil || newer != "" {
		t.Errorf("an earlier epoch's write: %q, %v", newer, err)
	}
	if at(t, g, "bob") != 1 {
		t.Error("bob is nowhere")
	}
}

// TestDeniedAtOnce holds that two denials of one moment are as one.
func TestDeniedAtOnce(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	g := b.join(t, "g1", presence.Handler{})
	self, _ := g.Self()
	register(t, g, "bob", 1)
	register(t, g, "ann", 1)
	g.Forget("bob", self)
	g.Forget("bob", self)
	presencetest.Eventually(t, "ann forgotten", func() bool { g.Forget("ann", self); return at(t, g, "ann") == 0 })
	if at(t, g, "bob") != 1 {
		t.Error("bob is forgotten")
	}
}

// TestLeaseIsGivenBack holds that nobody waits for a lease of one who closed,
// and that a lease in doubt is not held.
func TestLeaseIsGivenBack(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	b.change = func(o *Options) { o.Lease = time.Hour }
	g := b.join(t, "g1", presence.Handler{})
	g.doubtLease()
	if _, held := g.Self(); held || g.Health() == nil {
		t.Error("a lease in doubt is held")
	}
	signal(g.lease.wake)
	healthy(t, g)
	key := g.keys.lease("g1")
	if b.do(t, "EXISTS", key) != "1" {
		t.Error("no lease is there")
	}
	g.Close()
	if b.do(t, "EXISTS", key) != "0" {
		t.Error("the lease is there after the end")
	}
}
