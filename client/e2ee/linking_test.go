package e2ee

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

// stranger is a device of another machine: it has an identity of its own, which
// the server does not take, until it is linked.
func (w *world) stranger(user, name string, change ...func(*Options)) *Client {
	w.Helper()
	c, err := w.dial(user, name, append(change, func(o *Options) { o.Identity = filepath.Join(w.dir, user+"."+name+".identity") })...)
	w.must(err)
	if err := c.Published(w.ctx()); chat.CodeOf(err) != chat.CodeOtherIdentity {
		w.Fatalf("the keys of a stranger: %v", err)
	}
	return c
}

// pump receives what comes for a device until what is returned is called, and
// keeps what is not about the connection. heard, if any, is told of each.
func (w *world) pump(c *Client, heard ...func(client.Event)) (stop func() []client.Event) {
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan []client.Event, 1)
	go func() {
		var list []client.Event
		for {
			e, err := c.Receive(ctx)
			if err != nil {
				got <- list
				return
			}
			switch e.(type) {
			case client.Message, client.Copy, Failed, LinkUsed, IdentityChanged, BadKeys:
				list = append(list, e)
				for _, f := range heard {
					f(e)
				}
			}
		}
	}()
	return func() []client.Event {
		cancel()
		list := <-got
		got <- nil
		return list
	}
}

func isCopy(e client.Event, text string) bool {
	c, ok := e.(client.Copy)
	return ok && string(c.Content) == text
}

// join has a device give a code while it receives, and returns what it got.
func (w *world) join(c *Client, code string) error {
	w.Helper()
	defer w.pump(c)()
	return c.Join(w.ctx(), code)
}

// A new device that gives the code has the identity: it reads what comes, and
// others see what it sends.
func TestLink(t *testing.T) {
	w := newWorld(t)
	phone, bob := w.device("alice", "phone"), w.device("bob", "phone")
	before, err := bob.Safety(w.ctx(), "alice")
	w.must(err)
	tablet := w.stranger("alice", "tablet")
	code, err := phone.OfferLink(w.ctx())
	w.must(err)
	if len(code) != 47 || strings.Count(code, "-") != 7 {
		t.Errorf("the code is %q", code)
	}
	stop := w.pump(phone)
	w.must(w.join(tablet, " "+strings.ToLower(strings.ReplaceAll(code, "-", " "))))
	var used []LinkUsed
	for _, e := range stop() {
		if u, ok := e.(LinkUsed); ok {
			used = append(used, u)
		} else {
			t.Errorf("the old device got %T %+v", e, e)
		}
	}
	if len(used) != 1 || used[0].Device != "tablet" || used[0].Err != nil {
		t.Errorf("the old device was told %+v", used)
	}
	if !bytes.Equal(tablet.identityKey(), phone.identityKey()) {
		t.Fatal("the new device has another identity")
	}
	w.must(tablet.Published(w.ctx()))
	if after, err := bob.Safety(w.ctx(), "alice"); err != nil || after.Digits != before.Digits {
		t.Errorf("the safety number changed: %v", err)
	}
	w.send(bob, "alice", "after")
	w.reads(phone, "after")
	w.reads(tablet, "after")
	w.send(tablet, "bob", "from the tablet")
	w.reads(bob, "from the tablet")
	if e := w.next(phone); !isCopy(e, "from the tablet") {
		t.Errorf("the phone got %T %+v", e, e)
	}
	w.send(phone, "bob", "from the phone")
	if e := w.next(tablet); !isCopy(e, "from the phone") {
		t.Errorf("the tablet got %T %+v", e, e)
	}
	// It lasts.
	tablet.Handled()
	w.must(tablet.Close(context.Background()))
	tablet, err = w.dial("alice", "tablet", func(o *Options) { o.Identity = filepath.Join(w.dir, "alice.tablet.identity") })
	w.must(err)
	w.must(tablet.Published(w.ctx()))
	if err := tablet.Join(w.ctx(), code); !errors.Is(err, ErrLinked) {
		t.Errorf("linked twice: %v", err)
	}
}

// The identity in the key file, where there is no file of its own.
func TestLinkKeepsTheIdentityWithTheKeys(t *testing.T) {
	w := newWorld(t)
	phone := w.device("alice", "phone")
	bare := func(o *Options) { o.Identity = "" }
	tablet, err := w.dial("alice", "tablet", bare)
	w.must(err)
	code, err := phone.OfferLink(w.ctx())
	w.must(err)
	defer w.pump(phone)()
	w.must(w.join(tablet, code))
	w.must(tablet.Close(context.Background()))
	tablet, err = w.dial("alice", "tablet", bare)
	w.must(err)
	w.must(tablet.Published(w.ctx()))
}

// A code links one device, once, for a time; wrong secrets end it.
func TestLinkCodeIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	phone := w.device("alice", "phone")
	thief := w.stranger("alice", "thief")
	passedOver := make(chan struct{}, 1) // what the thief sent, by the phone
	stop := w.pump(phone, func(e client.Event) {
		if f, ok := e.(Failed); ok && errors.Is(f.Err, ErrForged) {
			passedOver <- struct{}{}
		}
	})
	refused := func(what, code string, want error) {
		t.Helper()
		defer w.pump(thief)()
		ctx, cancel := context.WithCancel(w.ctx())
		defer cancel()
		if want == ErrNotLinked { // nobody answers
			go func() {
				select {
				case <-passedOver:
					cancel()
				case <-ctx.Done():
				}
			}()
		}
		if err := thief.Join(ctx, code); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if bytes.Equal(thief.identityKey(), phone.identityKey()) {
			t.Fatalf("%s: it has the identity", what)
		}
	}
	offer := func() string {
		t.Helper()
		code, err := phone.OfferLink(w.ctx())
		w.must(err)
		return code
	}
	wrong := func(code string) string {
		l, err := parseLinkCode(code)
		w.must(err)
		l.secret = bytes.Clone(l.secret)
		l.secret[0] ^= 1
		return l.String()
	}
	refused("before there is one", offer()[:46], ErrLinkCode)
	phone.WithdrawLink()
	code := offer()
	phone.WithdrawLink()
	refused("withdrawn", code, ErrNotLinked)
	code = offer()
	refused("an older one", wrong(code), ErrLinkCode)
	phone.mu.Lock()
	phone.offer.until = time.Now().Add(-time.Second)
	phone.mu.Unlock()
	refused("too old", code, ErrLinkCode)
	code = offer()
	for range linkTries {
		refused("a wrong secret", wrong(code), ErrLinkCode)
	}
	refused("the right one after too many wrong ones", code, ErrNotLinked)
	code = offer()
	w.must(w.join(w.stranger("alice", "tablet"), code))
	refused("used", code, ErrNotLinked)

	var good, bad int
	for _, e := range stop() {
		if u, ok := e.(LinkUsed); ok && u.Err == nil {
			good++
		} else if ok && u.Device == "thief" && errors.Is(u.Err, ErrLinkCode) {
			bad++
		}
	}
	if good != 1 || bad != linkTries+2 {
		t.Errorf("the old device was told of %d that were linked, and %d that were refused", good, bad)
	}
}

// lyingLink is a connection whose server names other keys for a user.
type lyingLink struct {
	Link
	lie atomic.Pointer[func(*packet.UserKeys)] // nil: it says what is so
}

func (l *lyingLink) Keys(ctx context.Context, users ...string) ([]packet.UserKeys, error) {
	list, err := l.Link.Keys(ctx, users...)
	if lie := l.lie.Load(); lie != nil {
		for i := range list {
			(*lie)(&list[i])
		}
	}
	return list, err
}

// A server that names its own identity, or puts its own device under the right
// one, gets no secret and gives no identity.
func TestLinkWithSwappedKeys(t *testing.T) {
	w := newWorld(t)
	phone, mallory := w.device("alice", "phone"), w.device("mallory", "phone")
	var lies lyingLink
	tablet := w.stranger("alice", "tablet", func(o *Options) {
		o.wrap = func(l Link) Link {
			lies.Link = l
			return &lies
		}
	})
	code, err := phone.OfferLink(w.ctx())
	w.must(err)
	other, err := mallory.OfferLink(w.ctx())
	w.must(err)
	if err := tablet.Join(w.ctx(), other); !errors.Is(err, ErrLinkIdentity) {
		t.Errorf("the code of another user: %v", err)
	}
	theirs, err := mallory.link.Keys(w.ctx(), "mallory")
	w.must(err)
	for what, c := range map[string]struct {
		lie  func(u *packet.UserKeys)
		want error
	}{
		"another identity":         {func(u *packet.UserKeys) { u.Identity = theirs[0].Identity }, ErrLinkIdentity},
		"no identity":              {func(u *packet.UserKeys) { u.Identity = nil }, ErrNoKeys},
		"a weak identity":          {func(u *packet.UserKeys) { u.Identity = make([]byte, 32) }, ErrLinkIdentity},
		"another device's keys":    {func(u *packet.UserKeys) { u.Devices[0].Curve = theirs[0].Devices[0].Curve }, ErrLinkCode},
		"another signature":        {func(u *packet.UserKeys) { u.Devices[0].Signature = theirs[0].Devices[0].Signature }, ErrLinkCode},
		"no device":                {func(u *packet.UserKeys) { u.Devices = nil }, ErrLinkCode},
		"another device's signing": {func(u *packet.UserKeys) { u.Devices[0].Signing = theirs[0].Devices[0].Signing }, ErrLinkCode},
	} {
		sent := w.wireBytes()
		lies.lie.Store(&c.lie)
		if err := tablet.Join(w.ctx(), code); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if n := w.wireBytes() - sent; n > 200 { // the question alone
			t.Errorf("%s: %d bytes went out", what, n)
		}
	}
	lies.lie.Store(nil)
	defer w.pump(phone)()
	w.must(w.join(tablet, code)) // the code is still good
}

// What went over the wire while a device was linked comes again: nothing more
// happens.
func TestReplayedLink(t *testing.T) {
	w := newWorld(t)
	phone, tablet := w.device("alice", "phone"), w.stranger("alice", "tablet")
	code, err := phone.OfferLink(w.ctx())
	w.must(err)
	joined := make(chan error, 1)
	stop := w.pump(tablet)
	go func() { joined <- tablet.Join(w.ctx(), code) }()
	knock := w.raw(phone, chat.SuiteKeyShare)
	w.must(phone.takeShare(w.ctx(), knock, false))
	w.must(<-joined)
	stop()
	again, err := phone.OfferLink(w.ctx()) // there is a code to be given
	w.must(err)
	w.must(phone.takeShare(w.ctx(), knock, false))
	for e := phone.Next(); e != nil; e = phone.Next() {
		if u, ok := e.(LinkUsed); ok && (u.Err != nil || u.Device != "tablet") {
			t.Errorf("the old device was told %+v", u)
		}
	}
	phone.mu.Lock()
	tries := phone.offer.tries
	phone.mu.Unlock()
	if tries != 0 || again == code {
		t.Errorf("%d tries of the new code", tries)
	}
	// Nor does the identity leave for who asks without a code.
	phone.WithdrawLink()
	knock.From = "mallory"
	w.must(phone.takeShare(w.ctx(), knock, false))
}

// The identity that comes is the one that the code named, or nothing.
func TestIdentityNobodyAskedFor(t *testing.T) {
	w := newWorld(t)
	phone, tablet := w.device("alice", "phone"), w.device("alice", "tablet")
	w.send(phone, "alice", "a session")
	w.reads(tablet, "a session")
	mine := tablet.identityKey()
	for what, x := range map[string]told{
		"an identity": {kind: tellIdentity, peer: "alice", key: make([]byte, 32)},
		"too short":   {kind: tellIdentity, peer: "alice"},
	} {
		phone.tellDevice(w.ctx(), "alice", "tablet", &x)
		w.must(tablet.takeShare(w.ctx(), w.raw(tablet, chat.SuiteKeyShare), false))
		if f, ok := tablet.Next().(Failed); !ok || !errors.Is(f.Err, ErrForged) {
			t.Errorf("%s: %+v", what, f)
		}
	}
	if !bytes.Equal(mine, tablet.identityKey()) {
		t.Error("the identity changed")
	}
}

func TestLinkCodes(t *testing.T) {
	l := linkCode{print: make([]byte, linkPrintBytes), device: []byte{1, 2}, secret: []byte("secret12")}
	got, err := parseLinkCode(l.String())
	if err != nil || !bytes.Equal(got.secret, l.secret) || !bytes.Equal(got.device, l.device) || !bytes.Equal(got.print, l.print) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", l.String() + "A", strings.Replace(l.String(), "AE", "BE", 1), strings.Repeat("!", 40)} {
		if _, err := parseLinkCode(bad); !errors.Is(err, ErrLinkCode) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A device that links another one, and shows nothing, leaves its messages waiting:
// they come, once, and of what it took meanwhile nothing more is said.
func TestLinkingLeavesMessages(t *testing.T) {
	w := newWorld(t)
	bob, alice := w.device("bob", "phone"), w.device("alice", "phone")
	w.must(alice.Close(w.ctx()))
	alice = w.device("alice", "phone", func(o *Options) { o.KeysOnly = true })
	w.send(bob, "alice", "one")
	code, err := alice.OfferLink(w.ctx())
	w.must(err)
	stop := w.pump(alice)
	w.must(w.join(w.stranger("alice", "laptop"), code))
	if got := stop(); len(got) != 1 || got[0].(LinkUsed).Err != nil {
		t.Errorf("while it links it is given %+v", got)
	}
	w.must(alice.Close(w.ctx()))
	alice = w.device("alice", "phone")
	w.reads(alice, "one")
	w.send(bob, "alice", "two")
	w.reads(alice, "two")
}
