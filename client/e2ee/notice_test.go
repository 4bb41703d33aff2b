package e2ee

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/packet"
)

// hourly has a device look at others' keys rarely.
func hourly(o *Options) { o.Refresh = time.Hour }

// encryptsFor are the devices that the next message to a chat is encrypted for.
func (w *world) encryptsFor(c *Client, to string) (devices []string) {
	w.Helper()
	s, err := c.outboundTo(w.ctx(), to)
	w.must(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	readers, err := c.readers(to)
	w.must(err)
	var names []string
	for i := range readers {
		devices = append(devices, readers[i].User+"/"+readers[i].Device)
		names = append(names, readers[i].name())
	}
	slices.Sort(names)
	if !slices.Equal(names, s.Devices) {
		w.Fatalf("the session is for %q, what is known says %q", s.Devices, names)
	}
	slices.Sort(devices)
	return devices
}

// When a device is removed everybody's next message is without it, however long
// they would go by what they know: those who write to its user, alone and in a group,
// and the user's other devices.
func TestRemovedDeviceIsTold(t *testing.T) {
	w := newWorld(t)
	alice, carol := w.device("alice", "phone", hourly), w.device("carol", "phone", hourly)
	bob, tablet, stolen := w.device("bob", "phone", hourly), w.device("bob", "tablet", hourly), w.device("bob", "stolen", hourly)
	group := w.group(carol, GroupInfo{}, "alice", "bob")
	for _, c := range []*Client{alice, bob, tablet} {
		w.sees(c, chat.GroupCreate)
	}
	w.send(alice, "bob", "one")
	w.send(alice, group, "to all")
	w.send(tablet, "alice", "from the tablet")
	for _, c := range []*Client{bob, tablet} {
		w.comes(c, "to all")
	}
	w.comes(alice, "from the tablet")
	all := []string{"alice/phone", "bob/phone", "bob/stolen", "bob/tablet", "carol/phone"}
	others := func(c *Client, left ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(d string) bool { return d == c.user+"/"+c.device || slices.Contains(left, d) })
	}
	if got := w.encryptsFor(alice, group); !slices.Equal(got, others(alice)) {
		t.Fatalf("before, alice encrypts for %q", got)
	}
	stolen.publishesNoMore()
	w.must(bob.RemoveDevice(w.ctx(), "stolen"))
	w.send(bob, "alice", "it is gone") // comes after the notices
	w.send(bob, "bob", "it is gone")
	w.comes(alice, "it is gone")
	w.comes(tablet, "it is gone")
	for _, c := range []struct {
		from *Client
		to   string
		want []string
	}{
		{alice, "bob", others(alice, "carol/phone", "bob/stolen")},
		{alice, group, others(alice, "bob/stolen")},
		{tablet, "alice", others(tablet, "carol/phone", "bob/stolen")},
	} {
		if got := w.encryptsFor(c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("%s of %s encrypts to %s for %q, want %q", c.from.device, c.from.user, c.to, got, c.want)
		}
	}
	w.send(alice, "bob", "two")
	w.comes(bob, "two")
	w.keyless(stolen, w.newest(alice, "bob"))
}

// asking is a link that counts how often keys are asked for, and may do something
// before the answer is there.
type asking struct {
	Link
	asks int
	then func()
}

func (l *asking) Keys(ctx context.Context, users ...string) ([]packet.UserKeys, error) {
	l.asks++
	list, err := l.Link.Keys(ctx, users...)
	if l.then != nil {
		l.then()
	}
	return list, err
}

// Notices cost a look for all of them, and nothing from those who are not known. One
// that comes while a look is on its way makes the next one look again: the answer may
// be of before.
func TestNotices(t *testing.T) {
	w := newWorld(t)
	w.device("bob", "phone")
	c, err := client.Dial(w.ctx(), client.Options{
		URL: "ws://" + w.server.Addr().String(), User: "alice", Device: "phone",
		Token: func(context.Context) (string, error) {
			return w.server.DevKey().Sign(auth.NewClaims("", "alice", "phone", time.Hour))
		},
	})
	w.must(err)
	t.Cleanup(func() { c.Close(context.Background()) })
	l := &asking{Link: link{c}}
	m, err := OpenMachine("alice", "phone", l, nil, Options{Refresh: time.Hour})
	w.must(err)
	t.Cleanup(func() { m.Close() })
	notice := share{device: "phone"}
	notices := func(from string, n int, isCopy bool) {
		for range n {
			_, err := m.Take(w.ctx(), chat.Message{From: chat.User(from), To: "alice", Suite: chat.SuiteKeyShare, Content: notice.append(nil)}, isCopy)
			w.must(err)
		}
	}
	looks := func(want int, when string) {
		t.Helper()
		l.asks = 0
		for range 3 {
			w.must(m.look(w.ctx(), m.opt.Refresh, "bob"))
		}
		if l.asks != want {
			t.Errorf("%s: %d looks, want %d", when, l.asks, want)
		}
	}
	notices("bob", 1, false)
	if keys := m.vault.keys("peer/"); len(keys) != 0 {
		t.Errorf("a stranger's notice is kept: %q", keys)
	}
	looks(1, "first")
	looks(0, "then")
	notices("mallory", 100, false)
	notices("bob", 1, true) // a copy is for who gets it
	looks(0, "others' notices")
	notices("bob", 100, false)
	looks(1, "a hundred notices")
	notices("bob", 1, false)
	l.then = func() {
		l.then = nil
		notices("bob", 1, false)
	}
	looks(2, "one that comes while it looks")
	if e := m.Next(); e != nil {
		t.Errorf("%+v", e)
	}
}

// So many are told, those whom the device looked at last.
func TestNoticesAreBounded(t *testing.T) {
	m, err := OpenMachine("alice", "phone", nil, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	for i := range noticesMost + 2 {
		m.vault.set(fmt.Sprintf("peer/user%d", i), fmt.Appendf(nil, `{"Identity":"AAAA","Fetched":%d}`, i))
	}
	m.vault.set("peer/nobody", []byte(`{"Fetched":99999999}`))
	m.vault.set("peer/alice", []byte(`{"Identity":"AAAA","Fetched":99999999}`))
	users, err := m.acquainted()
	if err != nil || len(users) != noticesMost || users[0] != fmt.Sprintf("user%d", noticesMost+1) || users[noticesMost-1] != "user2" {
		t.Errorf("%d users, %v", len(users), err)
	}
}
