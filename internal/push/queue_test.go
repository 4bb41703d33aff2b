package push

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func TestOnePush(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.q.Offer("bob", "alice", 7)
		f.settled()
		s := f.wantSent(1)[0]
		if s.token != "t1" || s.Count != 1 || len(s.Chat) != 32 || s.after != time.Second {
			t.Errorf("%+v", s)
		}
		if p := f.store.pushed("phone"); p != 7 {
			t.Errorf("the watermark is %d", p)
		}
		f.wantDropped(nil)
	})
}

// What waits for one chat becomes one push, which stands for the newest; each
// chat has its own, and a name that tells nothing.
func TestCollapse(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.sender.takes = 50 * time.Millisecond // longer than a look-up
		for pos := chat.Position(1); pos <= 5; pos++ {
			f.q.Offer("bob", "alice", pos)
		}
		f.q.Offer("bob", "alice", 3) // a replay
		f.q.Offer("bob", "carol", 6)
		f.settled()
		calls := f.wantSent(2)
		counts := map[int]string{}
		for _, s := range calls {
			counts[s.Count] = s.Chat
			if strings.Contains(s.Chat, "alice") || strings.Contains(s.Chat, "bob") {
				t.Errorf("the chat is told as %q", s.Chat)
			}
		}
		if len(counts[5]) != 32 || len(counts[1]) != 32 || counts[5] == counts[1] {
			t.Errorf("%v", counts)
		}
		if c := f.q.Stats.Collapsed.Load(); c != 5 {
			t.Errorf("%d collapsed", c)
		}
	})
}

// A chat's name is stable, and another one for each of its users.
func TestChatNames(t *testing.T) {
	run(t, nil, func(f *fixture) {
		name := func(user, from chat.User) string {
			return f.q.chatName(&notice{key: key{user: user, from: from}})
		}
		bobs, alices, other := name("bob", "alice"), name("alice", "bob"), name("bob", "carol")
		if bobs != name("bob", "alice") || bobs == alices || bobs == other {
			t.Error(bobs, alices, other)
		}
		f.q.o.Key = []byte("another key, of 16 bytes or more")
		if bobs == name("bob", "alice") {
			t.Error("the key makes no difference")
		}
	})
}

// What comes while a push is under way has one of its own afterwards.
func TestRisesWhileAtWork(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.sender.onceA = func() {
			f.q.Offer("bob", "alice", 8)
			time.Sleep(1500 * time.Millisecond) // till it has been looked up
			f.q.Offer("bob", "alice", 9)
			time.Sleep(1500 * time.Millisecond)
		}
		f.q.Offer("bob", "alice", 7)
		f.settled()
		calls := f.wantSent(2)
		if calls[0].Count != 1 || calls[1].Count != 2 || f.store.pushed("phone") != 9 {
			t.Errorf("%+v, watermark %d", calls, f.store.pushed("phone"))
		}
	})
}

func TestBound(t *testing.T) {
	run(t, func(o *Options) { o.Entries = 3 }, func(f *fixture) {
		for i := range 5 {
			f.q.Offer("bob", chat.User(fmt.Sprint("peer", i)), chat.Position(i+1))
		}
		if w := f.q.Stats.Waiting.Load(); w != 3 {
			t.Errorf("%d wait", w)
		}
		f.q.Offer("bob", "peer0", 9) // one that waits is raised all the same
		f.wantDropped(map[Reason]uint64{Full: 2})
		if c := f.q.Stats.Collapsed.Load(); c != 1 {
			t.Errorf("%d collapsed", c)
		}
		f.settled()
	})
}

// Offer returns while every worker hangs and the table is full.
func TestOfferNeverBlocks(t *testing.T) {
	run(t, func(o *Options) { o.Entries, o.Workers, o.Lookups = 2, 1, 1 }, func(f *fixture) {
		hold := make(chan struct{})
		f.sender.hold = hold
		f.q.Offer("bob", "alice", 1)
		f.pass(2 * time.Second)
		f.wantSent(1)
		for i := range 1000 {
			f.q.Offer("bob", chat.User(fmt.Sprint("peer", i)), chat.Position(i+2))
		}
		if d := f.q.Stats.Dropped(Full); d != 998 {
			t.Errorf("%d dropped", d)
		}
		close(hold)
		f.settled()
	})
}

// A provider that hangs holds up no other, nor does it take its places.
func TestProvidersApart(t *testing.T) {
	other := &fakeSender{start: time.Now()}
	run(t, func(o *Options) { o.Workers, o.Entries, o.Timeout = 1, 2, time.Hour; o.Senders["other"] = other }, func(f *fixture) {
		hold := make(chan struct{})
		f.sender.hold = hold
		f.store.targets["tablet"] = storage.PushTarget{Device: "tablet", Provider: "other", Token: "t2"}
		f.q.Offer("bob", "alice", 1)
		f.pass(2 * time.Second)
		for i := range 3 {
			f.q.Offer("bob", chat.User(fmt.Sprint("peer", i)), chat.Position(i+2))
			f.pass(2 * time.Second)
		}
		if n := len(other.all()); n != 4 {
			t.Errorf("%d pushes to the other", n)
		}
		f.wantDropped(map[Reason]uint64{Full: 2})
		f.wantSent(1)
		close(hold)
		f.settled()
	})
}

func TestRate(t *testing.T) {
	run(t, func(o *Options) { o.Burst, o.Every, o.MaxAge = 2, 10*time.Second, 35*time.Second }, func(f *fixture) {
		for i := range 6 { // one push each, as positions rise with time
			f.q.Offer("bob", chat.User(fmt.Sprint("peer", i)), chat.Position(i+1))
			f.pass(time.Millisecond)
		}
		f.settled()
		var at []string
		for _, s := range f.sender.all() {
			at = append(at, fmt.Sprint(s.after.Round(time.Second)))
		}
		// The third to sixth wait for their places, 10 s apart; the sixth would be
		// too old.
		if got := strings.Join(at, " "); got != "1s 1s 11s 21s 31s" {
			t.Errorf("pushed at %s", got)
		}
		f.wantDropped(map[Reason]uint64{Limited: 1})
	})
}

// A place that comes too late is not taken.
func TestRateIsNotSpent(t *testing.T) {
	d, now := newDevices(time.Hour, 1, 10), time.Now()
	k := deviceKey{"bob", "phone"}
	for i, want := range []bool{true, false, false} {
		if _, ok := d.reserve(k, now, time.Minute); ok != want {
			t.Errorf("push %d: %v", i+1, ok)
		}
	}
	if wait, ok := d.reserve(k, now.Add(time.Hour), time.Minute); !ok || wait != 0 {
		t.Errorf("an hour later: %v, %v", wait, ok)
	}
}

// The table of rates is bounded, and forgets who was not seen for long.
func TestRateTableIsBounded(t *testing.T) {
	l := newDevices(time.Hour, 1, 10)
	now := time.Now()
	if _, ok := l.reserve(deviceKey{"bob", "phone"}, now, 0); !ok {
		t.Fatal("the first push has no place")
	}
	for i := range 4 {
		l.of(deviceKey{"bob", chat.Device(fmt.Sprint(i))})
	}
	if _, ok := l.reserve(deviceKey{"bob", "phone"}, now, 0); ok {
		t.Error("its rate was forgotten too early")
	}
	for i := range 100 {
		l.of(deviceKey{"bob", chat.Device(fmt.Sprint(i))})
		if n := len(l.newer) + len(l.old); n > 10 {
			t.Fatalf("%d devices are remembered", n)
		}
	}
	if _, ok := l.reserve(deviceKey{"bob", "phone"}, now, 0); !ok {
		t.Error("it was never forgotten")
	}
}

func TestDeliveredMeanwhile(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.q.Offer("bob", "alice", 7)
		f.store.set(func() { f.store.cursors["phone"] = 7 })
		f.settled()
		f.wantSent(0)
		f.wantDropped(map[Reason]uint64{Delivered: 1})
	})
}

// A device that came online is not told, whether it takes its message …
func TestOnlineMeanwhile(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.q.Offer("bob", "alice", 7)
		f.setOnline("phone", true)
		f.pass(10 * time.Second)
		f.store.set(func() { f.store.cursors["phone"] = 7 })
		f.settled()
		f.wantSent(0)
		f.wantDropped(map[Reason]uint64{Delivered: 1})
	})
}

// … or does not; but one whose connection turns out to be dead is.
func TestOnlineAndDead(t *testing.T) {
	run(t, func(o *Options) { o.Settle = 2 * time.Minute }, func(f *fixture) {
		f.setOnline("phone", true)
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.wantSent(0)
		f.wantDropped(map[Reason]uint64{Online: 1})

		f.q.Offer("bob", "alice", 8)
		f.pass(time.Minute)
		f.setOnline("phone", false)
		f.settled()
		f.wantSent(1)
	})
}

// One chat's push stands for no other's, though it is of a later message.
func TestLaterChatGoesFirst(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.sender.errs = []error{errors.New("later")}
		f.q.Offer("bob", "alice", 7)
		f.pass(100 * time.Millisecond)
		f.q.Offer("bob", "carol", 8)
		f.settled()
		calls := f.wantSent(3)
		if calls[0].Chat != calls[2].Chat || calls[1].Chat == calls[0].Chat || f.store.pushed("phone") != 8 {
			t.Errorf("%v", calls)
		}
		f.wantDropped(nil)
	})
}

// How long a device has been connected counts from its newest session.
func TestOnlineAgain(t *testing.T) {
	run(t, func(o *Options) { o.Settle = 2 * time.Minute }, func(f *fixture) {
		f.sender.errs = []error{&Later{After: 30 * time.Second, Err: errors.New("busy")}}
		f.setOnline("phone", true)
		f.q.Offer("bob", "alice", 7)
		f.pass(100 * time.Second)
		f.setOnline("phone", false)
		f.pass(20 * time.Second)
		f.wantSent(1)
		f.setOnline("phone", true)
		f.pass(time.Minute)
		f.setOnline("phone", false)
		f.settled()
		f.wantSent(2)
		f.wantDropped(nil)
	})
}

// A replay, a sender's retry and another process's push tell nothing twice.
func TestBelowTheWatermark(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.q.Offer("bob", "alice", 7)
		f.q.Offer("bob", "carol", 6)
		f.settled()
		f.wantSent(1)
		f.wantDropped(map[Reason]uint64{Pushed: 2})

		f.store.set(func() { // while it waits for its turn
			f.sender.errs = []error{errors.New("later")}
		})
		f.q.Offer("bob", "alice", 8)
		f.pass(1100 * time.Millisecond)
		f.store.set(func() {
			target := f.store.targets["phone"]
			target.Pushed = 20
			f.store.targets["phone"] = target
		})
		f.settled()
		f.wantSent(2)
		if p := f.store.pushed("phone"); p != 20 {
			t.Errorf("the watermark was lowered to %d", p)
		}
	})
}

// Nor does a process that started again and replays its log.
func TestRestart(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.q.Offer("bob", "alice", 7)
		f.settled()
		again, err := New(f.q.o, f.store)
		if err != nil {
			t.Fatal(err)
		}
		for pos := chat.Position(5); pos <= 7; pos++ {
			again.Offer("bob", "alice", pos)
		}
		again.Stop(f.t.Context())
		f.wantSent(1)
		if d := again.Stats.Dropped(Pushed); d != 1 {
			t.Errorf("%d were dropped", d)
		}
	})
}

// When the provider took it and the store did not note it, only the noting is
// tried again.
func TestWatermarkIsRetried(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.store.failPut = errStore
		f.q.Offer("bob", "alice", 7)
		f.pass(5 * time.Second)
		if f.q.Stats.Waiting.Load() != 1 {
			t.Fatal("nothing waits for the store")
		}
		f.store.set(func() { f.store.failPut = nil })
		f.settled()
		f.wantSent(1)
		if f.store.pushed("phone") != 7 {
			t.Error("not noted")
		}
	})
}

// What rises while the store is away has to have a place of its own.
func TestEachPushHasItsPlace(t *testing.T) {
	run(t, func(o *Options) { o.Burst, o.Every = 1, 10*time.Minute }, func(f *fixture) {
		f.store.failPut = errStore
		f.q.Offer("bob", "alice", 7)
		f.pass(5 * time.Second)
		f.q.Offer("bob", "alice", 8)
		f.pass(2 * time.Second)
		f.store.set(func() { f.store.failPut = nil })
		f.settled()
		calls := f.wantSent(2)
		if wait := calls[1].after - calls[0].after; wait < 9*time.Minute {
			t.Errorf("the second went out %v after the first", wait)
		}
	})
}

func TestNobodyToTell(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.store.targets = map[chat.Device]storage.PushTarget{}
		f.q.Offer("bob", "alice", 7)
		f.settled()
		f.wantDropped(map[Reason]uint64{NoTarget: 1})
		f.store.set(func() {
			f.store.targets["phone"] = storage.PushTarget{Device: "phone", Provider: "gone", Token: "t"}
		})
		f.q.Offer("bob", "alice", 8)
		f.settled()
		f.wantDropped(map[Reason]uint64{NoTarget: 1, Unknown: 1})
		f.wantSent(0)
	})
}

// The store is asked again.
func TestStoreAway(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.store.fail = errStore
		f.q.Offer("bob", "alice", 7)
		f.pass(5 * time.Second)
		f.store.set(func() { f.store.fail = nil })
		f.settled()
		f.wantSent(1)
		if f.q.Stats.Retries.Load() == 0 {
			t.Error("no retry was counted")
		}
	})
}

func TestStop(t *testing.T) {
	run(t, nil, func(f *fixture) {
		f.q.Offer("bob", "alice", 7)
		f.q.Stop(f.t.Context()) // it does not wait for the delay
		if s := f.wantSent(1)[0]; s.after != 0 {
			t.Errorf("sent after %v", s.after)
		}
		f.q.Offer("bob", "alice", 8)
		f.wantDropped(map[Reason]uint64{Stopped: 1})
	})
	run(t, nil, func(f *fixture) { // what fails is not tried for ever, nor what hangs waited for
		f.sender.errs = []error{errors.New("away")}
		f.q.Offer("bob", "alice", 7)
		f.q.Stop(f.t.Context())
		f.wantDropped(map[Reason]uint64{Stopped: 1})
	})
	run(t, nil, func(f *fixture) {
		f.sender.hold = make(chan struct{})
		f.q.Offer("bob", "alice", 7)
		f.pass(2 * time.Second)
		f.q.Offer("bob", "carol", 8)
		ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Second)
		defer cancel()
		f.q.Stop(ctx)
		f.wantDropped(map[Reason]uint64{Stopped: 2})
		if w := f.q.Stats.Waiting.Load(); w != 0 {
			t.Errorf("%d wait", w)
		}
	})
}
