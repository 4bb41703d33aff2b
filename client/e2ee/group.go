package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// ErrNotMember says that somebody is no member of a group, as this device knows
// it: at the place of a message, or now.
var ErrNotMember = errors.New("e2ee: no member of the group")

// TypeGroupInfo is the type of a message that gives a group its name and picture:
// a GroupInfo as JSON.
const TypeGroupInfo = 64

// maxGroupName is how many bytes the name of a group may have.
const maxGroupName = 256

// How the list of a group's members is waited for, that has a change which this
// device made.
const (
	groupPause    = 50 * time.Millisecond
	groupPatience = 10 * time.Second
)

// GroupInfo is a group's name and picture, as one of its admins gave it, end to
// end: the server does not see it.
type GroupInfo struct {
	Name    string `json:"name"`              // at most 256 bytes
	Picture []byte `json:"picture,omitempty"` // small: it is within a message
}

// Body is the content of a message of TypeGroupInfo.
func (i GroupInfo) Body() ([]byte, error) {
	if len(i.Name) > maxGroupName {
		return nil, chat.Errorf(chat.CodeTooLarge, "the name of a group has at most %d bytes", maxGroupName)
	}
	return json.Marshal(i)
}

// GroupNamed is a message by which an admin gave a group its name and picture.
type GroupNamed struct {
	OtherEvent
	Message chat.Message
	Copy    bool
	Info    GroupInfo
}

// Unannounced says that the server's list of a group has somebody whose joining
// the chat has not shown: the server does not tell everybody the same. Nothing
// is encrypted for them, unless Reads: this device missed changes, as it was away
// for longer than the server keeps them or was no member, and so the list counts.
type Unannounced struct {
	OtherEvent
	Group, User chat.User
	Reads       bool
}

// LeftOut says for whom of a group a session is not: members without keys, and
// such whose identity has changed and is not accepted.
type LeftOut struct {
	OtherEvent
	Group chat.User
	Users []chat.User
}

// GroupMember is a member of a group as this device knows it.
type GroupMember struct {
	User  chat.User
	Admin bool
	Keys  bool // what is sent is for them too
}

// GroupMembers returns who is in a group as this device knows it: those for whom
// it encrypts. It asks the server where the group is not known yet.
func (c *Machine) GroupMembers(ctx context.Context, group string) ([]GroupMember, error) {
	if err := c.lookGroup(ctx, 1<<62, group); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.roster(group)
	if err != nil || r == nil {
		return nil, err
	}
	var all []GroupMember
	for _, u := range r.members() {
		p, err := c.peer(u)
		if err != nil {
			return nil, err
		}
		_, admin := r.now(u)
		all = append(all, GroupMember{User: chat.User(u), Admin: admin, Keys: len(p.Devices) > 0 && p.Changed == nil})
	}
	return all, nil
}

// GroupInfo returns the name and picture of a group, as far as they have come to
// this device.
func (c *Machine) GroupInfo(group string) (info GroupInfo, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.roster(group)
	if err != nil || r == nil || r.Info == nil {
		return GroupInfo{}, false
	}
	return *r.Info, true
}

// SetGroupInfo notes what this device has sent as a group's name and picture.
func (c *Machine) SetGroupInfo(group string, info GroupInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, err := c.roster(group); err == nil && r != nil {
		r.Info = &info
		c.keepRoster(group, r)
	}
}

// Changed says that this device made a change of a group, which the server has
// at a place: what is sent from now on goes by a list that has it.
func (c *Machine) Changed(group string, change chat.Change, place chat.Position) {
	if change.Verb == chat.GroupLeave {
		return // nothing more is sent
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.roster(group)
	if err != nil {
		return // as it will be for who sends
	}
	if r == nil {
		r = newRoster()
		c.groups[group] = r
	}
	if r.mine == nil {
		r.mine = map[string]bool{c.user: true}
	}
	for _, u := range change.Users {
		r.mine[string(u)] = true
	}
	r.want = max(r.want, place)
}

// Truncated says that the server left something out of the user's chain: who is
// in groups is asked for anew.
func (c *Machine) Truncated() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.vault.keys(rosterKey("")) {
		group := key[len(rosterKey("")):]
		if r, err := c.roster(group); err == nil && r != nil {
			r.Stale = true
			c.keepRoster(group, r)
		}
	}
}

// lookGroup asks the server for a group's members, where the list is older than
// maxAge, or of before a change of this device.
func (c *Machine) lookGroup(ctx context.Context, maxAge time.Duration, group string) error {
	c.mu.Lock()
	r, err := c.roster(group)
	var want chat.Position
	fresh := false
	if r != nil {
		age := time.Since(time.UnixMilli(r.Fetched))
		want, fresh = r.want, !r.Stale && r.Fetched != 0 && age >= 0 && age < maxAge && r.want == 0
	}
	c.mu.Unlock()
	if err != nil || fresh {
		return err
	}
	list, place, err := c.listOf(ctx, group, want)
	closed := chat.CodeOf(err) == chat.CodeForbidden
	if err != nil && !closed {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, err = c.roster(group); err != nil {
		return err
	}
	if r == nil {
		r = newRoster()
	}
	if closed {
		r.Closed, r.Stale, r.Fetched = true, false, time.Now().UnixMilli()
	} else {
		for _, u := range r.list(list, place, time.Now()) {
			if u != c.user {
				c.tell(Unannounced{Group: chat.User(group), User: chat.User(u), Reads: true})
			}
		}
		c.tellOdd(group, r, 0)
	}
	c.keepRoster(group, r)
	c.release()
	return nil
}

// listOf fetches the list, page by page, until it is not of before a place. The
// pages may be of different places: the last one's is returned.
func (c *Machine) listOf(ctx context.Context, group string, want chat.Position) (all []listed, place chat.Position, err error) {
	patience := time.Now().Add(groupPatience)
	for {
		all, place = nil, 0
		first := chat.Position(0)
		for beyond := ""; ; {
			var page packet.GroupPage
			if page, err = c.link.Members(ctx, group, beyond); err != nil {
				break
			}
			place = page.Place
			if first == 0 {
				first = place
			}
			for _, m := range page.Members {
				if m.User <= beyond {
					return nil, 0, chat.Errorf(chat.CodeInternal, "the server's list of %s is out of order at %q", group, m.User)
				}
				beyond = m.User
				all = append(all, listed{m.User, m.Admin, m.Since})
			}
			if !page.More || len(page.Members) == 0 {
				break
			}
		}
		// A group that was just made has no list yet.
		waits := err == nil && first < want || want > 0 && chat.CodeOf(err) == chat.CodeForbidden
		if !waits || time.Now().After(patience) {
			return all, place, err
		}
		select {
		case <-time.After(groupPause):
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("e2ee: the members of %s are not known: %w", group, ctx.Err())
		}
	}
}

// tellOdd notes how far the chat has come, and tells of whom it should have
// shown. c.mu is held.
func (c *Machine) tellOdd(group string, r *roster, place chat.Position) {
	for _, u := range r.pass(place) {
		c.tell(Unannounced{Group: chat.User(group), User: chat.User(u)})
	}
}

// takeGroup takes in a message of a group before it is shown: who is a member is
// known then. An error says that it is to be taken again.
func (c *Machine) takeGroup(ctx context.Context, m *chat.Message) error {
	group := string(m.To)
	var change *chat.Change
	if m.Suite == chat.SuiteGroup {
		if parsed, err := chat.ParseChange(m.Content); err == nil {
			change = &parsed
		}
	}
	made := change != nil && change.Verb == chat.GroupCreate
	c.mu.Lock()
	r, err := c.roster(group)
	if r != nil && change != nil && change.Verb == chat.GroupAdd && slices.Contains(change.Users, chat.User(c.user)) && r.at(c.user, m.Place) != in {
		r.Stale = true // what was changed meanwhile this device does not know
	}
	know := r != nil && (r.Fetched != 0 || r.Chain) && !r.Stale
	c.mu.Unlock()
	if err == nil && !know && !made {
		err = c.lookGroup(ctx, 0, group)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, err = c.roster(group); err != nil {
		return err
	}
	if r == nil {
		r = newRoster()
	}
	known, first, missed := r.known, !r.Chain, r.seen <= r.Listed
	r.Chain = true
	if change != nil {
		r.change(string(m.From), change, m.Place)
	}
	c.tellOdd(group, r, m.Place)
	if r.known != known || first {
		c.keepRoster(group, r)
	}
	if r.known != known || missed && r.seen > r.Listed {
		c.release()
	}
	return nil
}

// Own takes in that a message to a group, which this device sent, has its place
// among what came: its content is known here. From there on a change of its own
// counts like those of others.
func (c *Machine) Own(ctx context.Context, m chat.Message) error {
	if m.Suite == chat.SuiteGroup {
		c.mu.Lock()
		m.Content = c.vault.get(changeKey(m.ID))
		c.mu.Unlock()
		if m.Content == nil {
			return nil // the server says so, and this device does not
		}
	}
	if err := c.takeGroup(ctx, &m); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Suite == chat.SuiteGroup {
		c.vault.drop(changeKey(m.ID))
		return nil
	}
	s, err := c.loaded(string(m.To))
	if err != nil || s == nil || m.Suite != chat.SuiteMegolm {
		return err
	}
	for _, id := range []sessionID{s.id(), s.Previous} {
		if in, err := c.in.get(c.user, id); err == nil && in != nil && c.in.place(in, id, m.ID, m.Place) {
			c.answerAgain(id)
		}
	}
	return nil
}

// keptChanges bounds the changes that wait for their place: a device that only
// sends never hears of it.
const keptChanges = 64

func changeKey(id chat.ID) string { return "change/" + id.String() }

// Changing keeps a change that this device is about to make, under its id, until
// it has its place or is refused.
func (c *Machine) Changing(id chat.ID, change chat.Change) error {
	c.mu.Lock()
	if waiting := c.vault.keys("change/"); len(waiting) >= keptChanges {
		for _, key := range waiting {
			c.vault.drop(key)
		}
	}
	c.vault.set(changeKey(id), change.AppendTo(nil))
	c.mu.Unlock()
	return c.vault.sync()
}

// Refused says that the server did not take a message.
func (c *Machine) Refused(id chat.ID) {
	if key := changeKey(id); c.vault.get(key) != nil {
		c.vault.drop(key)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusedTimer(id)
}

// standing is what the sender of a message was to the group that it is of. c.mu
// is held.
func (c *Machine) standing(m *chat.Message) (standing, error) {
	r, err := c.roster(string(m.To))
	if err != nil || r == nil {
		return unknown, err
	}
	return r.at(string(m.From), m.Place), nil
}

// sharer judges whether a user may have sessions of a group. c.mu is held.
func (c *Machine) sharer(user, group string) error {
	r, err := c.roster(group)
	if err != nil || r == nil || r.Closed || !r.Chain || r.seen <= r.Listed || len(r.Marks[user]) > 0 {
		return err // a member, one that was, or nobody knows
	}
	return fmt.Errorf("%w: %s, who shares a key of %s", ErrNotMember, user, group)
}

// named takes in a group's name and picture, which are for admins to give. c.mu
// is held.
func (c *Machine) named(m *chat.Message, body []byte, isCopy, live bool) Event {
	n := GroupNamed{Message: *m, Copy: isCopy}
	n.Message.Content = body
	if err := json.Unmarshal(body, &n.Info); err != nil {
		return failed(*m, isCopy, fmt.Errorf("e2ee: the info of a group: %w", err))
	}
	r, err := c.roster(string(m.To))
	if err != nil || r == nil {
		return failed(*m, isCopy, fmt.Errorf("%w: %v", ErrNotMember, err))
	}
	if live {
		if !r.adminAt(string(m.From), m.Place) {
			return failed(*m, isCopy, fmt.Errorf("%w: %s, who is no admin, named it", ErrNotMember, m.From))
		}
		if m.Place > r.InfoAt {
			r.Info, r.InfoAt = &n.Info, m.Place
			c.keepRoster(string(m.To), r)
		}
	}
	return n
}

// adminAt reports whether a user was an admin at a place.
func (r *roster) adminAt(user string, place chat.Position) bool {
	admin := false
	for _, m := range r.Marks[user] {
		if m.At >= place {
			break
		}
		admin = m.In && m.Admin
	}
	return admin || r.Closed
}

// membersDevices are the devices of a group's members. c.mu is held.
func (c *Machine) membersDevices(group string) (all []device, err error) {
	r, err := c.roster(group)
	if err != nil {
		return nil, err
	}
	var users []string
	if r != nil {
		users = r.members()
	}
	if !slices.Contains(users, c.user) {
		return nil, fmt.Errorf("%w: %s, in %s", ErrNotMember, c.user, group)
	}
	for _, u := range users {
		p, err := c.peer(u)
		if err != nil {
			return nil, err
		}
		if p.Changed == nil && u != c.user {
			all = append(all, p.Devices...)
		}
	}
	if len(all) == 0 && len(users) > 1 {
		return nil, fmt.Errorf("%w: of the members of %s nobody", ErrNoKeys, group)
	}
	return all, nil
}

// tellLeftOut tells for which members a session is not. c.mu is held.
func (c *Machine) tellLeftOut(group string) {
	r, err := c.roster(group)
	if err != nil || r == nil {
		return
	}
	var users []chat.User
	for _, u := range r.members() {
		if p, err := c.peer(u); u != c.user && err == nil && (p.Changed != nil || len(p.Devices) == 0) {
			users = append(users, chat.User(u))
		}
	}
	if len(users) > 0 {
		c.tell(LeftOut{Group: chat.User(group), Users: users})
	}
}
