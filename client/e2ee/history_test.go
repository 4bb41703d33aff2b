package e2ee

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

// handOver links a device by an old one, which receives meanwhile, and returns
// what the new one is told of history.
func (w *world) handOver(old, tablet *Client, o LinkOptions) LinkedHistory {
	w.Helper()
	code, err := old.OfferLink(w.ctx(), o)
	w.must(err)
	given := make(chan LinkedHistory, 1)
	if o.NoHistory {
		defer w.pump(old)()
	} else {
		go func() { given <- w.historyOf(old) }()
	}
	got := make(chan LinkedHistory, 1)
	go func() { got <- w.historyOf(tablet) }()
	w.must(tablet.Join(w.ctx(), code))
	h := <-got
	if want := (LinkedHistory{Device: chat.Device(tablet.device), Given: true, Sessions: h.Sessions}); !o.NoHistory {
		if g := <-given; g != want {
			w.Errorf("the old device was told %+v, the new one %+v", g, h)
		}
	}
	return h
}

// historyOf receives until a device is told of history.
func (w *world) historyOf(c *Client) LinkedHistory {
	for {
		e, err := c.Receive(w.ctx())
		if err != nil {
			return LinkedHistory{Err: err}
		}
		if h, ok := e.(LinkedHistory); ok {
			return h
		}
	}
}

// comes receives until a text comes. What was sent shortly before the device was there
// may come before it.
func (w *world) comes(c *Client, text string) {
	w.Helper()
	for {
		e := w.next(c)
		if f, ok := e.(Failed); ok {
			w.Fatalf("%+v", f)
		}
		if m, ok := e.(client.Message); ok && string(m.Content) == text {
			return
		}
	}
}

// fails receives until something cannot be shown.
func (w *world) fails(c *Client) Failed {
	w.Helper()
	for {
		if f, ok := w.next(c).(Failed); ok {
			return f
		}
	}
}

// past is what a device reads in the history of a chat, the oldest first; what it cannot
// read is "?", and changes of a group are left out.
func (w *world) past(c *Client, with string) (texts []string) {
	w.Helper()
	page, err := c.History(w.ctx(), with, chat.ID{}, 100)
	w.must(err)
	for _, m := range slices.Backward(page.Messages) {
		switch {
		case m.Suite == chat.SuiteGroup:
		case m.Content == nil:
			texts = append(texts, "?")
		default:
			texts = append(texts, string(m.Content))
		}
	}
	return texts
}

func (w *world) hasPast(c *Client, with string, want ...string) {
	w.Helper()
	if got := w.past(c, with); !slices.Equal(got, want) {
		w.Errorf("%s of %s reads of %s %q, not %q", c.device, c.user, with, got, want)
	}
}

// talked is alice's phone, which has a history with bob, with carol, and with both in a group.
func talked(t *testing.T) (w *world, phone, bob, carol *Client, group string) {
	w = newWorld(t)
	phone, bob, carol = w.device("alice", "phone"), w.device("bob", "phone"), w.device("carol", "phone")
	w.send(bob, "alice", "hello alice")
	w.reads(phone, "hello alice")
	w.send(phone, "bob", "hello bob")
	w.reads(bob, "hello bob")
	w.send(carol, "alice", "between us")
	w.reads(phone, "between us")
	w.send(phone, "carol", "of course")
	w.reads(carol, "of course")
	group = w.group(phone, GroupInfo{Name: "the walrus club"}, "bob", "carol")
	for _, c := range []*Client{bob, carol} {
		w.sees(c, chat.GroupCreate)
		w.inGroup(c) // its name
	}
	w.send(bob, group, "hello all")
	w.allHear("hello all", phone, carol)
	w.send(phone, group, "hello club")
	w.allHear("hello club", bob, carol)
	return w, phone, bob, carol, group
}

// A linked device reads what was sent before it was there, direct and in groups,
// but for what was left out; knows whom the old one had pinned; and goes on. From
// it another one gets the same. The server sees no key.
func TestLinkedDeviceReadsHistory(t *testing.T) {
	w, phone, bob, carol, group := talked(t)
	w.must(phone.look(w.ctx(), 1<<62, "bob"))
	w.must(phone.Verify("bob", true))
	tablet := w.stranger("alice", "tablet")
	h := w.handOver(phone, tablet, LinkOptions{Without: []string{"carol"}})
	// Of bob and of alice, each direct and in the group; not carol's.
	if h.Err != nil || h.Sessions != 4 || h.Device != "phone" || h.Given {
		t.Fatalf("%+v", h)
	}
	w.hasPast(tablet, "bob", "hello alice", "hello bob")
	w.hasPast(tablet, group, "?", "hello all", "hello club") // ?: its name, which is no text
	w.hasPast(tablet, "carol", "?", "?")
	for _, key := range tablet.vault.keys("") {
		if strings.Contains(key, "old/carol/") {
			t.Errorf("of a chat that was left out there is %s", key)
		}
	}
	parts, _, err := phone.pack([]string{"carol", group})
	w.must(err)
	for _, part := range parts {
		if bytes.Contains(part, []byte("carol")) || bytes.Contains(part, []byte(group)) {
			t.Error("what is left out is packed")
		}
	}
	if info, known := tablet.GroupInfo(group); !known || info.Name != "the walrus club" {
		t.Errorf("the group is %+v", info)
	}
	if s, err := tablet.Safety(w.ctx(), "bob"); err != nil || !s.Verified {
		t.Errorf("%+v, %v", s, err)
	}

	// It goes on, also after a restart.
	w.send(bob, "alice", "are you there?")
	w.reads(phone, "are you there?")
	w.comes(tablet, "are you there?")
	tablet.Handled()
	w.must(tablet.Close(context.Background()))
	identity := func(o *Options) { o.Identity = w.dir + "/alice.tablet.identity" }
	tablet = w.device("alice", "tablet", identity)
	w.hasPast(tablet, "bob", "hello alice", "hello bob", "are you there?")

	laptop := w.stranger("alice", "laptop")
	if h := w.handOver(tablet, laptop, LinkOptions{}); h.Err != nil || h.Sessions != 5 {
		t.Errorf("%+v", h)
	}
	w.hasPast(laptop, "bob", "hello alice", "hello bob", "are you there?")
	w.hasPast(laptop, group, "?", "hello all", "hello club")
	w.hasPast(laptop, "carol", "?", "?")
	_ = carol

	// What the server has seen.
	asked, err := readRow[taking](tablet.vault, takingKey)
	w.must(err)
	inData := func(b []byte) bool { return inFolder(t, w.data, string(b)) != "" }
	onWire := func(b []byte) bool {
		w.wire.mu.Lock()
		defer w.wire.mu.Unlock()
		return bytes.Contains(w.wire.bytes.Bytes(), b)
	}
	if !inData(asked.Ask[:]) || !onWire(asked.Ask[:]) {
		t.Error("the search does not find what is there")
	}
	keys := 0
	for _, c := range []*Client{phone, laptop} {
		all, err := c.pasts(nil)
		w.must(err)
		for _, p := range all {
			secret := p.key[5:37] // after the version and index
			for _, b := range [][]byte{secret, []byte(base64.StdEncoding.EncodeToString(secret)[:40]), []byte(hex.EncodeToString(secret))} {
				if keys++; inData(b) || onWire(b) {
					t.Errorf("the key of a session of %s lies in the clear", p.user)
				}
			}
		}
	}
	if keys < 30 {
		t.Errorf("%d keys were looked for", keys)
	}
}

// A device that is given no history is told so, and one that gave a wrong code
// gets nothing, whatever it asks for.
func TestNoHistory(t *testing.T) {
	w, phone, _, _, group := talked(t)
	tablet := w.stranger("alice", "tablet")
	if h := w.handOver(phone, tablet, LinkOptions{NoHistory: true}); !errors.Is(h.Err, ErrNoHistory) || h.Sessions != 0 {
		t.Errorf("%+v", h)
	}
	w.hasPast(tablet, "bob", "?", "?")
	w.hasPast(tablet, group, "?", "?", "?")

	thief := w.stranger("alice", "thief")
	code, err := phone.OfferLink(w.ctx())
	w.must(err)
	wrong, err := parseLinkCode(code)
	w.must(err)
	wrong.secret = make([]byte, linkSecretBytes)
	stop := w.pump(phone)
	if err := w.join(thief, wrong.String()); !errors.Is(err, ErrLinkCode) {
		t.Errorf("a wrong code: %v", err)
	}
	stop()
	// It asks anyway, and also when the old device took it for one that it linked.
	list, err := thief.link.Keys(w.ctx(), "alice")
	w.must(err)
	at := slices.IndexFunc(list[0].Devices, func(d packet.DeviceKeys) bool { return d.Device == "phone" })
	d := device{User: "alice", Device: "phone", Curve: list[0].Devices[at].Curve, Signing: list[0].Devices[at].Signing}
	self := device{User: "alice", Device: "thief", Curve: thief.olm.curve(), Signing: thief.olm.signing()}
	for range 2 {
		_, err = thief.tellTrusted(w.ctx(), &d, &told{kind: tellAsk, peer: "alice", session: newSessionID()}, 0)
		w.must(err)
		if f := w.fails(phone); !errors.Is(f.Err, ErrForged) {
			t.Errorf("%+v", f)
		}
		phone.mu.Lock()
		if len(phone.handing) > 0 {
			t.Error("history is handed to a device that the identity did not sign")
		}
		phone.grants(&self, LinkOptions{})
		phone.mu.Unlock()
	}
	if n, err := phone.handOver(w.ctx(), &grant{To: self}); !errors.Is(err, ErrNoKeys) {
		t.Errorf("%d sessions, %v", n, err)
	}
}

// History comes from the device that linked this one, as it was asked for, and
// from nobody else; goes to the one that was linked, and to nobody else.
func TestHistoryNobodyAskedFor(t *testing.T) {
	w, phone, bob, _, _ := talked(t)
	tablet := w.stranger("alice", "tablet")
	w.must(w.handOver(phone, tablet, LinkOptions{}).Err)
	desktop := w.device("alice", "desktop") // signed by the identity, and not linked by the phone
	parts, sessions, err := phone.pack(nil)
	if err != nil || sessions != 6 || len(parts) != 1 {
		t.Fatalf("%d sessions in %d parts, %v", sessions, len(parts), err)
	}
	before := tablet.vault.keys("old/")
	asked, err := readRow[taking](tablet.vault, takingKey)
	w.must(err)
	refused := func(what string, from *Client, ask sessionID) {
		t.Helper()
		from.tellDevice(w.ctx(), "alice", "tablet", &told{kind: tellHistory, peer: "alice", session: ask, key: parts[0]})
		if f := w.fails(tablet); !errors.Is(f.Err, ErrForged) {
			t.Errorf("%s: %+v", what, f)
		}
	}
	refused("all is there", phone, asked.Ask)
	anew := *asked
	anew.Done, anew.Next, anew.Ask = false, 0, newSessionID()
	writeRow(tablet.vault, takingKey, anew)
	for _, key := range before {
		tablet.vault.drop(key)
	}
	refused("another question", phone, asked.Ask)
	refused("another device", desktop, anew.Ask)
	refused("another user", bob, anew.Ask)
	anew.Until = time.Now().UnixMilli() - 1
	writeRow(tablet.vault, takingKey, anew)
	refused("too late", phone, anew.Ask)
	if n := len(tablet.vault.keys("old/")); n != 0 {
		t.Errorf("%d sessions were taken", n)
	}

	// The desktop was not linked by the phone; the tablet was, and has it all.
	for _, c := range []*Client{desktop, tablet} {
		c.tellDevice(w.ctx(), "alice", "phone", &told{kind: tellAsk, peer: "alice", session: newSessionID()})
		for {
			m := w.raw(phone, chat.SuiteKeyShare)
			w.must(phone.takeShare(w.ctx(), m, false))
			if s, err := parseShare(m.Content); err == nil && s.device == c.device {
				break
			}
		}
		phone.mu.Lock()
		if len(phone.handing) > 0 {
			t.Errorf("history is handed to the %s", c.device)
		}
		phone.mu.Unlock()
	}
	// Nor to a device that is gone.
	row, err := readRow[grant](phone.vault, phone.vault.keys("handing/")[0])
	w.must(err)
	w.must(phone.RemoveDevice(w.ctx(), "tablet"))
	if _, err := phone.handOver(w.ctx(), row); !errors.Is(err, ErrNoKeys) {
		t.Errorf("to a device that was removed: %v", err)
	}
}

// faultsOrHistory is what waits for the app, but for messages.
func faultsOrHistory(m *Machine) (told []Event) {
	for e := m.Next(); e != nil; e = m.Next() {
		switch e.(type) {
		case LinkedHistory, Failed:
			told = append(told, e)
		}
	}
	return told
}

// What was cut off in the middle begins anew, and what comes again, also under
// another id, changes nothing.
func TestHistoryIsCutOff(t *testing.T) {
	w, phone, _, _, _ := talked(t)
	tablet := w.stranger("alice", "tablet")
	w.must(w.handOver(phone, tablet, LinkOptions{}).Err)
	faultsOrHistory(phone.Machine)
	faultsOrHistory(tablet.Machine)
	before := map[string]string{}
	for _, key := range tablet.vault.keys("old/") {
		before[key] = string(tablet.vault.get(key))
	}
	asked, err := readRow[taking](tablet.vault, takingKey)
	w.must(err)
	asked.Done, asked.Next = false, 5
	writeRow(tablet.vault, takingKey, asked)
	row, err := readRow[grant](phone.vault, phone.vault.keys("handing/")[0])
	w.must(err)
	row.Done = false
	writeRow(phone.vault, phone.vault.keys("handing/")[0], row)
	phone.Machine.Connected()
	var again chat.Message
	for {
		again = w.raw(tablet, chat.SuiteKeyShare)
		w.must(tablet.takeShare(w.ctx(), again, false))
		if s, err := parseShare(again.Content); err == nil && s.session == asked.Ask {
			break
		}
	}
	if told := faultsOrHistory(tablet.Machine); len(told) != 1 || told[0] != (LinkedHistory{Device: "phone", Sessions: 6}) {
		t.Errorf("%+v", told)
	}
	w.must(tablet.takeShare(w.ctx(), again, false)) // as after a crash, or from a server that repeats it
	if told := faultsOrHistory(tablet.Machine); len(told) != 0 {
		t.Errorf("a part that comes again: %+v", told)
	}
	// A server that gives it a newer id brings neither the part nor the question back, and nobody
	// is to blame: Olm opens each once.
	page, err := phone.Client.History(w.ctx(), "alice", chat.ID{}, 100)
	w.must(err)
	question := slices.IndexFunc(page.Messages, func(m chat.Message) bool {
		s, err := parseShare(m.Content)
		return m.Suite == chat.SuiteKeyShare && err == nil && s.device == "tablet" && s.session == asked.Ask
	})
	for c, copied := range map[*Client]chat.Message{tablet: again, phone: page.Messages[question]} {
		faultsOrHistory(c.Machine)
		copied.ID = chat.NewID(again.ID.Ticks()+1, 0, chat.Node{1})
		w.must(c.takeShare(w.ctx(), copied, false))
		if told := faultsOrHistory(c.Machine); len(told) != 0 {
			t.Errorf("a copy that comes to the %s: %+v", c.device, told)
		}
	}
	for _, key := range tablet.vault.keys("old/") {
		if string(tablet.vault.get(key)) != before[key] {
			t.Errorf("%s has changed", key)
		}
	}
	if n := len(tablet.vault.keys("old/")); len(before) == 0 || n != len(before) {
		t.Errorf("%d sessions, then %d", len(before), n)
	}
}

// The new device was shown another identity of bob than the old one has pinned:
// it sends nothing until the user says who is right.
func TestHistoryTellsOfASwappedIdentity(t *testing.T) {
	w, phone, _, _, _ := talked(t)
	mallory := w.device("mallory", "phone")
	var lies lyingLink
	lie := func(u *packet.UserKeys) {
		if u.User == "bob" {
			u.Identity, u.Devices = mallory.identityKey(), nil
		}
	}
	tablet := w.stranger("alice", "tablet", func(o *Options) {
		o.wrap = func(l Link) Link {
			lies.Link = l
			return &lies
		}
	})
	lies.lie.Store(&lie)
	_, err := tablet.Safety(w.ctx(), "bob") // which pins it
	w.must(err)
	w.must(w.handOver(phone, tablet, LinkOptions{}).Err)
	if _, err := tablet.Send(w.ctx(), "bob", []byte("x")); !errors.Is(err, ErrChanged) {
		t.Errorf("sent to another identity than the phone knows: %v", err)
	}
	lies.lie.Store(nil)
	w.send(tablet, "bob", "y") // the server tells the truth again

	// Who compared numbers here knows better.
	e := identityEntry{user: "bob", identity: mallory.identityKey(), verified: true}
	tablet.mu.Lock()
	defer tablet.mu.Unlock()
	p, err := tablet.peer("bob")
	w.must(err)
	pinned := p.Identity
	p.Verified = true
	tablet.keepPeer("bob", p)
	w.must(tablet.takeIdentityOf(&e))
	if p, _ := tablet.peer("bob"); p.Changed != nil || !bytes.Equal(p.Identity, pinned) {
		t.Errorf("%+v", p)
	}
	e.user = "alice"
	w.must(tablet.takeIdentityOf(&e))
	if p, _ := tablet.peer("alice"); bytes.Equal(p.Identity, e.identity) {
		t.Error("the user's own identity was taken from history")
	}
}

// readBy is how a device reads a message that the server has in a history, nil
// where it cannot.
func readBy(c *Client, m chat.Message) []byte { return c.Readable(m).Content }

// A session that was handed over reads what the other device had read, as it was
// sent, and nothing that comes; what a sender gave counts before it.
func TestPastSessions(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	var sent []chat.Message
	for i := range 3 {
		w.send(alice, "bob", fmt.Sprint(i))
		sent = append(sent, w.reads(bob, fmt.Sprint(i)).Message)
	}
	newest := w.send(alice, "bob", "3")
	page, err := bob.Client.History(w.ctx(), "alice", chat.ID{}, 100)
	w.must(err)
	for page.Messages[0].ID != newest { // being durable is before being stored
		page, err = bob.Client.History(w.ctx(), "alice", chat.ID{}, 100)
		w.must(err)
	}
	unread := page.Messages[0]
	for _, m := range page.Messages { // as the server has them
		for i := range sent {
			if sent[i].ID == m.ID {
				sent[i] = m
			}
		}
	}
	session := alice.out["bob"].id()
	key := inboundKey("alice", session)
	p, _, err := bob.pastOf(key)
	w.must(err)
	if p.until != 2 || p.place != sent[2].Place {
		t.Fatalf("it reads up to %d, at %v", p.until, p.place)
	}
	w.must(bob.Close(context.Background()))

	tablet := w.device("bob", "tablet")
	put := func(p past) bool {
		t.Helper()
		tablet.mu.Lock()
		defer tablet.mu.Unlock()
		added, _ := tablet.in.putPast(&p)
		return added
	}
	for what, change := range map[string]func(p *past){
		"a key that is cut off":   func(p *past) { p.key = p.key[:len(p.key)-1] },
		"a weak key":              func(p *past) { p.key = append(bytes.Clone(p.key[:len(p.key)-32]), make([]byte, 32)...) },
		"too far":                 func(p *past) { p.until = maxIndex + 1 },
		"no user":                 func(p *past) { p.user = "" },
		"a user that is a path":   func(p *past) { p.user = "a/b" },
		"no chat":                 func(p *past) { p.peer = "a b" },
		"a device without a name": func(p *past) { p.device = "" },
	} {
		other := *p
		change(&other)
		if put(other) || len(tablet.vault.keys("old/")) > 0 {
			t.Errorf("%s was taken", what)
		}
		if _, err := parseArchive(append([]byte{0}, entryOf(entrySession, other.append(nil))...)); err == nil {
			t.Errorf("%s was parsed", what)
		}
	}

	// Said to be of somebody else, or to somebody else, it reads nothing of theirs.
	for _, change := range []func(p *past, m *chat.Message){
		func(p *past, m *chat.Message) { p.user, m.From = "mallory", "mallory" },
		func(p *past, m *chat.Message) { p.peer, m.To = "carol", "carol" },
		func(p *past, m *chat.Message) { p.device = "laptop" },
	} {
		other, m := *p, sent[0]
		change(&other, &m)
		if !put(other) || readBy(tablet, m) != nil || readBy(tablet, sent[0]) != nil {
			t.Errorf("a session of %s of %s to %s reads what it should not", other.device, other.user, other.peer)
		}
		tablet.vault.drop(pastKey(inboundKey(other.user, session)))
	}

	if !put(*p) || put(*p) {
		t.Error("it was not taken, or twice")
	}
	if got := readBy(tablet, sent[1]); string(got) != "1" {
		t.Errorf("it reads %q", got)
	}
	moved := sent[1]
	moved.ID[3]++
	forged := sent[2]
	forged.Content = bytes.Clone(forged.Content)
	forged.Content[len(forged.Content)-1] ^= 1
	for what, m := range map[string]chat.Message{"under another id": moved, "forged": forged} {
		if readBy(tablet, m) != nil {
			t.Errorf("%s: it was read", what)
		}
	}
	// Of a group not beyond what was read, as who sent it may have left since.
	beyond, err := parseSealed(unread.Content)
	w.must(err)
	_, opened, err := p.open()
	w.must(err)
	ofGroup := *p
	ofGroup.peer = string(chat.NewGroup("", chat.NewID(1, 0, chat.Node{1})))
	if !p.reads(opened, &beyond) || ofGroup.reads(opened, &beyond) {
		t.Error("beyond what was read it reads of a group, or not of a direct chat")
	}
	// What comes is not read by it: what the other device had seen is a replay, else it
	// waits for its sender to give the key.
	again := sent[1]
	again.Place = sent[2].Place + 1
	if f, ok := gets(tablet, again).(Failed); !ok || !errors.Is(f.Err, ErrReplayed) {
		t.Errorf("an old message that comes anew: %+v", f)
	}
	if e := gets(tablet, unread); e != nil || tablet.Waiting() != 1 {
		t.Errorf("%+v", e)
	}

	// The sender's own word counts before it.
	bobPhone := device{User: "alice", Device: "phone", Curve: p.curve}
	put1 := func(from uint32) {
		t.Helper()
		_, in, err := p.open()
		w.must(err)
		export, err := in.export(from)
		w.must(err)
		ratchet, err := parseKey(tellExport, session, export)
		w.must(err)
		tablet.mu.Lock()
		defer tablet.mu.Unlock()
		w.must(tablet.in.put(&bobPhone, "bob", session, ratchet))
	}
	put1(2)
	if in, _ := tablet.in.get("alice", session); in == nil || len(in.seen) != 1 || in.ratchet.FirstKnownIndex() != 2 {
		t.Errorf("what was read before is forgotten: %+v", in)
	}
	for i := range sent {
		if got := readBy(tablet, sent[i]); string(got) != fmt.Sprint(i) {
			t.Errorf("message %d is read as %q", i, got)
		}
	}
	tablet.vault.drop(pastKey(key))
	narrow := *p
	_, in, err := p.open()
	w.must(err)
	narrow.key, err = in.export(2)
	w.must(err)
	other := *p
	other.device = "laptop"
	if put(narrow) || put(other) {
		t.Error("it took the place of what the sender gave")
	}
	put1(0)
	if put(*p) || len(tablet.vault.keys("old/")) != 0 {
		t.Error("a session that is known whole was taken")
	}
}

func entryOf(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 8), byte(len(body))}, body...)
}

// archivist is a machine without a server that has sessions, each with one message
// read, from the oldest on.
func archivist(t *testing.T, sessions int) *Machine {
	m, err := OpenMachine("alice", "phone", &bigGroup{}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	d := device{User: "bob", Device: "phone", Curve: bytes.Repeat([]byte{9}, curveBytes)}
	for i := range sessions {
		o, err := newOutbound(time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := o.key()
		if err != nil {
			t.Fatal(err)
		}
		ratchet, err := parseKey(tellKey, o.id(), key)
		if err == nil {
			err = m.in.put(&d, "alice", o.id(), ratchet)
		}
		if err != nil {
			t.Fatal(err)
		}
		in, _ := m.in.get("bob", o.id())
		m.in.note(in, o.id(), 0, seen{id: chat.NewID(uint64(i+1), 0, chat.Node{1}), place: chat.Position(i + 1)})
	}
	return m
}

// takes is a machine that waits for history of another.
func takes(t *testing.T, from *device) (*Machine, sessionID) {
	m, err := OpenMachine("alice", "tablet", &bigGroup{}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	m.expects(from)
	row, _ := readRow[taking](m.vault, takingKey)
	return m, row.Ask
}

// No more is handed over than the limits say, the newest first, in parts that fit
// into messages; and no more is taken.
func TestHistoryIsBounded(t *testing.T) {
	const more = 5
	old := archivist(t, archiveSessions+more)
	parts, sessions, err := old.pack(nil)
	if err != nil || sessions != archiveSessions {
		t.Fatalf("%d sessions, %v", sessions, err)
	}
	from := device{User: "alice", Device: "phone", Curve: old.olm.curve()}
	tablet, ask := takes(t, &from)
	give := func(index int, part []byte) error {
		return tablet.takeHistory(&from, &told{kind: tellHistory, session: ask, index: uint32(index), key: part})
	}
	oldest := chat.Position(archiveSessions)
	for i, part := range parts {
		if len(part) > archivePart+1 {
			t.Errorf("part %d has %d bytes", i, len(part))
		}
		a, err := parseArchive(part)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range a.sessions {
			oldest = min(oldest, p.place)
		}
		if err := give(i, part); err != nil {
			t.Fatal(err)
		}
	}
	if oldest != more+1 {
		t.Errorf("the oldest is %d", oldest)
	}
	if h, ok := tablet.Next().(LinkedHistory); !ok || h.Err != nil || h.Sessions != archiveSessions || len(tablet.vault.keys("old/")) != archiveSessions {
		t.Errorf("%+v", h)
	}

	// Out of order, and more than there may be.
	over, ask2 := takes(t, &from)
	ask = ask2
	tablet = over
	if err := give(1, parts[1]); err != nil || len(over.vault.keys("old/")) != 0 {
		t.Errorf("a part out of order: %v", err)
	}
	row, _ := readRow[taking](over.vault, takingKey)
	row.Next, row.Sessions = 1, archiveSessions-1
	writeRow(over.vault, takingKey, row)
	if err := give(1, parts[1]); !errors.Is(err, ErrForged) || len(over.vault.keys("old/")) != 0 {
		t.Errorf("too much: %v", err)
	}
	if h, ok := over.Next().(LinkedHistory); !ok || !errors.Is(h.Err, ErrForged) {
		t.Errorf("%+v", h)
	}
	if err := give(0, parts[0]); !errors.Is(err, ErrForged) {
		t.Errorf("after the end: %v", err)
	}

	// A group's picture that is too large for a part stays where it is.
	var p packer
	club := string(chat.NewGroup("", chat.NewID(1, 0, chat.Node{1})))
	old.keepRoster(club, &roster{Marks: map[string][]mark{}, Info: &GroupInfo{Name: "club", Picture: make([]byte, archivePart)}, InfoAt: 7})
	if err := old.packGroups(&p, nil); err != nil {
		t.Fatal(err)
	}
	if a, err := parseArchive(p.end()[0]); err != nil || len(a.groups) != 1 || a.groups[0].info.Name != "club" || a.groups[0].info.Picture != nil || a.groups[0].at != 7 {
		t.Errorf("%+v, %v", a.groups, err)
	}
}
