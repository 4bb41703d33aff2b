package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// others is a directory, the links to other gateways and the store of a user
// with two devices, which note what they are asked in order.
type others struct {
	emptyStore

	mu       sync.Mutex
	news     chan struct{} // closed and made anew at every call
	calls    []string
	now      presence.Session // what was registered last
	answer   presence.Registration
	register error
	where    error
	siblings error
	last     bool
	revoked  bool // the device d was
	devices  int
	cursor   chat.Position
	head     chat.Position
	headErr  error
	asked    []int // users in each look at heads
}

// directory is them as a presence.Directory.
type directory struct{ *others }

func (directory) Forget(chat.User, presence.Gateway)                   {}
func (directory) Gateways(context.Context) ([]presence.Gateway, error) { return nil, nil }
func (directory) Health() error                                        { return nil }
func (directory) Close()                                               {}

var otherGateway = presence.Gateway{ID: "other", Epoch: 1, Address: "x:1"}

func newOthers() *others { return &others{news: make(chan struct{}), devices: 1} }

func (o *others) note(format string, args ...any) {
	o.calls = append(o.calls, fmt.Sprintf(format, args...))
	close(o.news)
	o.news = make(chan struct{})
}

// await waits until a call was made so often.
func (o *others) await(t *testing.T, call string, times int) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		o.mu.Lock()
		n, news := 0, o.news
		for _, c := range o.calls {
			if c == call {
				n++
			}
		}
		calls := slices.Clone(o.calls)
		o.mu.Unlock()
		if n >= times {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("%d times %q in %q", n, call, calls)
		}
	}
}

func (o *others) made() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.calls)
}

func (o *others) Self() (presence.Gateway, bool) { return presence.Gateway{ID: "self"}, true }

func (o *others) Register(_ context.Context, s presence.Session) (presence.Registration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = s
	o.note("register")
	return o.answer, o.register
}

func (o *others) Unregister(_ context.Context, s presence.Session, seen int64) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("unregister, seen %v, the same %v", seen > 0, s == o.now)
	return o.last, nil
}

func (o *others) UnregisterLater(s presence.Session, seen int64) {
	o.Unregister(context.Background(), s, seen)
}

func (o *others) Where(_ context.Context, users []chat.User) ([][]presence.Gateway, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return [][]presence.Gateway{{{ID: "self"}, otherGateway}}, o.where
}

func (o *others) Watch(user chat.User) (bool, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("watch %s", user)
	return user == "user1", true
}

func (o *others) Unwatch(user chat.User) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("unwatch %s", user)
}

func (o *others) Replaced(to presence.Gateway, s presence.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("replaced at %s, the same %v", to.ID, s == o.now)
}

func (o *others) Typing(to presence.Gateway, from, user chat.User, on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("typing at %s from %s to %s %v", to.ID, from, user, on)
}

func (o *others) Siblings(_ context.Context, to presence.Gateway, user chat.User) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("siblings at %s", to.ID)
	return o.siblings
}

func (o *others) Revoked(_ context.Context, to presence.Gateway, user chat.User, device chat.Device) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("revoked %s of %s at %s", device, user, to.ID)
	return o.siblings
}

func (o *others) Devices(context.Context, chat.User) ([]storage.Device, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := []storage.Device{{Name: "d", Cursor: o.cursor}, {Name: "e"}}[:o.devices]
	if o.revoked {
		known[0].Revoked = 1
	}
	return known, nil
}

func (o *others) RevokeDevice(_ context.Context, _ chat.User, _ chat.Device, at int64) (bool, error) {
	return at > 0, nil
}

func (o *others) Inbox(_ context.Context, _ chat.User, _, upTo chat.Position, _ int, _ int64, dst []chat.Entry) ([]chat.Entry, chat.Position, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("inbox")
	return dst, upTo, nil
}

func (o *others) Heads(_ context.Context, users []chat.User, dst []chat.Position) ([]chat.Position, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, len(users))
	o.note("heads")
	for range users {
		dst = append(dst, o.head)
	}
	return dst, o.headErr
}

func (o *others) PutLastSeen(context.Context, chat.User, int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note("last seen")
	return nil
}

func (o *others) HasChat(context.Context, chat.User, chat.User) (bool, error) { return true, nil }
func (o *others) LastSeen(context.Context, chat.User) (int64, error)          { return 5, nil }

func (o *others) Member(context.Context, chat.User, chat.User) (m storage.Member, err error) {
	return m, nil
}

func (o *others) Members(_ context.Context, _, _ chat.User, _ int, dst []storage.Member) ([]storage.Member, error) {
	return dst, nil
}

func (o *others) registered() presence.Session {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *others) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

// session is one at a gateway that has others beside it; 100 is applied.
func (o *others) session(t *testing.T, change func(*Options)) *resumed {
	t.Helper()
	opt := DefaultOptions()
	opt.Logger = slog.New(slog.DiscardHandler)
	opt.Verify = func(string) (Identity, error) {
		return Identity{User: "alice", Expires: time.Now().Add(time.Hour)}, nil
	}
	opt.Elsewhere = &Elsewhere{Directory: directory{o}, Links: o}
	if change != nil {
		change(&opt)
	}
	g, err := New(opt, &instantLog{next: 1000}, o, storedUpTo{applied: 100}, presence.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(engine.Options{Listen: "127.0.0.1:0", Loops: 1, Logger: opt.Logger}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Stop(context.Background())
		g.Close()
	})
	s := &resumed{oneSession: hello(t, e.Addr(), "d", 10)}
	s.gw = g
	if err := s.net.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return s
}

// live is a session that has caught up.
func (o *others) live(t *testing.T, change func(*Options)) *resumed {
	t.Helper()
	s := o.session(t, change)
	s.until(packet.TypeCaughtUp)
	return s
}

// bye returns with what a session ends.
func (s *resumed) bye() chat.Code {
	s.t.Helper()
	for {
		if p := s.next(); p.Type == packet.TypeBye {
			var b packet.Bye
			if err := b.Decode(p); err != nil {
				s.t.Fatal(err)
			}
			return b.Code
		}
	}
}

// beat is a heartbeat.
func (s *resumed) beat() {
	for _, ref := range s.gw.presence.Lookup([]byte("alice"), nil) {
		s.gw.post(ref, func(x *session) { s.gw.Deadline(x.conn) })
	}
}

// The directory is asked before the inbox is (law 6), and whether it answers or
// not the session goes on.
func TestRegisteredBeforeTheInboxIsRead(t *testing.T) {
	for _, err := range []error{nil, presence.ErrUnavailable} {
		o := newOthers()
		o.register = err
		o.live(t, nil)
		if got := o.made(); !reflect.DeepEqual(got, []string{"register", "inbox"}) {
			t.Errorf("%v: %q", err, got)
		}
	}
}

// A session whose registration comes late looks for what found nobody
// meanwhile; one that has gone is taken out again.
func TestSettledLater(t *testing.T) {
	o := newOthers()
	o.register, o.head = presence.ErrUnavailable, 50
	s := o.live(t, nil)
	here := o.registered()
	o.set(func() { o.head = 100 }) // it stands there
	s.gw.Handler().Settled(here, presence.Registration{}, nil)
	o.await(t, "heads", 1)
	o.set(func() { o.head = 200 })
	s.gw.Handler().Settled(here, presence.Registration{Replaced: presence.Location{Gateway: otherGateway, Session: 3}}, nil)
	s.until(packet.TypeCaughtUp)
	o.await(t, "replaced at other, the same true", 1)
	gone := here
	gone.Number--
	s.gw.Handler().Settled(gone, presence.Registration{}, nil)
	o.await(t, "unregister, seen false, the same false", 1)
	s.gw.Handler().Settled(here, presence.Registration{}, presence.ErrSuperseded)
	if got := s.bye(); got != chat.CodeReplaced {
		t.Errorf("superseded later: %v", got)
	}
}

// A session that finds a newer one elsewhere ends; its client may try again.
func TestSuperseded(t *testing.T) {
	o := newOthers()
	o.register = presence.ErrSuperseded
	s := o.session(t, nil)
	if got := s.bye(); got != chat.CodeReplaced && got != chat.CodeUnavailable {
		t.Errorf("superseded: %v", got)
	}
	o.await(t, "unregister, seen false, the same true", 1)
	if refs := s.gw.presence.Lookup([]byte("alice"), nil); len(refs) > 0 {
		t.Errorf("%d sessions left in presence", len(refs))
	}
}

func TestTakeover(t *testing.T) {
	o := newOthers()
	o.answer.Replaced = presence.Location{Gateway: otherGateway, Session: 7}
	s := o.live(t, nil)
	o.await(t, "replaced at other, the same true", 1)
	now := o.registered()
	older, equal, newer, others := now, now, now, now
	older.Number--
	others.Node[0]++
	others.Number += 10
	newer.Number++
	for _, x := range []presence.Session{older, equal, others} {
		s.gw.Replace(x)
	}
	s.put(&packet.Ping{})
	if got := s.until(packet.TypePong); got[packet.TypeBye] > 0 {
		t.Error("it ended for a session that is not newer, or of another device")
	}
	s.gw.Replace(newer)
	if got := s.bye(); got != chat.CodeReplaced {
		t.Errorf("a newer one elsewhere: %v", got)
	}
}

// Only what is elsewhere is told elsewhere.
func TestTakeoverHere(t *testing.T) {
	o := newOthers()
	o.answer.Replaced = presence.Location{Gateway: presence.Gateway{ID: "self"}, Session: 7}
	o.live(t, nil)
	if got := o.made(); !reflect.DeepEqual(got, []string{"register", "inbox"}) {
		t.Errorf("%q", got)
	}
}

// The user's sessions elsewhere send copies before a new device has its welcome.
// Where they cannot be told it has to wait; a device that they know need not.
func TestSiblingsElsewhere(t *testing.T) {
	away := errors.New("away")
	for _, c := range []struct {
		cursor          chat.Position
		where, siblings error
		told, welcome   bool
	}{
		{0, nil, nil, true, true},
		{0, away, nil, false, false},
		{0, nil, away, true, false},
		{5, away, away, false, true},
	} {
		o := newOthers()
		o.devices, o.cursor, o.where, o.siblings = 2, c.cursor, c.where, c.siblings
		s := o.session(t, nil)
		first := s.next()
		if welcome := first.Type == packet.TypeWelcome; welcome != c.welcome {
			t.Errorf("%+v: %v", c, first.Type)
		}
		if told := slices.Contains(o.made(), "siblings at other"); told != c.told {
			t.Errorf("%+v: %q", c, o.made())
		}
		if !c.welcome {
			var b packet.Bye
			if err := b.Decode(first); err != nil || b.Code != chat.CodeUnavailable || b.Retry == 0 {
				t.Errorf("%+v: %+v, %v", c, b, err)
			}
			o.await(t, "unregister, seen false, the same true", 1)
		}
	}
}

func TestTypingElsewhere(t *testing.T) {
	o := newOthers()
	s := o.live(t, nil)
	s.put(&packet.Typing{Peer: []byte("bob"), On: true})
	o.await(t, "typing at other from alice to bob true", 1)
	s.gw.Typing("bob", "alice", true)
	var p packet.TypingFrom
	if err := p.Decode(s.next()); err != nil || string(p.Peer) != "bob" || !p.On {
		t.Errorf("%+v, %v", p, err)
	}
}

// Each watch that the directory was asked for is given back, and who asks again
// hears of who is elsewhere again.
func TestWatchesElsewhereAreBalanced(t *testing.T) {
	o := newOthers()
	s := o.live(t, nil)
	for range 2 { // the second time they are known
		s.put(&packet.Watch{Req: 1, Users: names(0, 3)})
		for range 3 {
			var p packet.Presence
			if err := p.Decode(s.next()); err != nil || p.Online != (p.Peer == "user1") || p.Online == (p.Seen > 0) {
				t.Errorf("%+v, %v", p, err)
			}
		}
	}
	s.put(&packet.Unwatch{Users: names(0, 1)}, &packet.Unwatch{Users: names(0, 1)}, &packet.Unwatch{Users: names(7, 8)})
	o.await(t, "unwatch user0", 1)
	s.net.Close()
	o.await(t, "unregister, seen true, the same true", 1)
	count := map[string]int{}
	for _, c := range o.made() {
		count[c]++
	}
	for _, user := range names(0, 3) {
		if count["watch "+user] == 0 || count["unwatch "+user] != count["watch "+user] {
			t.Errorf("%s: watched %d times, unwatched %d", user, count["watch "+user], count["unwatch "+user])
		}
	}
	if count["unwatch user7"] != 0 {
		t.Error("unwatched, and was never watched")
	}
}

// Only the user's last session anywhere says when it was last seen.
func TestLastSeenIsOfTheLast(t *testing.T) {
	for _, last := range []bool{false, true} {
		o := newOthers()
		o.last = last
		s := o.live(t, func(opt *Options) { opt.Workers = 1 })
		s.net.Close()
		o.await(t, "unregister, seen true, the same true", 1)
		if last {
			o.await(t, "last seen", 1)
		}
		settled := make(chan struct{}) // the one worker has done what it was at
		s.gw.jobs.try(func() { close(settled) })
		<-settled
		if got := slices.Contains(o.made(), "last seen"); got != last {
			t.Errorf("last %v: last seen was written: %v", last, got)
		}
	}
}

// A hint that was lost is found at the heartbeat, however often the store fails
// meanwhile.
func TestAuditFindsALostHint(t *testing.T) {
	o := newOthers()
	o.head, o.headErr = 500, errors.New("away")
	s := o.live(t, nil)
	s.beat()
	o.await(t, "heads", 1)
	o.set(func() { o.headErr = nil })
	s.beat()
	s.until(packet.TypeCaughtUp)
	if s.gw.Stats.AuditBehind.Load() == 0 || s.gw.Stats.FellBehind.Load() == 0 {
		t.Error("it caught up, and nobody knows why")
	}
}

// A head above what is applied stays there while its owner is away: a look at
// the inbox a heartbeat is all that it may cost.
func TestAuditDoesNotSpin(t *testing.T) {
	o := newOthers()
	o.head = 500 // applied is 100
	s := o.live(t, nil)
	for n := range 3 {
		s.beat()
		o.await(t, "heads", n+1)
		s.until(packet.TypeCaughtUp)
	}
	s.put(&packet.Ping{}) // what it would have begun to read is noted when it is answered
	if got := s.until(packet.TypePong); got[packet.TypeCaughtUp] > 0 {
		t.Error("it goes on reading")
	}
	if got := o.made(); !slices.Equal(got, []string{"register", "inbox", "heads", "inbox", "heads", "inbox", "heads", "inbox"}) {
		t.Errorf("%q", got)
	}
}

// Alone, a gateway audits nothing: its owners are here, and lose no hint.
func TestNoAuditAlone(t *testing.T) {
	o := newOthers()
	s := o.live(t, func(opt *Options) { opt.Elsewhere = nil })
	s.beat()
	s.put(&packet.Ping{})
	s.until(packet.TypePong)
	if got := o.made(); slices.Contains(got, "heads") || slices.Contains(got, "register") {
		t.Errorf("%q", got)
	}
}

// Sessions are looked at by batches of a bounded size.
func TestAuditsAreBatched(t *testing.T) {
	o := newOthers()
	s := o.live(t, nil)
	const n = 2*auditUsers + 7
	ref := s.gw.presence.Lookup([]byte("alice"), nil)[0]
	s.gw.post(ref, func(x *session) {
		for range n {
			s.gw.audit(x)
		}
	})
	o.await(t, "heads", 3)
	o.set(func() {
		slices.Sort(o.asked)
		if !slices.Equal(o.asked, []int{7, auditUsers, auditUsers}) {
			t.Errorf("asked for %v", o.asked)
		}
	})
}

// What the directory has to register again is every session, and only those
// that are left.
func TestSessionsAreYielded(t *testing.T) {
	o := newOthers()
	s := o.live(t, nil)
	var got []presence.Session
	s.gw.Handler().Sessions(func(x presence.Session) bool { got = append(got, x); return true })
	if now := o.registered(); !reflect.DeepEqual(got, []presence.Session{now}) {
		t.Errorf("%+v, registered was %+v", got, now)
	}
	s.net.Close()
	o.await(t, "unregister, seen true, the same true", 1)
	for range s.gw.sessions {
		t.Error("one is left")
	}
}

// A job that comes after the end is dropped: others may still tell of sessions
// while a process stops.
func TestJobsAfterTheEnd(t *testing.T) {
	w := startWorkers(2, 10)
	done := make(chan bool, 10)
	for range 5 {
		w.try(func() { done <- true })
	}
	w.stop()
	if len(done) != 5 {
		t.Errorf("%d of 5 queued jobs were done", len(done))
	}
	w.try(func() { t.Error("a job after the end") })
}
