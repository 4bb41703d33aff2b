package e2ee

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// victim is bob, who has read one message of alice, which is m as it came.
func victim(t *testing.T) (w *world, alice, bob *Client, m chat.Message) {
	w = newWorld(t)
	alice, bob = w.device("alice", "phone"), w.device("bob", "phone")
	w.send(alice, "bob", "pay 10")
	s := w.raw(bob, chat.SuiteKeyShare)
	w.must(bob.takeShare(w.ctx(), s, false))
	return w, alice, bob, w.raw(bob, chat.SuiteMegolm)
}

// gets gives bob a message as a server would, and returns what the app sees.
func gets(c *Client, m chat.Message) client.Event {
	e, err := c.Take(context.Background(), m, false)
	if err != nil {
		panic(err)
	}
	return e
}

func TestMessageAttacks(t *testing.T) {
	_, _, bob, m := victim(t)
	if e, ok := gets(bob, m).(client.Message); !ok || string(e.Content) != "pay 10" {
		t.Fatalf("%+v", e)
	}
	if _, ok := gets(bob, m).(client.Message); !ok {
		t.Error("the same entry again, as after a crash, was refused")
	}
	for what, c := range map[string]struct {
		change func(m *chat.Message)
		want   error
	}{
		"replayed at another place":  {func(m *chat.Message) { m.Place++ }, ErrReplayed},
		"replayed under another id":  {func(m *chat.Message) { m.ID[3]++ }, ErrReplayed},
		"moved to another chat":      {func(m *chat.Message) { m.To = "carol" }, ErrMoved},
		"a bit changed":              {func(m *chat.Message) { m.Content[len(m.Content)-80] ^= 1 }, ErrForged},
		"a signature changed":        {func(m *chat.Message) { m.Content[len(m.Content)-1] ^= 1 }, ErrForged},
		"cut off":                    {func(m *chat.Message) { m.Content = m.Content[:30] }, ErrForged},
		"an envelope cut off":        {func(m *chat.Message) { m.Content = m.Content[:10] }, errEnvelope},
		"a later version":            {func(m *chat.Message) { m.Content[0] = 2 }, errEnvelope},
		"not encrypted":              {func(m *chat.Message) { m.Suite, m.Content = chat.SuitePlain, []byte("pay 99") }, ErrPlain},
		"a share that is none":       {func(m *chat.Message) { m.Suite = chat.SuiteKeyShare }, errEnvelope},
		"of a device that never was": {func(m *chat.Message) { m.Content[18] = 'q' }, nil},
	} {
		other := m
		other.Content = bytes.Clone(m.Content)
		c.change(&other)
		e := gets(bob, other)
		if e == nil {
			e, _ = bob.Receive(t.Context())
		}
		f, ok := e.(Failed)
		if c.want == nil {
			continue // the name in the envelope is for asking alone
		}
		if !ok || !errors.Is(f.Err, c.want) || f.Message.Content != nil {
			t.Errorf("%s: %T %+v", what, e, e)
		}
	}
}

// A message that the server says is another user's finds no session of theirs,
// and is held: nothing of it is shown.
func TestMessageOfAnotherSender(t *testing.T) {
	_, _, bob, m := victim(t)
	m.From = "mallory"
	if e := gets(bob, m); e != nil || bob.Waiting() != 1 {
		t.Errorf("%+v, %d wait", e, bob.Waiting())
	}
}

// Messages that come in another order are read, and one that is left out is only
// missing.
func TestReorderedAndDropped(t *testing.T) {
	w, alice, bob, m := victim(t)
	w.send(alice, "bob", "dropped")
	w.send(alice, "bob", "third")
	w.raw(bob, chat.SuiteMegolm)
	third := w.raw(bob, chat.SuiteMegolm)
	for _, c := range []struct {
		m    chat.Message
		want string
	}{{third, "third"}, {m, "pay 10"}} {
		if e, ok := gets(bob, c.m).(client.Message); !ok || string(e.Content) != c.want {
			t.Errorf("%+v, want %s", e, c.want)
		}
	}
}

// An old share that comes again changes nothing, and one that was tampered with
// is reported.
func TestStaleAndForgedShare(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	w.send(alice, "bob", "one")
	s := w.raw(bob, chat.SuiteKeyShare)
	forged := s
	forged.Content = bytes.Clone(s.Content)
	forged.Content[len(forged.Content)-1] ^= 1
	w.must(bob.takeShare(w.ctx(), forged, false))
	if f, ok := w.next(bob).(Failed); !ok || !errors.Is(f.Err, ErrForged) {
		t.Errorf("%+v", f)
	}
	w.must(bob.takeShare(w.ctx(), s, false))
	before, err := bob.in.get("alice", alice.out["bob"].id())
	w.must(err)
	w.must(bob.takeShare(w.ctx(), s, false))
	if after, _ := bob.in.get("alice", alice.out["bob"].id()); after != before || before == nil || len(bob.ready) != 0 {
		t.Errorf("it changed something: %+v", bob.ready)
	}
	w.reads(bob, "one")
	// As another user's, whom bob does not know.
	s.From = "mallory"
	w.must(bob.takeShare(w.ctx(), s, false))
	if f, ok := w.next(bob).(Failed); !ok || !errors.Is(f.Err, ErrForged) {
		t.Errorf("%+v", f)
	}
}

// Messages that nobody has a key of are held, however many come of one, within a
// bound; who sends most loses the oldest, visibly, and what others sent waits on.
func TestHeldFromStrangers(t *testing.T) {
	w := newWorld(t)
	const held = 8
	bob := w.device("bob", "phone", func(o *Options) { o.Held = held })
	alice := w.device("alice", "phone")
	w.send(alice, "bob", "the walrus")
	w.raw(bob, chat.SuiteKeyShare) // and forgotten
	if e := gets(bob, w.raw(bob, chat.SuiteMegolm)); e != nil {
		t.Fatalf("%+v", e)
	}
	for i := range 5 * held {
		s := sealed{session: sessionID{1, byte(i)}, device: "phone", megolm: []byte("x")}
		m := chat.Message{ID: chat.ID{byte(i)}, From: "mallory", To: "bob", Place: chat.Position(1000 + i), Suite: chat.SuiteMegolm, Content: s.append(nil)}
		if e := gets(bob, m); e != nil {
			t.Fatalf("%+v", e)
		}
		if bob.Waiting() > held || len(bob.asked) > held {
			t.Fatalf("%d wait, %d sessions were asked for", bob.Waiting(), len(bob.asked))
		}
	}
	for i := range 5*held - held + 1 { // all of hers that are too many, in order, and none of alice's
		if f, ok := bob.Next().(Failed); !ok || !errors.Is(f.Err, ErrNoKey) || f.Message.ID != (chat.ID{byte(i)}) {
			t.Fatalf("%d: %+v", i, f)
		}
	}
	w.answers(alice)
	bob.Machine.Connected() // a new connection: what waits is asked for again
	w.reads(bob, "the walrus")
}

// Key shares show nothing, so anybody may fill a device with them in silence: so
// many of one user are kept, and none of others is lost for it.
func TestSilentShares(t *testing.T) {
	w := newWorld(t)
	alice, bob, mallory := w.device("alice", "phone"), w.device("bob", "phone"), w.device("mallory", "phone")
	w.send(alice, "bob", "the walrus")
	w.must(bob.takeShare(w.ctx(), w.raw(bob, chat.SuiteKeyShare), false))
	unread := w.raw(bob, chat.SuiteMegolm)
	w.must(mallory.look(w.ctx(), 0, "bob"))
	p, err := mallory.peer("bob")
	w.must(err)
	w.must(mallory.claim(w.ctx(), p.Devices))
	const more = 10
	for range unusedSessions + more {
		s, err := newOutbound(time.Now(), nil)
		w.must(err)
		key, err := s.key()
		w.must(err)
		shares, err := mallory.sharesFor("bob", s, key, p.Devices)
		w.must(err)
		w.must(bob.takeShare(w.ctx(), chat.Message{From: "mallory", To: "bob", Suite: chat.SuiteKeyShare, Content: shares[0].append(nil)}, false))
	}
	if n := len(bob.vault.keys("in/mallory/")); n == 0 || n > unusedSessions {
		t.Errorf("%d of her sessions are kept", n)
	}
	if e := bob.Next(); e != nil {
		t.Errorf("something is shown: %+v", e)
	}
	if e, ok := gets(bob, unread).(client.Message); !ok || string(e.Content) != "the walrus" {
		t.Errorf("alice's message: %+v", e)
	}
	if n := len(bob.vault.get(unusedKey("alice"))); n != 0 {
		t.Errorf("%d bytes say that no message of alice's session came", n)
	}
}

// Who asks for many keys gets as many answers, and no more is remembered of it.
func TestManyRequests(t *testing.T) {
	w := newWorld(t)
	bob := w.device("bob", "phone")
	bob.mu.Lock()
	defer bob.mu.Unlock()
	for i := range answersKept + 10 {
		bob.answer(&device{User: "mallory", Device: "phone"}, &told{peer: "bob", session: sessionID{byte(i), byte(i >> 8)}})
		if len(bob.answered) > answersKept {
			t.Fatalf("%d are remembered", len(bob.answered))
		}
	}
}

// The server names another identity: alice is told, sends nothing, and the
// safety numbers differ; when it is accepted she goes on.
func TestSwappedIdentity(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	w.send(alice, "bob", "one")
	ours, err := alice.Safety(w.ctx(), "bob")
	w.must(err)
	theirs, err := bob.Safety(w.ctx(), "alice")
	w.must(err)
	if ours.Digits != theirs.Digits || !bytes.Equal(ours.Scan, theirs.Scan) || len(ours.Digits) != 71 || ours.Verified {
		t.Errorf("%+v and %+v", ours, theirs)
	}
	w.must(alice.Verify("bob", true))
	if s, _ := alice.Safety(w.ctx(), "bob"); !s.Verified {
		t.Error("not noted")
	}
	mallory := w.device("bob", "laptop", func(o *Options) { o.Identity, o.ResetIdentity = "", true })
	if _, err := alice.Send(w.ctx(), "bob", []byte("two")); !errors.Is(err, ErrChanged) {
		t.Fatalf("sent to another identity: %v", err)
	}
	if e, ok := w.next(alice).(IdentityChanged); !ok || e.User != "bob" || e.Accepted {
		t.Fatalf("%+v", e)
	}
	w.must(alice.Accept(w.ctx(), "bob"))
	after, err := alice.Safety(w.ctx(), "bob")
	if err != nil || after.Digits == ours.Digits || after.Verified {
		t.Errorf("%+v, %v", after, err)
	}
	w.send(alice, "bob", "three")
	w.reads(mallory, "three")
	// The one whose identity it was is told that it counts no more.
	if _, err := bob.Send(w.ctx(), "alice", []byte("four")); !errors.Is(err, ErrOwnIdentity) {
		t.Errorf("sent with an identity that is gone: %v", err)
	}
}

// Keys that do not hold are not used, whatever the server says.
func TestUnsignedAndWeakKeys(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	list, err := alice.Client.Keys(w.ctx(), "bob")
	w.must(err)
	good := list[0]
	d := good.Devices[0]
	weak, unsigned, renamed := d, d, d
	weak.Curve, unsigned.Signature, renamed.Device = make([]byte, 32), nil, "tablet"
	good.Devices = []packet.DeviceKeys{weak, unsigned, renamed, d}
	alice.mu.Lock()
	w.must(alice.learn(good))
	p, _ := alice.peer("bob")
	alice.mu.Unlock()
	if len(p.Devices) != 1 || p.Devices[0].Device != "phone" {
		t.Errorf("%+v", p.Devices)
	}
	for range 3 {
		if e, ok := w.next(alice).(BadKeys); !ok || e.User != "bob" {
			t.Errorf("%+v", e)
		}
	}
	claimed, err := alice.Client.ClaimKeys(w.ctx(), packet.DeviceRef{User: "bob", Device: "phone"})
	w.must(err)
	for what, change := range map[string]func(k *packet.ClaimedKey){
		"weak": func(k *packet.ClaimedKey) { k.PreKey.Key = make([]byte, 32) }, "unsigned": func(k *packet.ClaimedKey) { k.PreKey.Signature = nil },
		"as a fallback": func(k *packet.ClaimedKey) { k.Fallback = !k.Fallback },
	} {
		k := claimed[0]
		change(&k)
		if alice.olm.begin(&p.Devices[0], &k) == nil || alice.olm.hasSession(&p.Devices[0]) {
			t.Errorf("a key that is %s was used", what)
		}
	}
	w.must(alice.olm.begin(&p.Devices[0], &claimed[0]))
	_ = bob
	alice.mu.Lock()
	defer alice.mu.Unlock()
	p.Identity = nil
	alice.keepPeer("carol", p)
	w.must(alice.learn(packet.UserKeys{User: "carol", Identity: make([]byte, 32)}))
	if p, _ := alice.peer("carol"); p.Identity != nil {
		t.Error("a weak identity was pinned")
	}
}

// With no one-time key left sessions begin with the fallback key, and the device
// publishes more when it connects.
func TestExhaustedOneTimeKeys(t *testing.T) {
	w := newWorld(t)
	bob := w.device("bob", "phone")
	w.must(bob.Close(context.Background()))
	alice := w.device("alice", "phone")
	for range keepOneTime {
		_, err := alice.Client.ClaimKeys(w.ctx(), packet.DeviceRef{User: "bob", Device: "phone"})
		w.must(err)
	}
	keys, err := alice.Client.ClaimKeys(w.ctx(), packet.DeviceRef{User: "bob", Device: "phone"})
	if err != nil || len(keys) != 1 || !keys[0].Fallback {
		t.Fatalf("%+v, %v", keys, err)
	}
	w.send(alice, "bob", "by fallback")
	bob = w.device("bob", "phone")
	w.reads(bob, "by fallback")
	keys, err = alice.Client.ClaimKeys(w.ctx(), packet.DeviceRef{User: "bob", Device: "phone"})
	if err != nil || keys[0].Fallback {
		t.Errorf("no new keys: %+v, %v", keys, err)
	}
}

// publications is a link that tells what is published over it, and how many
// one-time keys the server has then.
type publications struct {
	Link
	of chan publication
}

type publication struct{ oneTime, left int }

func (l publications) PutKeys(ctx context.Context, put packet.KeysPut) (left int, err error) {
	if left, err = l.Link.PutKeys(ctx, put); err == nil {
		l.of <- publication{len(put.OneTime), left}
	}
	return left, err
}

// A device whose one-time keys become few while it is connected publishes more,
// over the same connection.
func TestFewOneTimeKeys(t *testing.T) {
	w := newWorld(t)
	of := make(chan publication, 100)
	bob := w.device("bob", "phone", func(o *Options) { o.wrap = func(l Link) Link { return publications{l, of} } })
	session := bob.Client.Session()
	go func() { // until it is closed
		for {
			if _, err := bob.Receive(w.ctx()); err != nil {
				return
			}
		}
	}()
	// As it starts, in two steps, and as it is connected.
	for _, want := range []publication{{0, 0}, {keepOneTime, keepOneTime}, {0, keepOneTime}} {
		if got := <-of; got != want {
			t.Fatalf("published: %+v, want %+v", got, want)
		}
	}
	alice := w.device("alice", "phone")
	low := config.Default().Keys.Low
	for range keepOneTime - low + 1 {
		keys, err := alice.Client.ClaimKeys(w.ctx(), packet.DeviceRef{User: "bob", Device: "phone"})
		if err != nil || len(keys) != 1 || keys[0].Fallback {
			t.Fatalf("%+v, %v", keys, err)
		}
	}
	for _, want := range []publication{{0, low - 1}, {keepOneTime - low + 1, keepOneTime}} {
		if got := <-of; got != want {
			t.Fatalf("published: %+v, want %+v", got, want)
		}
	}
	select {
	case <-session:
		t.Error("it has connected anew")
	default:
	}
}

// TestFirstKeys holds that who had no keys is written to as soon as there are
// some, however long what is known of a user's devices is good for.
func TestFirstKeys(t *testing.T) {
	w := newWorld(t)
	alice := w.device("alice", "phone", func(o *Options) { o.Refresh = time.Hour })
	if _, err := alice.Send(w.ctx(), "bob", []byte("x")); !errors.Is(err, ErrNoKeys) {
		t.Error(err)
	}
	bob := w.device("bob", "phone")
	w.send(alice, "bob", "there you are")
	w.reads(bob, "there you are")
}

func TestNobodyToEncryptFor(t *testing.T) {
	w := newWorld(t)
	alice := w.device("alice", "phone")
	if _, err := alice.Send(w.ctx(), "nobody", []byte("x")); !errors.Is(err, ErrNoKeys) {
		t.Error(err)
	}
	if _, err := alice.Send(w.ctx(), "bad name", nil); chat.CodeOf(err) != chat.CodeBadName {
		t.Error(err)
	}
	if _, err := alice.Send(w.ctx(), "alice", []byte("x"), client.SendOptions{Suite: 9}); err == nil {
		t.Error("a suite was taken")
	}
	if _, err := alice.Safety(w.ctx(), "nobody"); !errors.Is(err, ErrNoKeys) {
		t.Error(err)
	}
	w.send(alice, "alice", "to myself")
	plain := w.device("carol", "phone", func(o *Options) { o.AllowPlain = true })
	m := chat.Message{From: "alice", Suite: chat.SuitePlain, Content: []byte("hi")}
	if e, ok := gets(plain, m).(client.Message); !ok || string(e.Content) != "hi" {
		t.Errorf("%+v", e)
	}
	if f, ok := gets(plain, chat.Message{Suite: 77}).(Failed); !ok || f.Err == nil {
		t.Errorf("%+v", f)
	}
}

func BenchmarkMegolm(b *testing.B) {
	o, err := newOutbound(time.Now(), nil)
	if err != nil {
		b.Fatal(err)
	}
	v := &vault{rows: map[string][]byte{}}
	o.keep(v, "bob", 1<<30)
	body := bytes.Repeat([]byte("x"), 100)
	b.Run("encrypt", func(b *testing.B) {
		for range b.N {
			if _, err := o.encrypt(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	key, _ := o.ratchet.SessionSharingMessage()
	raw, _ := b64.DecodeString(string(key))
	in, err := parseKey(tellKey, o.id(), raw)
	if err != nil {
		b.Fatal(err)
	}
	c, _ := o.encrypt(body)
	text := []byte(b64.EncodeToString(c))
	b.Run("decrypt", func(b *testing.B) {
		for range b.N {
			if _, _, err := in.Decrypt(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
