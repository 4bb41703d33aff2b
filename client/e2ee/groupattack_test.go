package e2ee

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

// What a server may do to a message of a group is found, as in a direct chat; and
// who is no member at a place says nothing there, whatever key they have shared.
func TestGroupAttacks(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.device("alice", "phone"), w.device("bob", "phone"), w.device("carol", "phone")
	mallory := w.device("mallory", "phone")
	group := w.group(alice, GroupInfo{}, "bob", "carol")
	w.send(alice, group, "pay 10")
	w.allHear("pay 10", bob, carol)
	m := w.newest(alice, group)
	w.change(alice, group, chat.GroupRemove, "carol")
	w.send(alice, group, "carol is gone")
	w.allHear("carol is gone", bob)
	later := w.newest(alice, group).Place + 100

	for what, c := range map[string]struct {
		change func(m *chat.Message)
		want   error
	}{
		"replayed at another place": {func(m *chat.Message) { m.Place = later }, ErrReplayed},
		"replayed under another id": {func(m *chat.Message) { m.ID[3]++ }, ErrReplayed},
		"a bit changed":             {func(m *chat.Message) { m.Content[len(m.Content)-80] ^= 1 }, ErrForged},
		"a signature changed":       {func(m *chat.Message) { m.Content[len(m.Content)-1] ^= 1 }, ErrForged},
		"not encrypted":             {func(m *chat.Message) { m.Suite, m.Content = chat.SuitePlain, []byte("pay 99") }, ErrPlain},
		"of who was removed":        {func(m *chat.Message) { m.From, m.Place = "carol", later }, ErrNotMember},
		"of a stranger":             {func(m *chat.Message) { m.From, m.Place = "mallory", later }, ErrNotMember},
		"moved to a direct chat":    {func(m *chat.Message) { m.To = "bob" }, ErrMoved},
	} {
		other := m
		other.Content = bytes.Clone(m.Content)
		c.change(&other)
		e := gets(bob, other)
		if f, ok := e.(Failed); !ok || !errors.Is(f.Err, c.want) || f.Message.Content != nil {
			t.Errorf("%s: %T %+v", what, e, e)
		}
	}

	// Mallory shares a session of the group, as if she were in it.
	mallory.mu.Lock()
	r := newRoster()
	r.change("mallory", &chat.Change{Verb: chat.GroupCreate, Users: []chat.User{"bob"}}, 1)
	mallory.groups[group] = r
	s, err := newOutbound(time.Now(), nil)
	mallory.mu.Unlock()
	w.must(err)
	w.must(mallory.look(w.ctx(), 0, "bob"))
	mallory.mu.Lock()
	devices, err := mallory.membersDevices(group)
	mallory.mu.Unlock()
	w.must(err)
	w.must(mallory.sendKey(w.ctx(), group, s, devices))
	if f, ok := w.inGroup(bob).(Failed); !ok || !errors.Is(f.Err, ErrNotMember) || f.Message.From != "mallory" {
		t.Errorf("her share: %+v", f)
	}
	bob.mu.Lock()
	defer bob.mu.Unlock()
	if in, err := bob.in.get("mallory", s.id()); in != nil || err != nil {
		t.Errorf("it was taken: %+v, %v", in, err)
	}
}

// The name of a group is an admin's to give.
func TestGroupNamedByAMember(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	group := w.group(alice, GroupInfo{Name: "ours"}, "bob")
	w.inGroup(bob)
	_, err := bob.SetGroupInfo(w.ctx(), group, GroupInfo{Name: "mine"})
	w.must(err)
	if f, ok := w.inGroup(alice).(Failed); !ok || !errors.Is(f.Err, ErrNotMember) {
		t.Errorf("%+v", f)
	}
	if info, _ := alice.GroupInfo(group); info.Name != "ours" {
		t.Errorf("it is %q", info.Name)
	}
	if _, err := alice.SetGroupInfo(w.ctx(), group, GroupInfo{Name: string(make([]byte, maxGroupName+1))}); chat.CodeOf(err) != chat.CodeTooLarge {
		t.Errorf("too long a name: %v", err)
	}
}

// liar is a server that puts somebody into the list of a group.
type liar struct {
	Link
	who atomic.Value // a string, once it lies
}

func (l *liar) Members(ctx context.Context, group, beyond string) (packet.GroupPage, error) {
	page, err := l.Link.Members(ctx, group, beyond)
	if who, _ := l.who.Load().(string); err == nil && who != "" && beyond == "" {
		page.Members = append(page.Members, packet.MemberRow{User: who, Since: page.Place})
		slices.SortFunc(page.Members, func(a, b packet.MemberRow) int { return bytes.Compare([]byte(a.User), []byte(b.User)) })
	}
	return page, err
}

// listedAlone is bob's group with alice, in whose list the server has mallory too.
func (w *world) listedAlone() (alice, bob *Client, group string, lies *liar) {
	alice, lies = w.lyingDevice("alice", "phone")
	bob = w.device("bob", "phone")
	w.device("mallory", "phone")
	group = w.group(bob, GroupInfo{}, "alice")
	w.sees(alice, chat.GroupCreate)
	lies.who.Store("mallory")
	return alice, bob, group, lies
}

// Whom the server puts into the list, and no change in the chat, gets no key, and
// the app is told. A change that the server invents is a message that all see.
func TestGroupListedByTheServerAlone(t *testing.T) {
	w := newWorld(t)
	alice, bob, group, _ := w.listedAlone()
	w.send(alice, group, "between us")
	w.allHear("between us", bob)
	readers, err := alice.readersOf(alice.out[group].id())
	if _, has := readers["mallory"]; has || err != nil || len(readers) != 1 {
		t.Errorf("the readers are %v, %v", readers, err)
	}
	w.send(bob, group, "and so on")
	w.told(alice, Unannounced{Group: chat.User(group), User: "mallory"})
}

// lyingDevice is a device whose server lies as it is told.
func (w *world) lyingDevice(user, name string) (*Client, *liar) {
	w.Helper()
	lies := &liar{}
	return w.device(user, name, func(o *Options) {
		o.wrap = func(l Link) Link {
			lies.Link = l
			return lies
		}
	}), lies
}

// told wants the next Unannounced of a device, and passes over messages.
func (w *world) told(c *Client, want Unannounced) {
	w.Helper()
	for {
		switch e := w.next(c).(type) {
		case Unannounced:
			if e != want {
				w.Errorf("told of %+v, want %+v", e, want)
			}
			return
		case client.Message:
		default:
			w.Fatalf("%T %+v, want %+v", e, e, want)
		}
	}
}

// The server cuts off a device's chain, and the list that counts then has
// somebody whom no change has shown: the app is told for whom it encrypts now.
func TestGroupListedAfterTheChainWasCut(t *testing.T) {
	w := newWorld(t)
	alice, bob, group, lies := w.listedAlone()
	alice.Truncated()
	w.send(alice, group, "are you still there?")
	w.told(alice, Unannounced{Group: chat.User(group), User: "mallory", Reads: true})
	readers, err := alice.readersOf(alice.out[group].id())
	if _, has := readers["mallory"]; !has || err != nil {
		t.Errorf("the readers are %v, %v", readers, err)
	}
	// Where nothing was missed nobody is told of anything.
	lies.who.Store("")
	alice.Truncated()
	w.send(alice, group, "just us")
	w.allHear("are you still there?", bob)
	w.allHear("just us", bob)
	if e := alice.Next(); e != nil {
		t.Errorf("told of %+v", e)
	}
}

// The server keeps from a device that somebody was removed: that the list has
// them no more is enough for them to get no key.
func TestGroupRemovalWithheld(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.device("alice", "phone"), w.device("bob", "phone"), w.device("carol", "phone")
	group := w.group(bob, GroupInfo{}, "alice", "carol")
	w.sees(alice, chat.GroupCreate)
	w.send(alice, group, "before")
	w.allHear("before", bob, carol)
	w.change(bob, group, chat.GroupRemove, "carol")
	w.raw(alice, chat.SuiteGroup) // which does not reach her
	w.send(alice, group, "without carol")
	w.allHear("without carol", bob)
	w.keyless(carol, w.newest(bob, group))
}

// The server adds somebody again who was removed. In silence they get no key;
// by a change in an admin's name all see it before they do, and the admin's own
// device, which knows that it made none, gives them nothing.
func TestGroupAddedAgainByTheServer(t *testing.T) {
	w := newWorld(t)
	alice, lies := w.lyingDevice("alice", "phone")
	bob, bobLies := w.lyingDevice("bob", "phone")
	carol := w.device("carol", "phone")
	group := w.group(bob, GroupInfo{}, "alice", "carol")
	w.change(bob, group, chat.GroupRemove, "carol")
	w.sees(alice, chat.GroupCreate)
	removed := w.sees(alice, chat.GroupRemove)

	lies.who.Store("carol")
	w.send(alice, group, "carol is gone")
	w.allHear("carol is gone", bob)
	w.keyless(carol, w.newest(bob, group))
	w.send(bob, group, "yes")
	w.told(alice, Unannounced{Group: chat.User(group), User: "carol"})

	forged := removed
	forged.ID[3]++
	forged.Place += 100
	forged.Content = (&chat.Change{Verb: chat.GroupAdd, Users: []chat.User{"carol"}}).AppendTo(nil)
	bobLies.who.Store("carol")
	w.must(bob.Own(w.ctx(), forged))
	members, err := bob.GroupMembers(w.ctx(), group)
	w.must(err)
	if slices.ContainsFunc(members, func(m GroupMember) bool { return m.User == "carol" }) {
		t.Errorf("bob, who added nobody, has as members %+v", members)
	}
	e, ok := gets(alice, forged).(client.Message)
	if change, err := chat.ParseChange(e.Content); !ok || err != nil || change.Verb != chat.GroupAdd || !slices.Equal(change.Users, []chat.User{"carol"}) || e.From != "bob" {
		t.Errorf("alice is shown %+v", e)
	}
}

// bigGroup is a server of a group with many members, and what it was asked.
type bigGroup struct {
	members []packet.MemberRow
	keys    map[string]packet.UserKeys
	claims  map[string]packet.ClaimedKey

	mu                        sync.Mutex
	pages, keysGet, keysClaim int
	shares, parts, bytes      int
}

func (g *bigGroup) PutKeys(context.Context, packet.KeysPut) (int, error) { return keepOneTime, nil }
func (g *bigGroup) DropKeys(context.Context, string) error               { return nil }
func (g *bigGroup) RevokeDevice(context.Context, string) error           { return nil }
func (g *bigGroup) Session() <-chan struct{}                             { return make(chan struct{}) }

func (g *bigGroup) Keys(_ context.Context, users ...string) (list []packet.UserKeys, err error) {
	g.keysGet++
	if len(users) > 64 {
		return nil, chat.Errorf(chat.CodeTooMany, "%d users", len(users))
	}
	for _, u := range users {
		list = append(list, g.keys[u])
	}
	return list, nil
}

func (g *bigGroup) ClaimKeys(_ context.Context, devices ...packet.DeviceRef) (list []packet.ClaimedKey, err error) {
	g.keysClaim++
	if len(devices) > 64 {
		return nil, chat.Errorf(chat.CodeTooMany, "%d devices", len(devices))
	}
	for _, d := range devices {
		list = append(list, g.claims[d.User])
	}
	return list, nil
}

func (g *bigGroup) Members(_ context.Context, group, beyond string) (packet.GroupPage, error) {
	g.pages++
	i, _ := slices.BinarySearchFunc(g.members, beyond+"\x00", func(m packet.MemberRow, name string) int { return strings.Compare(m.User, name) })
	end := min(i+500, len(g.members))
	return packet.GroupPage{Group: group, Members: g.members[i:end], More: end < len(g.members), Place: 9}, nil
}

func (g *bigGroup) SendShare(_ context.Context, _ string, content []byte, _ time.Duration) (func(context.Context) error, error) {
	s, err := parseShare(content)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shares, g.parts, g.bytes = g.shares+1, g.parts+len(s.parts), g.bytes+len(content)
	return func(context.Context) error { return nil }, err
}

// add makes a member with a device.
func (g *bigGroup) add(t *testing.T, user string) {
	v := &vault{rows: map[string][]byte{}}
	_, identity, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m, err := openOlm(v, user, "phone", identity)
	if err != nil {
		t.Fatal(err)
	}
	put, err := m.put()
	if err != nil {
		t.Fatal(err)
	}
	g.members = append(g.members, packet.MemberRow{User: user, Since: 1})
	g.keys[user] = packet.UserKeys{User: user, Identity: put.Identity, Devices: []packet.DeviceKeys{{Device: "phone", Curve: put.Curve, Signing: put.Signing, Signature: put.Signature}}}
	g.claims[user] = packet.ClaimedKey{User: user, Device: "phone", Fallback: true, PreKey: put.Fallback}
}

// A session for a group of 1,024 takes few requests, each within the server's
// limits, and a share for each member; the next message nothing of that.
func TestGroupOf1024(t *testing.T) {
	g := &bigGroup{keys: map[string]packet.UserKeys{}, claims: map[string]packet.ClaimedKey{}}
	for i := range 1023 {
		g.add(t, fmt.Sprintf("user%04d", i))
	}
	m, err := OpenMachine("zoe", "phone", g, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put, err := m.olm.put()
	if err != nil {
		t.Fatal(err)
	}
	g.members = append(g.members, packet.MemberRow{User: "zoe", Admin: true, Since: 1})
	g.keys["zoe"] = packet.UserKeys{User: "zoe", Identity: put.Identity, Devices: []packet.DeviceKeys{{Device: "phone", Curve: put.Curve, Signing: put.Signing, Signature: put.Signature}}}
	m.Start()
	defer m.Close()
	group := string(chat.NewGroup("", chat.NewID(1, 1, chat.Node{1})))
	send := func() {
		t.Helper()
		seal, done, err := m.Ready(t.Context(), group, TypeBody, []byte("hi"))
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		if _, err := seal(chat.NewID(2, 1, chat.Node{1})); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	send()
	t.Logf("%v for the first message: %d pages of members, %d requests for keys, %d claims, %d shares of %d bytes", time.Since(began), g.pages, g.keysGet, g.keysClaim, g.shares, g.bytes)
	if g.pages != 3 || g.keysGet != 16 || g.keysClaim != 16 || g.shares != 1023 || g.parts != 1023 || g.bytes > 1023*1024 {
		t.Errorf("%d pages, %d requests for keys, %d claims, %d shares with %d parts, %d bytes", g.pages, g.keysGet, g.keysClaim, g.shares, g.parts, g.bytes)
	}
	began = time.Now()
	send()
	t.Logf("%v for the next", time.Since(began))
	if g.pages != 3 || g.keysGet != 16 || g.shares != 1023 {
		t.Errorf("the next message asked again: %d, %d, %d", g.pages, g.keysGet, g.shares)
	}
}
