package e2ee

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/rookery-chat/rookery/chat"
)

// readyEvent is an event for the app; held is the row of a message that waited.
type readyEvent struct {
	event Event
	held  string
}

// heldRow is a message that waits for its key, or a share whose sender is not
// trusted yet.
type heldRow struct {
	key     string
	Message chat.Message
	Copy    bool
}

// Next returns the event that waits, nil for none: what was held and has its key
// now, and what is to be told of identities and keys. It comes before what the
// link brings next.
func (c *Machine) Next() Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) == 0 {
		return nil
	}
	r := c.ready[0]
	c.ready = c.ready[1:]
	c.shown = r.held
	return r.event
}

// Handled says that what Next returned last has been handled.
func (c *Machine) Handled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown != "" {
		c.vault.drop(c.shown)
		c.shown = ""
	}
}

// Connected says that a session began.
func (c *Machine) Connected() {
	c.poke()
	c.askAgain()
	c.historyAgain()
}

// KeysLow says that the server has few one-time keys of this device left.
func (c *Machine) KeysLow() { c.poke() }

// Take makes of a message, or of one that another device of the user sent, what
// the app is to see, nil for nothing. An error says that it is to be taken
// again: its sender could not be looked up now.
func (c *Machine) Take(ctx context.Context, m chat.Message, isCopy bool) (Event, error) {
	if m.To.IsGroup() {
		if err := c.takeGroup(ctx, &m); err != nil {
			return nil, err
		}
	}
	switch m.Suite {
	case chat.SuiteMegolm:
		c.mu.Lock()
		defer c.mu.Unlock()
		out, held := c.show(m, isCopy, true)
		if held {
			c.hold(m, isCopy)
		}
		return out, nil
	case chat.SuiteKeyShare:
		return nil, c.takeShare(ctx, m, isCopy)
	case chat.SuitePlain:
		if c.opt.AllowPlain {
			return eventOf(m, isCopy), nil
		}
		return failed(m, isCopy, ErrPlain), nil
	}
	if m.Suite == chat.SuiteGroup && m.To.IsGroup() { // the server reads it too: there is nothing to decrypt
		return eventOf(m, isCopy), nil
	}
	return failed(m, isCopy, fmt.Errorf("e2ee: suite %d is not known to this version", m.Suite)), nil
}

func failed(m chat.Message, isCopy bool, err error) Event {
	m.Content = nil
	return Failed{Message: m, Copy: isCopy, Err: err}
}

// show decrypts a message. held says that its key is not here, or that it is not
// known yet whether its sender was a member of the group. c.mu is held.
func (c *Machine) show(m chat.Message, isCopy, live bool) (out Event, held bool) {
	s, err := parseSealed(m.Content)
	if err != nil {
		return failed(m, isCopy, err), false
	}
	if m.To.IsGroup() {
		is, err := c.standing(&m)
		switch {
		case err != nil:
			return failed(m, isCopy, err), false
		case is == left, is == never && live:
			return failed(m, isCopy, fmt.Errorf("%w: %s, at %v", ErrNotMember, m.From, m.Place)), false
		case is == unknown && live:
			return nil, true
		}
	}
	in, err := c.in.get(string(m.From), s.session)
	if err != nil {
		return failed(m, isCopy, err), false
	}
	past, old, err := c.in.past(string(m.From), s.session)
	switch {
	case err != nil:
		return failed(m, isCopy, err), false
	case live && past != nil && past.again(&s, m.Place):
		return failed(m, isCopy, fmt.Errorf("%w: another device of this user had it by %v", ErrReplayed, past.place)), false
	case !live && past != nil && (in == nil || in.lacks(&s)) && past.reads(old, &s):
		in = old
	case in == nil || live && in.lacks(&s):
		return nil, true
	}
	i, err := c.in.open(in, &s, &m, live)
	if err != nil {
		return failed(m, isCopy, err), false
	}
	if i.kind == TypeGroupInfo && m.To.IsGroup() {
		return c.named(&m, i.body, isCopy, live), false
	}
	if err := c.noteTimer(chatOf(c.user, string(m.From), string(m.To)), m.ID, i.kind, i.body, false); err != nil {
		return failed(m, isCopy, err), false
	}
	if m.Content = append([]byte{}, i.body...); i.kind != TypeBody {
		return Typed{Message: m, Type: i.kind, Copy: isCopy}, false
	}
	return eventOf(m, isCopy), false
}

// hold keeps a message until its key comes, and asks for the key. Of too many
// the oldest fails of the user who has the most, so that nobody's push out those
// of others. c.mu is held.
func (c *Machine) hold(m chat.Message, isCopy bool) {
	h := heldRow{key: fmt.Sprintf("held/%016x", c.heldNext), Message: m, Copy: isCopy}
	c.heldNext++
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // it has nothing that cannot be written
	}
	c.vault.set(h.key, b)
	c.held = append(c.held, h)
	if len(c.held) > c.opt.Held {
		i := surplus(c.held)
		c.give(failed(c.held[i].Message, c.held[i].Copy, ErrNoKey), c.held[i].key)
		c.held = slices.Delete(c.held, i, i+1)
	}
	c.ask(h)
}

// surplus finds the oldest message of the user who has the most.
func surplus(held []heldRow) (oldest int) {
	of := map[chat.User]int{}
	most := 0
	for _, h := range held {
		of[h.Message.From]++
		most = max(most, of[h.Message.From])
	}
	return slices.IndexFunc(held, func(h heldRow) bool { return of[h.Message.From] == most })
}

// give queues an event for a held message, however many wait. c.mu is held.
func (c *Machine) give(e Event, key string) {
	c.ready = append(c.ready, readyEvent{e, key})
	c.rouse()
}

// wakes sets what is called, once, when there is something for Next. It reports
// whether there is now, and then calls nothing.
func (c *Machine) wakes(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f != nil && len(c.ready) > 0 {
		return true
	}
	c.wake = f
	return false
}

// rouse calls it. c.mu is held.
func (c *Machine) rouse() {
	if c.wake != nil {
		c.wake()
		c.wake = nil
	}
}

// loadHeld takes over what an earlier run held.
func (c *Machine) loadHeld() error {
	for _, key := range c.vault.keys("held/") {
		h := heldRow{}
		if err := json.Unmarshal(c.vault.get(key), &h); err != nil {
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		h.key = key
		var n uint64
		if _, err := fmt.Sscanf(key, "held/%x", &n); err != nil {
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		c.held, c.heldNext = append(c.held, h), n+1
	}
	c.release()
	return nil
}

// release gives the held messages whose keys have come. c.mu is held, or c is
// not shared yet.
func (c *Machine) release() {
	var left []heldRow
	for _, h := range c.held {
		if h.Message.Suite == chat.SuiteMegolm {
			if out, held := c.show(h.Message, h.Copy, true); !held {
				c.give(out, h.key)
				continue
			}
		}
		left = append(left, h)
	}
	c.held = left
}

// askAgain asks for the keys of all that is held: after each connect, for what
// was asked before may be lost; and takes shares again that were not trusted.
func (c *Machine) askAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.asked)
	for _, h := range c.held {
		c.ask(h)
	}
}

// ask sends a request for the key of a held message to the device that sent it,
// once in a connection. c.mu is held.
func (c *Machine) ask(h heldRow) {
	s, err := parseSealed(h.Message.Content)
	user, key := string(h.Message.From), inboundKey(string(h.Message.From), s.session)
	if err != nil || c.asked[key] || user == c.user && s.device == c.device {
		return
	}
	if have, err := c.in.get(user, s.session); err != nil || have != nil && !have.lacks(&s) {
		return // it waits for what its sender was to the group
	}
	if len(c.asked) >= c.opt.Held { // those of messages that wait no more among them
		clear(c.asked)
	}
	c.asked[key] = true
	peer := string(h.Message.To)
	index, _ := indexOf(s.megolm) // of the oldest that waits, mostly
	c.later(func(ctx context.Context) {
		c.tellDevice(ctx, user, s.device, &told{kind: tellRequest, peer: peer, session: s.session, index: index})
	})
}

// takeShare takes in what a key share has for this device. Faults are events,
// not errors: the error says that the sender could not be looked up now.
func (c *Machine) takeShare(ctx context.Context, m chat.Message, isCopy bool) error {
	s, err := parseShare(m.Content)
	if err != nil {
		c.mu.Lock()
		c.give(failed(m, isCopy, err), "")
		c.mu.Unlock()
		return nil
	}
	from := string(m.From)
	if len(s.parts) == 0 && !isCopy {
		return c.noticed(from)
	}
	for _, p := range s.parts {
		if p.device != c.device || p.own != (from == c.user) {
			continue
		}
		c.mu.Lock()
		d := c.inviter(from, &s)
		c.mu.Unlock()
		if d == nil {
			if d, err = c.sender(ctx, from, s.device); err != nil {
				return err
			}
		}
		c.mu.Lock()
		err = c.takePart(&m, &s, d, p)
		if errors.Is(err, errOtherKeys) {
			c.mu.Unlock()
			anew := c.anew(ctx, d)
			c.mu.Lock()
			if anew == nil || anew.name() != d.name() {
				err = c.takePart(&m, &s, anew, p)
			}
		}
		if err != nil && from == c.user && c.takeJoin(&s, p) {
			err = nil
		}
		if known := c.taken(&m, &s, err == nil); err != nil && !known {
			c.give(failed(m, isCopy, err), "")
		}
		c.release()
		c.mu.Unlock()
	}
	return nil
}

// taken notes that a share was taken, and reports whether one that could not be is
// none that is new: a device that has not marked what it took is given it again,
// and Olm opens it once. What a device sends has rising ids. c.mu is held.
func (c *Machine) taken(m *chat.Message, s *share, ok bool) bool {
	key, id := "taken/"+string(m.From)+"/"+s.device, m.ID.Sortable()
	known := bytes.Compare(c.vault.get(key), id[:]) >= 0
	if ok && !known {
		c.vault.set(key, id[:])
	}
	return known
}

// errOtherKeys says that a device's share is for other keys than it is known by.
var errOtherKeys = errors.New("not by the keys that are known")

// anew asks the server for a device whose keys may have changed: it was
// installed again under its name. What is known stays where nobody answers.
func (c *Machine) anew(ctx context.Context, d *device) *device {
	if err := c.look(ctx, 0, d.User); err != nil {
		return d
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.peer(d.User)
	if now, found := p.device(d.Device); err == nil && found && p.Changed == nil {
		return &now
	}
	return nil
}

// sender finds a device, asking the server where it is not known. nil: it is not
// one of the user's, or the user's identity has changed.
func (c *Machine) sender(ctx context.Context, user, name string) (*device, error) {
	for _, maxAge := range []int64{math.MaxInt64, 0} {
		if maxAge == 0 {
			if err := c.look(ctx, 0, user); err != nil {
				if errors.Is(err, ErrOwnIdentity) {
					return nil, nil
				}
				return nil, err
			}
		}
		c.mu.Lock()
		p, err := c.peer(user)
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if d, found := p.device(name); found && p.Changed == nil {
			return &d, nil
		}
	}
	return nil, nil
}

// takePart decrypts what a share has for this device and does what it says. c.mu
// is held.
func (c *Machine) takePart(m *chat.Message, s *share, d *device, p part) error {
	if d == nil {
		return fmt.Errorf("%w: a share of %s, which is no trusted device of %s", ErrForged, s.device, m.From)
	}
	plain, err := c.olm.decrypt(d, p)
	if err != nil {
		if in, other := c.in.get(d.User, s.session); other == nil && in != nil || c.ofHistory(d, s.session) {
			return nil // it came before
		}
		return fmt.Errorf("%w: a share of %s, %w: %v", ErrForged, s.device, errOtherKeys, err)
	}
	x, err := parseTold(plain)
	if err != nil {
		return err
	}
	if x.from != d.User || x.fromDevice != d.Device || x.to != c.user || x.toDevice != c.device ||
		string(x.fromKey) != string(d.Signing) || string(x.toKey) != string(c.olm.signing()) || x.session != s.session {
		return fmt.Errorf("%w: a share of %s of %s for %s of %s", ErrMoved, x.fromDevice, x.from, x.toDevice, x.to)
	}
	switch x.kind {
	case tellKey, tellExport:
		ratchet, err := parseKey(x.kind, x.session, x.key)
		if err != nil {
			return err
		}
		if chat.User(x.peer).IsGroup() {
			if err := c.sharer(d.User, x.peer); err != nil {
				return err
			}
		}
		known, err := c.in.get(d.User, x.session)
		if err == nil {
			err = c.in.put(d, x.peer, x.session, ratchet)
		}
		if err == nil && x.kind == tellExport {
			c.keyComesNot(d, &x, x.index)
		}
		if err == nil && known == nil && d.User != c.user {
			c.in.shared(d.User, x.session)
		}
		return err
	case tellRequest:
		c.answer(d, &x)
	case tellRefusal:
		if c.inviter(x.from, s) != nil {
			return c.takeIdentity(d, &x)
		}
		if c.historyRefused(d, &x) {
			return nil
		}
		c.keyComesNot(d, &x, math.MaxUint32)
	case tellIdentity:
		return c.takeIdentity(d, &x)
	case tellAsk:
		c.askedForHistory(d, &x)
	case tellHistory:
		return c.takeHistory(d, &x)
	}
	return nil
}

// Waiting returns how many messages wait for their keys.
func (c *Machine) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// Readable decrypts a message of history. One that cannot be read, as its key
// never came to this device or it was tampered with, has no content (nil), and
// neither has one of another type than TypeBody. A change of a group is as it was
// sent: the server reads it too.
func (c *Machine) Readable(m chat.Message) chat.Message {
	if m.Suite == chat.SuiteGroup && m.To.IsGroup() {
		return m
	}
	read, typ := c.ReadableTyped(m)
	if typ != TypeBody {
		read.Content = nil
	}
	return read
}

// ReadableTyped decrypts a message of history of any type. Type 0: it cannot be
// read, and has no content.
func (c *Machine) ReadableTyped(m chat.Message) (read chat.Message, typ uint8) {
	if m.Suite == chat.SuitePlain && c.opt.AllowPlain {
		return m, TypeBody
	}
	if m.Suite == chat.SuiteMegolm {
		c.mu.Lock()
		out, _ := c.show(m, false, false)
		c.mu.Unlock()
		switch out := out.(type) {
		case Typed:
			return out.Message, out.Type
		case GroupNamed:
			return out.Message, TypeGroupInfo
		}
		if read, ok := messageOf(out); ok {
			return read, TypeBody
		}
	}
	m.Content = nil
	return m, 0
}
