package shard

import (
	"maps"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// standing is what somebody is to a group.
type standing struct{ member, admin bool }

// change is a change of a group that is being judged.
type change struct {
	g    *group
	from chat.User
	most int                    // members that it may have
	want map[chat.User]standing // what the named are to be afterwards
}

// was is what somebody is before the change.
func (c *change) was(name chat.User) standing {
	m := c.g.find(name)
	return standing{m != nil && m.since > 0, m != nil && m.admin}
}

// decide sets what the change asks for, if its sender may ask for it.
func (c *change) decide(asked *chat.Change) chat.Code {
	me := c.was(c.from)
	switch {
	case asked.Verb == chat.GroupCreate:
		if c.exists() {
			return chat.CodeBadChange
		}
	case !me.member:
		return chat.CodeNotMember
	case asked.Verb == chat.GroupLeave:
		c.want[c.from] = standing{}
	case !me.admin:
		return chat.CodeNotAdmin
	}
	for _, name := range asked.Users {
		name = c.from.Beside(name)
		is := c.was(name)
		switch {
		case asked.Verb == chat.GroupCreate, asked.Verb == chat.GroupAdd && !is.member:
			c.want[name] = standing{member: true}
		case asked.Verb == chat.GroupRemove && is.member:
			c.want[name] = standing{}
		case asked.Verb == chat.GroupAdmin && !is.member:
			return chat.CodeBadChange
		case asked.Verb == chat.GroupAdmin:
			c.want[name] = standing{member: true, admin: true}
		case asked.Verb == chat.GroupMember && is.member:
			c.want[name] = standing{member: true}
		}
	}
	if asked.Verb == chat.GroupCreate {
		c.want[c.from] = standing{member: true, admin: true}
	}
	return chat.CodeOK
}

// exists reports whether the group has been made.
func (c *change) exists() bool {
	return slices.ContainsFunc(c.g.members, func(m *member) bool { return len(m.spans) > 0 })
}

// fits holds that the group does not become too large, nor the record of who
// was when its member. One span is left for who becomes an admin by the last
// one's going, which is nobody's wish.
func (c *change) fits() chat.Code {
	now, ever, more := 0, 0, 0
	for _, m := range c.g.members {
		if m.since > 0 {
			now++
		}
		if len(m.spans) > 0 {
			ever++
		}
	}
	for name, s := range c.want {
		m := c.g.find(name)
		if m == nil || len(m.spans) == 0 {
			ever++
		} else if s.member && s != c.was(name) && len(m.spans) >= storage.MaxSpans-1 {
			return chat.CodeGroupFull
		}
		if s.member && !c.was(name).member {
			more++
		}
	}
	if more > 0 && (now+more > c.most || ever > memberships*c.most) {
		return chat.CodeGroupFull
	}
	return chat.CodeOK
}

// make makes the change at its place, and returns whom it changes.
func (c *change) make(w *worker, pos chat.Position) (changed []*member) {
	c.promote(pos)
	for _, name := range slices.Sorted(maps.Keys(c.want)) {
		want := c.want[name]
		if want == c.was(name) {
			continue
		}
		i, ok := c.g.search(name)
		if !ok {
			c.g.members = slices.Insert(c.g.members, i, &member{name: chat.User(strings.Clone(string(name))), partition: w.ring.PartitionOf(name)})
			w.members++
		}
		m := c.g.members[i]
		m.become(want, pos)
		changed = append(changed, m)
	}
	if len(changed) > 0 {
		c.g.fan = nil
	}
	return changed
}

// promote makes an admin of who has been a member for the longest, where none
// would be left.
func (c *change) promote(pos chat.Position) {
	var longest chat.User
	var since chat.Position
	consider := func(name chat.User, s standing, from chat.Position) (admin bool) {
		if s.member && (longest == "" || from < since || from == since && name < longest) {
			longest, since = name, from
		}
		return s.member && s.admin
	}
	for _, m := range c.g.members {
		s, named := c.want[m.name]
		if !named {
			s = standing{m.since > 0, m.admin}
		}
		from := m.since
		if from == 0 {
			from = pos
		}
		if consider(m.name, s, from) {
			return
		}
	}
	for name, s := range c.want {
		if c.g.find(name) == nil && consider(name, s, pos) {
			return
		}
	}
	if longest != "" {
		c.want[longest] = standing{member: true, admin: true}
	}
}

// become ends a span where there is one, and begins one where there is to be one.
func (m *member) become(s standing, pos chat.Position) {
	spans := slices.Clone(m.spans)
	if m.since > 0 {
		spans[len(spans)-1].To = pos
	}
	switch {
	case !s.member:
		m.since = 0
	case m.since == 0:
		m.since, m.untold = pos, [2]chat.Position{}
	}
	if s.member {
		spans = append(spans, storage.Span{From: pos, Admin: s.admin})
	}
	m.spans, m.admin = spans, s.admin
}
