package e2ee

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// roster is who is and was in a group, as far as this device knows: from the
// server's list when it first looks, and from then on from the changes that the
// chat shows. So whom it encrypts for is what the chat has shown.
type roster struct {
	Marks   map[string][]mark // of each user, by place
	Listed  chat.Position     // the list that it began with is as of here
	Chain   bool              // the group's messages come to this device
	Closed  bool              // the server does not show the list to this user, who is no member now
	Stale   bool              // changes may have been missed: the next list counts as the first
	Fetched int64             // ms since 1970
	Info    *GroupInfo
	InfoAt  chat.Position

	seen  chat.Position            // the newest place that came, in this run
	want  chat.Position            // of this device's newest change: a list of before does not do
	mine  map[string]bool          // whom that change named
	odd   map[string]chat.Position // whom the list has, since when, and no change has shown
	told  map[string]bool          // of whom the app has been told
	known int                      // how often it has changed, in this run
}

// mark says what a user is from a place on.
type mark struct {
	At     chat.Position
	In     bool
	Admin  bool `json:",omitempty"`
	Listed bool `json:",omitempty"` // the list does not have them: the change that says so is to come
}

// standing is what a user is to a group at a place.
type standing uint8

const (
	never   standing = iota // nothing is known that made them a member
	unknown                 // they may have been one before the list was made
	left                    // they had left
	in
)

func newRoster() *roster { return &roster{Marks: map[string][]mark{}} }

// at is what a user is at the place of a message.
func (r *roster) at(user string, place chat.Position) standing {
	marks := r.Marks[user]
	i := sort.Search(len(marks), func(i int) bool { return marks[i].At >= place })
	switch {
	case i > 0 && marks[i-1].In, i == 0 && len(marks) > 0 && !marks[0].In:
		return in
	case i > 0:
		return left
	case r.Closed:
		return in // nobody says who was one: what is signed has to do
	case place <= r.Listed && r.seen <= r.Listed:
		return unknown
	}
	return never
}

// now is what a user is after all that is known.
func (r *roster) now(user string) (member, admin bool) {
	marks := r.Marks[user]
	if len(marks) == 0 {
		return false, false
	}
	m := marks[len(marks)-1]
	return m.In, m.In && m.Admin
}

// members are those that there are now, in order.
func (r *roster) members() (users []string) {
	for u := range r.Marks {
		if member, _ := r.now(u); member {
			users = append(users, u)
		}
	}
	slices.Sort(users)
	return users
}

// set enters a mark, in the place of one that is there.
func (r *roster) set(user string, m mark) {
	marks := r.Marks[user]
	if !m.Listed { // what the list foretold a change tells
		marks = slices.DeleteFunc(slices.Clone(marks), func(m mark) bool { return m.Listed })
	}
	i, found := slices.BinarySearchFunc(marks, m.At, func(m mark, at chat.Position) int {
		return int(min(max(int64(m.At)-int64(at), -1), 1))
	})
	if found {
		marks[i] = m
	} else {
		marks = slices.Insert(marks, i, m)
	}
	r.Marks[user] = marks
	r.known++
}

// has reports whether there is a mark of a user at a place.
func (r *roster) has(user string, place chat.Position) bool {
	return slices.ContainsFunc(r.Marks[user], func(m mark) bool { return m.At == place && !m.Listed })
}

// change takes in a change that the chat shows, as the server makes it.
func (r *roster) change(from string, c *chat.Change, place chat.Position) {
	set := func(user string, member, admin bool) {
		if !r.has(user, place) {
			r.set(user, mark{At: place, In: member, Admin: admin})
		}
	}
	switch c.Verb {
	case chat.GroupCreate:
		r.Listed = max(r.Listed, place)
		set(from, true, true)
	case chat.GroupLeave:
		set(from, false, false)
	}
	for _, u := range c.Users {
		user := string(u)
		is := r.at(user, place)
		switch c.Verb {
		case chat.GroupCreate, chat.GroupAdd:
			if is != in {
				set(user, true, false)
			}
			delete(r.odd, user)
		case chat.GroupRemove:
			set(user, false, false)
		case chat.GroupAdmin, chat.GroupMember:
			set(user, true, c.Verb == chat.GroupAdmin)
		}
	}
	r.promote(place)
}

// promote makes an admin of who has been a member for the longest, where there
// is none: the server does.
func (r *roster) promote(place chat.Position) {
	var longest string
	var since chat.Position
	for _, u := range r.members() { // by name, so that of several the first counts
		if _, admin := r.now(u); admin {
			return
		}
		if s := r.since(u); longest == "" || s < since {
			longest, since = u, s
		}
	}
	if longest != "" {
		r.set(longest, mark{At: place, In: true, Admin: true})
	}
}

// since is the place from which a member is one.
func (r *roster) since(user string) (at chat.Position) {
	for _, m := range slices.Backward(r.Marks[user]) {
		if !m.In {
			break
		}
		at = m.At
	}
	return at
}

// listed is a member of the server's list.
type listed struct {
	user  string
	admin bool
	since chat.Position
}

// list takes in the server's list of the members at a place. Where the group's
// messages come to this device it makes nobody a member: a change has to. Where
// changes were missed it does, and returns whom.
func (r *roster) list(all []listed, place chat.Position, now time.Time) (added []string) {
	first, missed := r.Stale || !r.Chain, r.Stale && len(r.Marks) > 0
	r.odd = nil
	there := map[string]bool{}
	for _, l := range all {
		there[l.user] = true
		member, admin := r.now(l.user)
		switch {
		case !member && (first || r.mine[l.user]):
			r.set(l.user, mark{At: l.since, In: true, Admin: l.admin})
			if missed && !r.mine[l.user] {
				added = append(added, l.user)
			}
		case member && admin != l.admin && (first || r.mine[l.user]):
			marks := r.Marks[l.user]
			r.set(l.user, mark{At: marks[len(marks)-1].At, In: true, Admin: l.admin})
		case !member && r.odd == nil:
			r.odd = map[string]chat.Position{l.user: l.since}
		case !member:
			r.odd[l.user] = l.since
		}
	}
	for _, u := range r.members() {
		if last := r.Marks[u][len(r.Marks[u])-1]; !there[u] && last.At < place {
			r.set(u, mark{At: place, Listed: true})
		}
	}
	if first {
		r.Listed = max(r.Listed, place)
	}
	r.Fetched, r.Stale, r.Closed = now.UnixMilli(), false, false
	if r.want <= place {
		r.want, r.mine = 0, nil
	}
	return added
}

// pass notes that the chat has come to a place, and returns whom the list has
// and no change up to here has shown.
func (r *roster) pass(place chat.Position) (odd []string) {
	r.seen = max(r.seen, place)
	for u, since := range r.odd {
		if since <= r.seen && !r.told[u] {
			odd = append(odd, u)
		}
	}
	for _, u := range odd {
		if r.told == nil {
			r.told = map[string]bool{}
		}
		r.told[u] = true
	}
	slices.Sort(odd)
	return odd
}

func rosterKey(group string) string { return "group/" + group }

// roster returns what is known of a group, nil for nothing. c.mu is held.
func (c *Machine) roster(group string) (*roster, error) {
	if r := c.groups[group]; r != nil {
		return r, nil
	}
	b := c.vault.get(rosterKey(group))
	if b == nil {
		return nil, nil
	}
	r := newRoster()
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	c.groups[group] = r
	return r, nil
}

// keepRoster stores what has changed. c.mu is held.
func (c *Machine) keepRoster(group string, r *roster) {
	c.groups[group] = r
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // it has nothing that cannot be written
	}
	c.vault.set(rosterKey(group), b)
	c.changes++
}
