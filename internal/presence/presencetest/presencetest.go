// Package presencetest holds the contract of presence.Directory as tests that
// every back end runs, and World, a directory in memory.
package presencetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// Backend makes directories that share what they know.
type Backend interface {
	// Join opens the directory of a process, at Address(id) if it is a
	// gateway, and "" is none. It holds its lease when Join returns.
	Join(t testing.TB, id string, h presence.Handler) presence.Directory
	// Lose makes a living gateway lose its lease.
	Lose(t testing.TB, d presence.Directory)
	// Vanish ends a process that does not give its lease back, and returns
	// when the lease has ended.
	Vanish(t testing.TB, d presence.Directory)
}

func address(id string) string { return id + ".example:7000" }

// Address is where the contract's gateways are.
func Address(id string) string { return address(id) }

// Run runs the contract. open returns an empty back end.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	for _, c := range []struct {
		name string
		f    func(f *fixture)
	}{
		{"devices", testDevices},
		{"takeover", testTakeover},
		{"where", testWhere},
		{"nowhere is never cached", testNowhere},
		{"moves are seen", testMoves},
		{"a lost lease", testLostLease},
		{"a gateway vanishes", testVanished},
		{"a later life", testLaterLife},
		{"closing", testClosing},
		{"watching", testWatching},
		{"watching who vanishes", testWatchingVanished},
		{"forgetting", testForgetting},
		{"all at once", testAtOnce},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, back: open(t), ctx: t.Context()}
			c.f(f)
		})
	}
}

func testDevices(f *fixture) {
	g := f.join("g1", presence.Handler{})
	if r := f.register(g, "bob", phone, 1); r.Replaced.Session != 0 || r.Others {
		f.Errorf("the first session found %+v", r)
	}
	if r := f.register(g, "bob", laptop, 1); r.Replaced.Session != 0 || !r.Others {
		f.Errorf("the second device found %+v", r)
	}
	if f.unregister(g, "bob", phone, 1) {
		f.Error("the first of two to go was called the last")
	}
	if !f.unregister(g, "bob", laptop, 1) {
		f.Error("the last one left and it was not noticed")
	}
	if f.unregister(g, "bob", laptop, 1) {
		f.Error("who had left was the last again")
	}
	if r := f.register(g, "bob", phone, 2); r.Replaced.Session != 0 || r.Others {
		f.Errorf("after all had left, the first found %+v", r)
	}
	// Session 3 may have failed to register; then it ends 2 as well.
	if !f.unregister(g, "bob", phone, 3) {
		f.Error("an older session outlived the newer one of its device")
	}
}

func testTakeover(f *fixture) {
	g1, g2 := f.join("g1", presence.Handler{}), f.join("g2", presence.Handler{})
	self, _ := g1.Self()
	// These numbers differ beyond what a float holds, and in their length.
	const low, high = 9_999_999_999_999_999_998, 9_999_999_999_999_999_999
	f.register(g1, "bob", phone, low)
	r := f.register(g2, "bob", phone, high)
	if want := (presence.Location{Gateway: self, Node: phone, Session: low}); r.Replaced != want || r.Others {
		f.Errorf("taking over found %+v, want %+v", r, want)
	}
	if self.Address != address("g1") {
		f.Errorf("g1 is at %q", self.Address)
	}
	for _, n := range []uint64{low, high, 5} {
		_, err := g1.Register(f.ctx, presence.Session{User: "bob", Node: phone, Number: n})
		if err != presence.ErrSuperseded {
			f.Errorf("session %d registered beside %d: %v", n, uint64(high), err)
		}
	}
	if f.unregister(g1, "bob", phone, low) || f.unregister(g1, "bob", phone, high+1) || f.unregister(g2, "bob", phone, low) || f.unregister(g1, "bob", phone, high) {
		f.Error("who was taken over took the newer one along")
	}
	f.eventuallyAt(g1, "bob", "g2")
	if r := f.register(g2, "bob", phone, high); r.Replaced.Session != 0 {
		f.Errorf("registering again replaced %+v", r.Replaced)
	}
}

func testWhere(f *fixture) {
	g1, g2, p := f.join("g1", presence.Handler{}), f.join("g2", presence.Handler{}), f.join("", presence.Handler{})
	f.register(g1, "ann", phone, 1)
	f.register(g1, "acme/ann", phone, 1)
	f.register(g1, "bob", phone, 1)
	f.register(g1, "bob", laptop, 2)
	f.register(g2, "eve", phone, 1)
	f.register(g1, "eve", laptop, 1)
	for range 3 {
		found, err := p.Where(f.ctx, []chat.User{"eve", "nobody", "ann", "bob", "acme/ann", "ann"})
		if err != nil {
			f.Fatal(err)
		}
		var got [][]string
		for _, list := range found {
			got = append(got, names(list))
		}
		if s := fmt.Sprint(got); s != "[[g1 g2] [] [g1] [g1] [g1] [g1]]" {
			f.Fatalf("found %s", s)
		}
	}
	self, held := g1.Self()
	if found, _ := p.Where(f.ctx, []chat.User{"ann"}); !held || found[0][0] != self {
		f.Errorf("ann is at %+v, and g1 is %+v", found[0][0], self)
	}
	if found, err := p.Where(f.ctx, nil); err != nil || len(found) != 0 {
		f.Errorf("nobody is at %v, %v", found, err)
	}
	if list, err := p.Gateways(f.ctx); err != nil || !slices.Equal(names(list), []string{"g1", "g2"}) {
		f.Errorf("gateways %v, %v", list, err)
	}
	if _, err := p.Register(f.ctx, presence.Session{User: "ann", Node: phone, Number: 9}); err == nil {
		f.Error("a process that is no gateway registered a session")
	}
}

// testNowhere holds that a session is found by the very next question: between
// it and its first read of the inbox a message could fall.
func testNowhere(f *fixture) {
	g, p := f.join("g1", presence.Handler{}), f.join("", presence.Handler{})
	for n := range uint64(20) {
		user := chat.User(fmt.Sprintf("user%d", n%3))
		for range 2 {
			Eventually(f, "nowhere", func() bool { return len(f.at(p, user)) == 0 })
		}
		f.register(g, user, phone, n+1)
		if got := f.at(p, user); !slices.Equal(got, []string{"g1"}) {
			f.Fatalf("round %d: at %v right after registering", n, got)
		}
		f.unregister(g, user, phone, n+1)
	}
}

func testMoves(f *fixture) {
	g1, g2, p := f.join("g1", presence.Handler{}), f.join("g2", presence.Handler{}), f.join("", presence.Handler{})
	for n := uint64(1); n < 10; n += 2 {
		f.register(g1, "bob", phone, n)
		f.eventuallyAt(p, "bob", "g1")
		f.register(g2, "bob", phone, n+1)
		f.eventuallyAt(p, "bob", "g2")
	}
	g1.UnregisterLater(presence.Session{User: "bob", Node: phone, Number: 9}, 1) // has moved
	g2.UnregisterLater(presence.Session{User: "bob", Node: phone, Number: 10}, 1)
	f.eventuallyAt(p, "bob")
}

func testLostLease(f *fixture) {
	const users = 150
	var r recorder
	g1 := f.join("g1", r.handler())
	g2, p := f.join("g2", presence.Handler{}), f.join("", presence.Handler{})
	for i := range users {
		s := presence.Session{User: chat.User(fmt.Sprintf("user%d", i)), Node: phone, Number: 10}
		r.mu.Lock()
		r.sessions = append(r.sessions, s)
		r.mu.Unlock()
		f.register(g1, s.User, s.Node, s.Number)
	}
	f.register(g2, "user0", phone, 11)
	f.eventuallyAt(p, "user0", "g2")
	f.eventuallyAt(p, "user1", "g1")
	before, _ := g1.Self()
	settled := r.count()
	f.back.Lose(f, g1)
	Eventually(f, "a new epoch", func() bool {
		now, held := g1.Self()
		return held && now.Epoch > before.Epoch
	})
	Eventually(f, "all registered again", func() bool { again, failed := r.since(settled); return again == users && failed > 0 })
	after, _ := g1.Self()
	for i := 1; i < users; i++ {
		user := chat.User(fmt.Sprintf("user%d", i))
		Eventually(f, fmt.Sprintf("%s at %v", user, after), func() bool {
			found, err := p.Where(f.ctx, []chat.User{user})
			return err == nil && len(found[0]) == 1 && found[0][0] == after
		})
	}
	if got := f.at(p, "user0"); !slices.Equal(got, []string{"g2"}) {
		f.Errorf("who had moved is at %v", got)
	}
}

func testVanished(f *fixture) {
	g1, g2, p := f.join("g1", presence.Handler{}), f.join("g2", presence.Handler{}), f.join("", presence.Handler{})
	f.register(g1, "bob", phone, 100)
	f.register(g1, "bob", laptop, 100)
	f.register(g1, "eve", phone, 100) // nobody looks for her
	f.register(g1, "ann", phone, 100)
	f.register(g2, "ann", laptop, 3)
	f.eventuallyAt(p, "ann", "g1", "g2")
	f.back.Vanish(f, g1)
	f.eventuallyAt(p, "bob")
	f.eventuallyAt(p, "ann", "g2")
	if list, err := p.Gateways(f.ctx); err != nil || !slices.Equal(names(list), []string{"g2"}) {
		f.Errorf("gateways %v, %v", list, err)
	}
	// Its sessions are as if absent, however new they were.
	if r := f.register(g2, "bob", phone, 50); r.Replaced.Session != 0 || r.Others {
		f.Errorf("beside a gateway that is gone: %+v", r)
	}
	if r := f.register(g2, "eve", phone, 50); r.Replaced.Session != 0 || r.Others {
		f.Errorf("beside a gateway that is gone: %+v", r)
	}
	if !f.unregister(g2, "bob", phone, 50) {
		f.Error("the last session left, but for those of a gateway that is gone")
	}
	if !f.unregister(g2, "ann", laptop, 3) {
		f.Error("the last session of ann left, but for those of a gateway that is gone")
	}
}

func testLaterLife(f *fixture) {
	g1, p := f.join("g1", presence.Handler{}), f.join("", presence.Handler{})
	f.register(g1, "bob", phone, 100)
	f.eventuallyAt(p, "bob", "g1")
	first, _ := g1.Self()
	again := f.join("g1", presence.Handler{})
	second, held := again.Self()
	if !held || second.Epoch <= first.Epoch || second.ID != first.ID {
		f.Fatalf("the later life is %+v, after %+v", second, first)
	}
	f.eventuallyAt(p, "bob")
	if r := f.register(again, "bob", phone, 7); r.Replaced.Session != 0 || r.Others {
		f.Errorf("the later life found %+v", r)
	}
	f.eventuallyAt(p, "bob", "g1")
	g1.Close() // does not take the other's lease along
	if got := f.at(p, "bob"); !slices.Equal(got, []string{"g1"}) {
		f.Errorf("at %v when the earlier life has ended", got)
	}
}

func testClosing(f *fixture) {
	g1, p := f.join("g1", presence.Handler{}), f.join("", presence.Handler{})
	f.register(g1, "bob", phone, 1)
	f.eventuallyAt(p, "bob", "g1")
	g1.Close()
	g1.Close()
	f.eventuallyAt(p, "bob")
	if list, err := p.Gateways(f.ctx); err != nil || len(list) != 0 {
		f.Errorf("gateways %v, %v", list, err)
	}
}

func testWatching(f *fixture) {
	var r recorder
	g1, g2 := f.join("g1", presence.Handler{}), f.join("g2", r.handler())
	f.register(g1, "ann", phone, 1)
	want := func(events ...string) {
		f.Helper()
		Eventually(f, fmt.Sprintf("events %q", events), func() bool { return slices.Equal(r.heard(), events) })
	}
	if _, known := g2.Watch("ann"); known {
		f.Error("ann is known before anybody asked")
	}
	want("ann true 0")
	if online, known := g2.Watch("ann"); !online || !known {
		f.Errorf("ann is online %v, known %v", online, known)
	}
	g2.Watch("bob")
	want("ann true 0", "bob false 0")
	f.register(g1, "bob", phone, 1)
	want("ann true 0", "bob false 0", "bob true 0")
	f.register(g2, "bob", laptop, 1) // no news
	f.unregister(g1, "bob", phone, 1)
	f.unregister(g2, "bob", laptop, 1)
	want("ann true 0", "bob false 0", "bob true 0", "bob false 77")
	g2.Unwatch("ann")
	f.unregister(g1, "ann", phone, 1)
	want("ann true 0", "bob false 0", "bob true 0", "bob false 77", "ann false 77")
	g2.Unwatch("ann")
	g2.Unwatch("ann")
	g2.Unwatch("nobody")
	f.register(g1, "ann", phone, 2)
	f.register(g1, "bob", phone, 2)
	want("ann true 0", "bob false 0", "bob true 0", "bob false 77", "ann false 77", "bob true 0")
	if _, known := g2.Watch("ann"); known {
		f.Error("ann is known though nobody watched")
	}
	want("ann true 0", "bob false 0", "bob true 0", "bob false 77", "ann false 77", "bob true 0", "ann true 0")
}

// testWatchingVanished holds that watchers hear of those who cannot say that
// they went.
func testWatchingVanished(f *fixture) {
	var r recorder
	g1, g2 := f.join("g1", presence.Handler{}), f.join("g2", r.handler())
	f.register(g1, "ann", phone, 1)
	f.register(g1, "bob", phone, 1)
	f.register(g2, "bob", laptop, 1)
	g2.Watch("ann")
	g2.Watch("bob")
	Eventually(f, "both online", func() bool { return len(r.heard()) == 2 })
	f.back.Vanish(f, g1)
	Eventually(f, "ann offline", func() bool { return slices.Contains(r.heard(), "ann false 0") })
	if got := r.heard(); len(got) != 3 {
		f.Errorf("heard %q", got)
	}
}

func testForgetting(f *fixture) {
	g, p := f.join("g1", presence.Handler{}), f.join("", presence.Handler{})
	self, _ := g.Self()
	f.register(g, "ann", phone, 1)
	f.register(g, "bob", phone, 1)
	f.eventuallyAt(p, "bob", "g1")
	other := self
	other.Epoch--
	p.Forget("bob", other)
	p.Forget("nobody", self)
	p.Forget("bob", self) // what a gateway said may be older than the entry
	Eventually(f, "ann forgotten", func() bool { p.Forget("ann", self); return len(f.at(p, "ann")) == 0 })
	if got := f.at(p, "bob"); !slices.Equal(got, []string{"g1"}) {
		f.Fatalf("at %v after one denial", got)
	}
	f.register(g, "ann", phone, 2)
	f.eventuallyAt(p, "ann", "g1")
}

// testAtOnce holds that of sessions which come at once the newest is left.
func testAtOnce(f *fixture) {
	const gateways, users, rounds = 3, 5, 20
	var all []presence.Directory
	for i := range gateways {
		all = append(all, f.join(fmt.Sprintf("g%d", i), presence.Handler{}))
	}
	p := f.join("", presence.Handler{})
	var wg sync.WaitGroup
	for g, d := range all {
		for u := range users {
			wg.Go(func() {
				user := chat.User(fmt.Sprintf("user%d", u))
				for i := range rounds {
					s := presence.Session{User: user, Node: phone, Number: uint64(i*gateways + (g+u)%gateways + 1)}
					if _, err := d.Register(f.ctx, s); err != nil && err != presence.ErrSuperseded {
						f.Errorf("%s: %v", user, err)
					}
					if i%3 == 0 {
						if _, err := d.Unregister(f.ctx, s, 1); err != nil {
							f.Errorf("%s: %v", user, err)
						}
					}
					if _, err := p.Where(f.ctx, []chat.User{user}); err != nil {
						f.Errorf("where: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	for u := range users {
		newest := ((gateways-1-u)%gateways + gateways) % gateways
		f.eventuallyAt(p, chat.User(fmt.Sprintf("user%d", u)), fmt.Sprintf("g%d", newest))
	}
}
