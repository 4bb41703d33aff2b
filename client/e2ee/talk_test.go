package e2ee

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// Two users, then a device each more: everybody reads, senders' others as copies.
func TestDevices(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	w.send(alice, "bob", "one")
	w.send(alice, "bob", "two")
	w.reads(bob, "one")
	w.reads(bob, "two")
	w.send(bob, "alice", "three")
	w.reads(alice, "three")

	bob2, alice2 := w.device("bob", "tablet"), w.device("alice", "tablet")
	before := alice.out["bob"].id()
	w.send(alice, "bob", "four")
	if alice.out["bob"].id() == before {
		t.Error("a device was added, and the session stayed")
	}
	w.reads(bob, "four")
	w.reads(bob2, "four")
	if c, ok := w.next(alice2).(client.Copy); !ok || string(c.Content) != "four" || c.To != "bob" {
		t.Errorf("%+v", c)
	}
	w.send(bob2, "alice", "five")
	w.reads(alice, "five")
	w.reads(alice2, "five")
	if c, ok := w.next(bob).(client.Copy); !ok || string(c.Content) != "five" {
		t.Errorf("%+v", c)
	}
	page, err := alice.History(w.ctx(), "bob", chat.ID{}, 50)
	w.must(err)
	var texts []string
	for _, m := range page.Messages {
		texts = append(texts, string(m.Content))
	}
	if got := strings.Join(texts, " "); got != "five four three two one" {
		t.Errorf("history: %s", got)
	}
	chats, err := bob.Chats(w.ctx(), chat.ID{}, 10)
	if err != nil || len(chats.Chats) != 1 || string(chats.Chats[0].Last.Content) != "five" {
		t.Errorf("%+v, %v", chats, err)
	}
}

// A device that is removed is out: its session ends, its keys are not taken again,
// and it reads nothing that is sent afterwards.
func TestRemovedDevice(t *testing.T) {
	w := newWorld(t)
	alice, bob, stolen := w.device("alice", "phone"), w.device("bob", "phone"), w.device("bob", "stolen")
	w.send(alice, "bob", "before")
	w.must(stolen.takeShare(w.ctx(), w.raw(stolen, chat.SuiteKeyShare), false))
	if e, ok := gets(stolen, w.raw(stolen, chat.SuiteMegolm)).(client.Message); !ok || string(e.Content) != "before" {
		t.Fatalf("%+v", e)
	}
	w.reads(bob, "before")
	stolen.publishesNoMore()
	w.must(bob.RemoveDevice(w.ctx(), "stolen"))
	if bob.RemoveDevice(w.ctx(), "phone") == nil {
		t.Error("a device removed itself")
	}
	select {
	case <-stolen.Done():
	case <-w.ctx().Done():
		t.Fatal("it is still connected")
	}
	if err := stolen.Err(); chat.CodeOf(err) != chat.CodeRevoked {
		t.Errorf("it ended with %v", err)
	}
	w.must(stolen.Client.Close(context.Background()))
	if _, err := w.dial("bob", "stolen"); chat.CodeOf(err) != chat.CodeRevoked {
		t.Errorf("it comes back: %v", err)
	}
	before := alice.out["bob"].id()
	id := w.send(alice, "bob", "after")
	w.reads(bob, "after")
	if alice.out["bob"].id() == before {
		t.Error("the session stayed")
	}
	page, err := bob.Client.History(w.ctx(), "alice", chat.ID{}, 1)
	w.must(err)
	if m := page.Messages[0]; m.ID != id {
		t.Fatalf("history begins with %+v", m)
	}
	stolen.mu.Lock()
	defer stolen.mu.Unlock()
	if out, held := stolen.show(page.Messages[0], false, true); !held {
		t.Errorf("it reads %+v", out)
	}
}

// A device that was installed again under its name is read at once, although
// what is known of it is not old; with another identity that is told.
func TestDeviceInstalledAgain(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone", func(o *Options) { o.Refresh = time.Hour }), w.device("bob", "phone")
	w.send(bob, "alice", "one")
	w.reads(alice, "one")
	for _, c := range []struct {
		text   string
		change func(*Options)
	}{
		{"two", func(*Options) {}},
		{"three", func(o *Options) { o.Identity, o.ResetIdentity = filepath.Join(w.dir, "another"), true }},
	} {
		w.must(bob.Close(context.Background()))
		w.must(os.Remove(bob.opt.Keys))
		bob = w.device("bob", "phone", c.change)
		w.send(bob, "alice", c.text)
		if c.text == "two" {
			w.reads(alice, "two")
		}
	}
	if e, ok := w.next(alice).(IdentityChanged); !ok || e.User != "bob" {
		t.Errorf("%+v", e)
	}
	if e, ok := w.next(alice).(Failed); !ok || !errors.Is(e.Err, ErrForged) {
		t.Errorf("%+v", e)
	}
}

// publishesNoMore ends the publisher of a device, which goes on receiving: after
// each connect it would put keys back that are removed.
func (c *Client) publishesNoMore() {
	c.Stop()
	c.running.Wait()
}

// A session ends after so many messages.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone", func(o *Options) { o.RotateMessages = 3 }), w.device("bob", "phone")
	ids := map[sessionID]bool{}
	for i := range 7 {
		w.send(alice, "bob", fmt.Sprint(i))
		ids[alice.out["bob"].id()] = true
		w.reads(bob, fmt.Sprint(i))
	}
	if len(ids) != 3 {
		t.Errorf("%d sessions for 7 messages", len(ids))
	}
}

// Everything survives a restart, and no index is used twice, whether the end was
// clean or a crash.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	sealed := func(o *Options) { o.Passphrase, o.work = "open sesame", 2 }
	alice, bob := w.device("alice", "phone", sealed), w.device("bob", "phone")
	w.send(alice, "bob", "one")
	w.reads(bob, "one")
	index, session := alice.out["bob"].index(), alice.out["bob"].id()
	w.must(alice.vault.sync())
	crashed, err := os.ReadFile(alice.opt.Keys)
	w.must(err)
	w.must(alice.Close(context.Background()))
	bob.Handled()
	w.must(bob.Close(context.Background()))

	alice, bob = w.device("alice", "phone", sealed), w.device("bob", "phone")
	w.send(alice, "bob", "two")
	if o := alice.out["bob"]; o.id() != session || o.index() != index+1 {
		t.Errorf("after a clean end: index %d after %d", o.index(), index)
	}
	w.reads(bob, "two")
	w.must(alice.Close(context.Background()))

	w.must(os.WriteFile(alice.opt.Keys, crashed, 0o600))
	alice = w.device("alice", "phone", sealed)
	w.send(alice, "bob", "three")
	if o := alice.out["bob"]; o.id() != session || o.index() <= index+1 {
		t.Errorf("after a crash: index %d, and %d was used", o.index(), index)
	}
	w.reads(bob, "three")
}

// A share that is lost is asked for; what waits for it is held, also over a
// restart, and comes.
func TestLostShare(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	w.send(alice, "bob", "first")
	w.raw(bob, chat.SuiteKeyShare) // and forgotten
	m := w.raw(bob, chat.SuiteMegolm)
	bob.mu.Lock()
	bob.hold(m, false)
	bob.mu.Unlock()
	bob.Client.Handled()
	if bob.Waiting() != 1 {
		t.Fatalf("%d wait", bob.Waiting())
	}
	w.must(bob.Close(context.Background()))
	bob = w.device("bob", "phone")
	if bob.Waiting() != 1 {
		t.Fatalf("%d wait after a restart", bob.Waiting())
	}
	go func() { // alice answers as long as she receives
		for {
			if _, err := alice.Receive(context.Background()); err != nil {
				return
			}
		}
	}()
	w.reads(bob, "first")
	w.send(alice, "bob", "second")
	w.reads(bob, "second")
	bob.Handled()
	if bob.Waiting() != 0 || len(bob.vault.keys("held/")) != 0 {
		t.Errorf("%d wait", bob.Waiting())
	}
}

// Of more held messages than Options.Held the oldest fails, and says so.
func TestHeldIsBounded(t *testing.T) {
	w := newWorld(t)
	bob := w.device("bob", "phone", func(o *Options) { o.Held = 2 })
	e := sealed{session: sessionID{1}, device: "phone", megolm: []byte("x")}
	bob.mu.Lock()
	for i := range 3 {
		bob.hold(chat.Message{ID: chat.ID{byte(i)}, From: "alice", To: "bob", Suite: chat.SuiteMegolm, Content: e.append(nil)}, false)
	}
	bob.mu.Unlock()
	if f, ok := w.next(bob).(Failed); !ok || !errors.Is(f.Err, ErrNoKey) || f.Message.ID != (chat.ID{0}) || bob.Waiting() != 2 {
		t.Errorf("%+v", f)
	}
}

// What is written on the wire and to disk never has what was said.
func TestBlindness(t *testing.T) {
	w := newWorld(t)
	secret := "the walrus and the carpenter 4711"
	seal := func(o *Options) { o.Passphrase, o.work = "pass", 2 }
	alice, bob := w.device("alice", "phone", seal), w.device("bob", "phone", seal)
	for range 3 {
		w.send(alice, "bob", secret)
		w.reads(bob, secret)
		w.send(bob, "alice", secret)
		w.reads(alice, secret)
	}
	w.wire.mu.Lock()
	written := bytes.Clone(w.wire.bytes.Bytes())
	w.wire.mu.Unlock()
	if !bytes.Contains(written, []byte("alice")) {
		t.Fatal("the tap heard nothing")
	}
	w.must(alice.Close(context.Background()))
	places := map[string][]byte{"the wire": written}
	for _, dir := range []string{w.dir, w.data} {
		w.must(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				places[path], err = os.ReadFile(path)
			}
			return err
		}))
	}
	for where, b := range places {
		if bytes.Contains(b, []byte(secret[:12])) || bytes.Contains(b, alice.identity.Seed()) {
			t.Errorf("found in %s", where)
		}
	}
}
