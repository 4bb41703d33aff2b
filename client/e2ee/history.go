package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// A device that was linked asks the one that linked it for history: what messages
// of before are read by. It does so when its keys are published, signed by the
// user's identity, and the other one looks that they are. What is handed over goes
// in messages to the one device, as key shares do.

// HistoryFor is how long after it was linked a device is given history, and how
// long the server keeps what it has not fetched.
const HistoryFor = 24 * time.Hour

// ErrNoHistory says that the device that linked this one hands over no history: it
// was left out, or was given already, or it is too late.
var ErrNoHistory = errors.New("e2ee: the other device hands over no history: it was left out, or it is too late")

// LinkOptions say what a device that is linked is given beside the identity.
type LinkOptions struct {
	// NoHistory gives it nothing that was sent before.
	NoHistory bool
	// Without are users and groups: what was said with them is left out.
	Without []string
}

// LinkedHistory says that history was handed over, whole: with Given to a device,
// else by one. With an Err it was not.
type LinkedHistory struct {
	OtherEvent
	Device   chat.Device
	Given    bool
	Sessions int // by each of which some hundred messages are read
	Err      error
}

// grant is what a device that this one linked may be given.
type grant struct {
	To      device
	Without []string
	Until   int64     // ms since 1970
	Ask     sessionID // its question, zero before it
	Done    bool
}

func grantKey(d *device) string { return "handing/" + d.name() }

// taking is what this device is given.
type taking struct {
	From   string // device.name of who linked it
	Device string
	Until  int64
	Ask    sessionID
	Asked  bool // the server has the question
	Next   uint32
	Done   bool

	Sessions, Identities, Groups, Timers int // of this try
	Stored                               int // sessions, of all tries
}

const takingKey = "taking"

func readRow[T any](v *vault, key string) (*T, error) {
	b := v.get(key)
	if b == nil {
		return nil, nil
	}
	row := new(T)
	if err := json.Unmarshal(b, row); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return row, nil
}

func writeRow(v *vault, key string, row any) {
	b, err := json.Marshal(row)
	if err != nil {
		panic(err) // rows have nothing that cannot be written
	}
	v.set(key, b)
}

// grants lets a device that was just linked ask for history. c.mu is held.
func (c *Machine) grants(d *device, o LinkOptions) {
	for _, key := range c.vault.keys("handing/") {
		if g, err := readRow[grant](c.vault, key); err != nil || g.Until < time.Now().UnixMilli() {
			c.vault.drop(key)
		}
	}
	if !o.NoHistory {
		writeRow(c.vault, grantKey(d), grant{To: *d, Without: slices.Clone(o.Without), Until: time.Now().Add(HistoryFor).UnixMilli()})
	}
}

// askedForHistory gives a device what it may have. c.mu is held.
func (c *Machine) askedForHistory(d *device, x *told) {
	g, err := readRow[grant](c.vault, grantKey(d))
	if err == nil && g != nil && d.User == c.user && g.Ask == (sessionID{}) && time.Now().UnixMilli() < g.Until {
		g.Ask = x.session
		writeRow(c.vault, grantKey(d), g)
		c.hand(g)
		return
	}
	if d.User != c.user || g != nil && g.Ask == x.session {
		return
	}
	name, reply := d.Device, told{kind: tellRefusal, peer: c.user, session: x.session}
	c.later(func(ctx context.Context) { c.tellDevice(ctx, c.user, name, &reply) })
}

// hand begins to hand history over, from its beginning. c.mu is held.
func (c *Machine) hand(g *grant) {
	to := g.To.name()
	if c.handing[to] {
		return
	}
	c.handing[to] = c.later(func(ctx context.Context) {
		sessions, err := c.handOver(ctx, g)
		if ctx.Err() != nil {
			return // it goes on after the next start
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.handing, to)
		if err == nil {
			g.Done = true
			writeRow(c.vault, grantKey(&g.To), g)
		}
		c.tell(LinkedHistory{Device: chat.Device(g.To.Device), Given: true, Sessions: sessions, Err: err})
	})
}

// handOver sends all parts, to a device that is still one of the user's.
func (c *Machine) handOver(ctx context.Context, g *grant) (sessions int, err error) {
	if err := c.look(ctx, 0, c.user); err != nil {
		return 0, err
	}
	parts, sessions, err := c.pack(g.Without)
	for i := 0; i < len(parts) && err == nil; i++ {
		var d *device
		if d, err = c.trusted(ctx, c.user, g.To.Device); err == nil && d.name() != g.To.name() {
			err = fmt.Errorf("%w: %s has other keys now", ErrNoKeys, d.Device)
		}
		var durable func(context.Context) error
		if err == nil {
			x := told{kind: tellHistory, peer: c.user, session: g.Ask, index: uint32(i), key: parts[i]}
			durable, err = c.tellTrusted(ctx, d, &x, HistoryFor)
		}
		if err == nil {
			err = durable(ctx)
		}
	}
	return sessions, err
}

// expects notes that the device which gave the identity may give history. c.mu is
// held.
func (c *Machine) expects(from *device) {
	writeRow(c.vault, takingKey, taking{From: from.name(), Device: from.Device, Until: time.Now().Add(HistoryFor).UnixMilli(), Ask: newSessionID()})
}

// askForHistory asks for it, once. c.mu is held.
func (c *Machine) askForHistory() {
	t, err := readRow[taking](c.vault, takingKey)
	if err != nil || t == nil || t.Asked || t.Done {
		return
	}
	c.later(func(ctx context.Context) {
		d, err := c.trusted(ctx, c.user, t.Device)
		if err != nil || d.name() != t.From {
			return // the next connect tries again
		}
		durable, err := c.tellTrusted(ctx, d, &told{kind: tellAsk, peer: c.user, session: t.Ask}, HistoryFor)
		if err != nil || durable(ctx) != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if now, err := readRow[taking](c.vault, takingKey); err == nil && now != nil && now.Ask == t.Ask {
			now.Asked = true
			writeRow(c.vault, takingKey, now)
		}
	})
}

// historyAgain goes on with what an end of the connection or process cut off.
func (c *Machine) historyAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.askForHistory()
	for _, key := range c.vault.keys("handing/") {
		g, err := readRow[grant](c.vault, key)
		if err == nil && !g.Done && g.Ask != (sessionID{}) && time.Now().UnixMilli() < g.Until {
			c.hand(g)
		}
	}
}

// ofHistory reports whether a share is of history that this device took or gave:
// such comes again where the process ended before it was marked. c.mu is held.
func (c *Machine) ofHistory(d *device, ask sessionID) bool {
	if t, err := readRow[taking](c.vault, takingKey); err == nil && t != nil && t.From == d.name() && t.Ask == ask {
		return true
	}
	g, err := readRow[grant](c.vault, grantKey(d))
	return err == nil && g != nil && g.Ask == ask
}

// historyRefused takes the answer that there is none. c.mu is held.
func (c *Machine) historyRefused(d *device, x *told) bool {
	t, err := readRow[taking](c.vault, takingKey)
	if err != nil || t == nil || t.From != d.name() || t.Ask != x.session {
		return false
	}
	c.historyEnds(t, ErrNoHistory)
	return true
}

func (c *Machine) historyEnds(t *taking, err error) {
	if !t.Done {
		c.tell(LinkedHistory{Device: chat.Device(t.Device), Sessions: t.Sessions, Err: err})
	}
	t.Done = true
	writeRow(c.vault, takingKey, t)
}

// takeHistory takes a part in, whole or not at all: from the device that linked
// this one, as an answer to its question, in order. c.mu is held.
func (c *Machine) takeHistory(d *device, x *told) error {
	t, err := readRow[taking](c.vault, takingKey)
	if err != nil {
		return err
	}
	if t == nil || t.Done || d.User != c.user || t.From != d.name() || t.Ask != x.session || time.Now().UnixMilli() >= t.Until {
		return fmt.Errorf("%w: history that nobody asked for, of %s of %s", ErrForged, d.Device, d.User)
	}
	if x.index == 0 { // the other device began anew
		t.Next, t.Sessions, t.Identities, t.Groups, t.Timers = 0, 0, 0, 0, 0
	}
	if x.index != t.Next {
		return nil // of a try before that
	}
	a, err := parseArchive(x.key)
	if err != nil {
		err = fmt.Errorf("%w: part %d of history: %v", ErrForged, x.index, err)
		c.historyEnds(t, err)
		return err
	}
	t.Next++
	t.Sessions, t.Identities, t.Groups = t.Sessions+len(a.sessions), t.Identities+len(a.identities), t.Groups+len(a.groups)
	t.Timers += len(a.timers)
	if t.Sessions > archiveSessions || t.Identities > archiveIdentities || t.Groups > archiveGroups || t.Timers > archiveTimers || t.Stored+len(a.sessions) > 2*archiveSessions {
		err := fmt.Errorf("%w: more history than there may be", ErrForged)
		c.historyEnds(t, err)
		return err
	}
	for i := 0; i < len(a.identities) && err == nil; i++ {
		err = c.takeIdentityOf(&a.identities[i])
	}
	for i := 0; i < len(a.groups) && err == nil; i++ {
		err = c.takeGroupOf(&a.groups[i])
	}
	for i := 0; i < len(a.timers) && err == nil; i++ {
		err = c.keepTimer(a.timers[i].with, &a.timers[i].timer)
	}
	for i := 0; i < len(a.sessions) && err == nil; i++ {
		var added bool
		if added, err = c.in.putPast(&a.sessions[i]); added {
			t.Stored++
		}
	}
	if err != nil || a.last {
		c.historyEnds(t, err)
	} else {
		writeRow(c.vault, takingKey, t)
	}
	return err
}
