package e2ee

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/internal/config"
)

func (w *world) hasTimers(c *Client, want map[string]time.Duration) {
	w.Helper()
	for with, timer := range want {
		if got := c.Timer(with); got != timer {
			w.Errorf("%s of %s has for %s the timer %v, want %v", c.device, c.user, with, got, timer)
		}
	}
}

func setTimer(seconds uint32) content.Body {
	return content.Body{Kind: content.KindTimer, Seconds: seconds}
}

// typed receives until a message of a type comes.
func (w *world) typed(c *Client, kind uint8) Typed {
	w.Helper()
	for {
		if e, ok := w.next(c).(Typed); ok && e.Type == kind {
			return e
		}
	}
}

// A linked device is handed the timers of chats and groups, but for what was left
// out, and sends by them without having read a message of the chat; newer ones hold.
func TestTimersAreHandedOver(t *testing.T) {
	w, phone, bob, _, group := talked(t)
	const hour, day = time.Hour, 24 * time.Hour
	w.says(phone, "bob", setTimer(7200))
	w.says(bob, "alice", setTimer(3600)) // the newest holds
	w.says(phone, "carol", setTimer(3600))
	w.says(bob, group, setTimer(86400))
	for range 2 {
		w.typed(phone, TypeContent)
	}
	w.typed(bob, TypeContent)
	w.hasTimers(phone, map[string]time.Duration{"bob": hour, "carol": hour, group: day, "dave": 0})
	tablet := w.stranger("alice", "tablet")
	if h := w.handOver(phone, tablet, LinkOptions{Without: []string{"carol"}}); h.Err != nil {
		t.Fatal(h.Err)
	}
	w.hasTimers(tablet, map[string]time.Duration{"bob": hour, "carol": 0, group: day})

	soon := w.says(tablet, "bob", content.Body{Kind: content.KindText, Text: "soon gone"})
	m, b, _ := Said(w.typed(bob, TypeContent))
	if m.ID != soon || b.Seconds != 3600 || m.Expires == 0 {
		t.Errorf("%+v of %+v", b, m)
	}
	shorter := client.SendOptions{TTL: time.Minute}
	w.says(tablet, "bob", content.Body{Kind: content.KindText, Text: "sooner"}, shorter)
	if _, b, _ := Said(w.typed(bob, TypeContent)); b.Seconds != 60 {
		t.Errorf("%+v", b)
	}

	// It goes on, also after a restart.
	for off := w.says(bob, "alice", setTimer(0)); w.typed(tablet, TypeContent).Message.ID != off; {
	}
	w.hasTimers(tablet, map[string]time.Duration{"bob": 0, group: day})
	tablet.Handled()
	w.must(tablet.Close(context.Background()))
	tablet = w.device("alice", "tablet", func(o *Options) { o.Identity = w.dir + "/alice.tablet.identity" })
	w.hasTimers(tablet, map[string]time.Duration{"bob": 0, group: day})
	w.says(tablet, "bob", content.Body{Kind: content.KindText, Text: "stays"})
	w.comes(bob, "stays")

	// Where a chat was left out, its history tells.
	w.history(phone, "carol", 100)
	w.history(tablet, "carol", 100)
	w.hasTimers(phone, map[string]time.Duration{"carol": hour})
	w.hasTimers(tablet, map[string]time.Duration{"carol": 0}) // of what it can read
}

// A timer counts from when it is sent; one that the server does not take leaves the
// one before it.
func TestTimerRefused(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	first := w.says(alice, "bob", setTimer(60))
	second := w.says(alice, "bob", setTimer(30))
	w.hasTimers(alice, map[string]time.Duration{"bob": 30 * time.Second})
	alice.Refused(first) // what does not hold any more
	w.hasTimers(alice, map[string]time.Duration{"bob": 30 * time.Second})
	alice.Refused(second)
	w.hasTimers(alice, map[string]time.Duration{"bob": time.Minute})
	alice.Refused(first)
	w.hasTimers(alice, map[string]time.Duration{"bob": 0})
	for range 2 {
		w.typed(bob, TypeContent)
	}
	w.hasTimers(bob, map[string]time.Duration{"alice": 30 * time.Second})
	old, _ := w.history(bob, "alice", 100), w.history(alice, "bob", 100) // an older one changes nothing
	if old.Timer() != 30*time.Second {
		t.Errorf("the timeline has %v", old.Timer())
	}
	w.hasTimers(bob, map[string]time.Duration{"alice": 30 * time.Second})
	w.hasTimers(alice, map[string]time.Duration{"bob": 30 * time.Second}) // the server has taken them after all
}

// A timer above the server's longest time to live is held to that, in what the
// server and the receivers are told, for files too; what it says is handed over.
func TestTimerIsHeldToTheServersLimit(t *testing.T) {
	w := newWorld(t, func(c *config.Config) { c.Session.TTLMax = time.Hour })
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	w.says(alice, "bob", setTimer(7200))
	w.typed(bob, TypeContent)
	w.hasTimers(alice, map[string]time.Duration{"bob": time.Hour})
	w.hasTimers(bob, map[string]time.Duration{"alice": time.Hour})
	if said := bob.Machine.Timer("alice"); said != 2*time.Hour {
		t.Errorf("the timer itself is %v", said)
	}
	w.says(bob, "alice", content.Body{Kind: content.KindText, Text: "held"})
	if m, b, _ := Said(w.typed(alice, TypeContent)); b.Seconds != 3600 || m.Expires == 0 {
		t.Errorf("%+v of %+v", b, m)
	}
	path := filepath.Join(w.dir, "held.txt")
	w.must(os.WriteFile(path, []byte("held"), 0o600))
	sent, err := bob.SendFile(w.ctx(), w.media("bob", nil), "alice", FileUpload{Path: path}, client.SendOptions{})
	w.must(err)
	w.must(sent.Durable(w.ctx()))
	if m := w.typed(alice, TypeFile).Message; m.Expires == 0 {
		t.Errorf("the file's message is %+v", m)
	}
	w.says(alice, "bob", setTimer(60)) // below it nothing changes
	w.hasTimers(alice, map[string]time.Duration{"bob": time.Minute})

	// What is asked for is no timer: it is refused.
	long, err := alice.SendBody(w.ctx(), "bob", content.Body{Kind: content.KindText, Text: "long"}, client.SendOptions{TTL: 2 * time.Hour})
	w.must(err)
	if err := long.Durable(w.ctx()); chat.CodeOf(err) != chat.CodeBadTTL {
		t.Errorf("a longer life: %v", err)
	}
}

// Of timers the newest are handed over, and no more are taken.
func TestTimersAreBounded(t *testing.T) {
	old := archivist(t, 1)
	for i := range archiveTimers + 2 {
		id := chat.NewID(uint64(i+1), 0, chat.Node{1})
		writeRow(old.vault, timerKey(fmt.Sprintf("user%d", i)), timer{ID: id, Seconds: uint32(i)})
	}
	parts, _, err := old.pack([]string{"user5"})
	if err != nil {
		t.Fatal(err)
	}
	var all []timerEntry
	for _, part := range parts {
		a, err := parseArchive(part)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a.timers...)
	}
	if len(all) != archiveTimers || all[0].with != fmt.Sprintf("user%d", archiveTimers+1) || all[archiveTimers-1].with != "user1" {
		t.Errorf("%d timers", len(all))
	}
	if slices.ContainsFunc(all, func(e timerEntry) bool { return e.with == "user5" || e.ID.Zero() }) {
		t.Error("what is left out is packed")
	}
	from := device{User: "alice", Device: "phone", Curve: old.olm.curve()}
	tablet, ask := takes(t, &from)
	row, _ := readRow[taking](tablet.vault, takingKey)
	row.Next, row.Timers = 1, archiveTimers
	writeRow(tablet.vault, takingKey, row)
	if err := tablet.takeHistory(&from, &told{kind: tellHistory, session: ask, index: 1, key: parts[0]}); !errors.Is(err, ErrForged) || len(tablet.vault.keys(timerKey(""))) != 0 {
		t.Errorf("too much: %v", err)
	}
}
