package e2ee

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// reader reads with the keys of a device, and asks by another client.
func (w *world) reader(ask *Client, user, device string) *Reader {
	w.Helper()
	r, err := OpenReader(ask.Client, user, device, Options{
		Keys: filepath.Join(w.dir, user+"."+device+".keys"), Identity: filepath.Join(w.dir, user+".identity"),
	})
	w.must(err)
	w.Cleanup(func() { r.Close() })
	return r
}

// readBy returns what a reader makes of a chat's history, newest first.
func (w *world) readBy(r *Reader, peer string) (texts []string) {
	w.Helper()
	page, err := r.ask.History(w.ctx(), peer, chat.ID{}, 0)
	w.must(err)
	for _, m := range page.Messages {
		if m.Suite == chat.SuiteMegolm {
			read, typ, err := r.Read(w.ctx(), m)
			w.must(err)
			if typ != TypeBody {
				read.Content = []byte("unread")
			}
			texts = append(texts, string(read.Content))
		}
	}
	return texts
}

func (w *world) same(got []string, want ...string) {
	w.Helper()
	if !slices.Equal(got, want) {
		w.Errorf("read %q, want %q", got, want)
	}
}

// A reader reads what has not come to the device, by the shares of history, while
// the device is in use; the device takes all of it afterwards as if nothing was.
func TestReader(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone", func(o *Options) { o.RotateMessages = 2 }), w.device("bob", "phone")
	w.send(bob, "alice", "hello") // what bob sent he has the keys of
	w.reads(alice, "hello")
	for _, text := range []string{"one", "two", "three"} {
		w.send(alice, "bob", text)
	}
	laptop := w.device("bob", "laptop")
	r := w.reader(laptop, "bob", "phone")
	w.same(w.readBy(r, "alice"), "three", "two", "one", "hello")
	for _, text := range []string{"one", "two", "three"} {
		w.reads(bob, text)
	}
	if len(bob.ready) != 0 || bob.Waiting() != 0 {
		t.Errorf("%d events, %d held", len(bob.ready), bob.Waiting())
	}
	if _, err := OpenReader(laptop.Client, "bob", "none", Options{Keys: filepath.Join(w.dir, "none.keys")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a key file: %v", err)
	}
}

// A key is looked for in so many rows of history, in whole pages, and no further.
func TestReaderGivesUp(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone", func(o *Options) { o.RotateMessages = 1000 }), w.device("bob", "phone")
	for range 110 { // a page has 100
		_, err := alice.Send(w.ctx(), "bob", []byte("before"))
		w.must(err)
	}
	newest := w.send(alice, "bob", "newest")
	page, err := bob.Client.History(w.ctx(), "alice", chat.ID{}, 1)
	w.must(err)
	for page.Messages[0].ID != newest { // being durable is before being stored
		page, err = bob.Client.History(w.ctx(), "alice", chat.ID{}, 1)
		w.must(err)
	}
	for _, c := range []struct {
		rows int
		typ  uint8
	}{{100, 0}, {101, TypeBody}} {
		r := w.reader(bob, "bob", "phone")
		r.rows = c.rows
		if _, typ, err := r.Read(w.ctx(), page.Messages[0]); err != nil || typ != c.typ {
			t.Errorf("in %d rows: type %d, %v", c.rows, typ, err)
		}
	}
}

// Of a group the shares lie in the chats with those who wrote.
func TestReaderOfGroup(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.device("alice", "phone"), w.device("bob", "phone"), w.device("carol", "phone")
	group, _, err := alice.CreateGroup(w.ctx(), GroupInfo{}, "bob", "carol")
	w.must(err)
	w.send(alice, group, "one")
	w.send(carol, group, "two")
	w.send(bob, group, "three")
	w.same(w.readBy(w.reader(bob, "bob", "phone"), group), "three", "two", "one")
}

// A device that is given a share again, which it had taken and not marked, says
// nothing of it: neither of a key nor of a question for one.
func TestShareAgain(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	w.send(alice, "bob", "one")
	w.raw(bob, chat.SuiteKeyShare) // lost: bob asks
	if e := gets(bob, w.raw(bob, chat.SuiteMegolm)); e != nil || bob.Waiting() != 1 {
		t.Fatalf("%+v, %d wait", e, bob.Waiting())
	}
	question := w.raw(alice, chat.SuiteKeyShare)
	for range 2 {
		w.must(alice.takeShare(w.ctx(), question, false))
	}
	if len(alice.ready) != 0 {
		t.Errorf("alice is told %+v", alice.ready)
	}
}
