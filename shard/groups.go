package shard

import (
	"context"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/storage"
)

// group is a group as it is where its owner has built to.
type group struct {
	name    chat.User
	members []*member     // in order of their names, with those who are none any more
	infoAt  chat.Position // up to where the store knows the info
	fan     []fan         // of the members there are; nil before it is asked for
	used    uint64        // the newest cycle that asked for it
	waits   uint64        // the newest cycle whose rows of it wait for their mark
	touched bool
	at      int64 // of the newest record that touched it
}

// member is somebody who is, or was, in a group.
type member struct {
	name      chat.User
	partition int
	spans     []storage.Span // never changed in place: rows refer to them
	stored    chat.Position  // up to where the store knows the spans
	since     chat.Position  // when they became a member; 0: they are none
	admin     bool

	come   [2]chat.Position // in the group's order, as delivered and as read
	sent   chat.Position    // of their newest message
	untold [2]chat.Position // of their oldest message that they have not been told of; 0: none
	told   [2]chat.Position // what they have been told that all others have
	dirty  chat.Position    // the newest record that changed one of these, until the cycle ends
}

const (
	asDelivered = iota
	asRead
)

const (
	memberPage  = 1024    // members asked for at once
	keptMembers = 1 << 15 // in memory, of groups that rest; about 200 bytes each

	// memberships is how many, of each that a group may have, can have been its
	// members.
	memberships = 8

	// defaultMembers is for a record that does not say how many a group may have.
	defaultMembers = 1024
)

// group returns a group as it is before what a position changes.
func (w *worker) group(ctx context.Context, name chat.User, pos chat.Position) (*group, error) {
	if g := w.groups[name]; g != nil {
		g.used = w.seq
		return g, nil
	}
	g := &group{name: chat.User(strings.Clone(string(name))), used: w.seq}
	if err := w.try(ctx, "group", func() (err error) {
		_, g.infoAt, err = w.store.GroupInfo(ctx, name)
		return err
	}); err != nil {
		return nil, err
	}
	if err := w.eachMember(ctx, name, func(m *storage.Member) {
		g.members = append(g.members, w.memberOf(m, pos))
	}); err != nil {
		return nil, err
	}
	g.remember()
	w.groups[g.name] = g
	w.members += 1 + len(g.members)
	return g, nil
}

// eachMember calls f with those that the store has of a group, or of whom a user
// has blocked, in order of their names.
func (w *worker) eachMember(ctx context.Context, group chat.User, f func(m *storage.Member)) error {
	for beyond := chat.User(""); ; {
		var page []storage.Member
		if err := w.try(ctx, "members", func() (err error) {
			page, err = w.store.Members(ctx, group, beyond, memberPage, nil)
			return err
		}); err != nil {
			return err
		}
		for i := range page {
			f(&page[i])
		}
		if len(page) < memberPage {
			return nil
		}
		beyond = page[len(page)-1].User
	}
}

// memberOf is a stored member as they were before a position: the store may be
// ahead of what is built.
func (w *worker) memberOf(s *storage.Member, pos chat.Position) *member {
	m := &member{
		name: s.User, partition: w.ring.PartitionOf(s.User), stored: s.Changed, sent: s.Sent,
		spans: storage.AsOf(s.Spans, pos), come: [2]chat.Position{s.Delivered, s.Read},
	}
	m.stand(pos)
	return m
}

// stand sets what follows from the spans.
func (m *member) stand(pos chat.Position) {
	m.since, m.admin = 0, false
	if n := len(m.spans); n == 0 || m.spans[n-1].To > 0 {
		return
	}
	of := storage.Member{Spans: m.spans}
	m.since, m.admin = of.Since(pos)
}

// remember sets what members have been told, after they were read: rows are
// stored when what follows from them is durable (see tell).
func (g *group) remember() {
	low := g.lowest()
	for _, m := range g.members {
		for i := range m.told {
			if m.told[i] = low[i].but(m); m.sent > m.told[i] && m.sent >= m.since {
				m.untold[i] = m.told[i] + 1
			}
		}
	}
}

// find returns a member, nil when there never was one of the name.
func (g *group) find(name chat.User) *member {
	if i, ok := g.search(name); ok {
		return g.members[i]
	}
	return nil
}

func (g *group) search(name chat.User) (int, bool) {
	return slices.BinarySearchFunc(g.members, name, func(m *member, name chat.User) int {
		return strings.Compare(string(m.name), string(name))
	})
}

// forgetGroups gives back the memory of groups that rest, when the members that
// are remembered are more than a number. Those whose rows wait for their mark
// stay: the store does not know all of them yet.
func (w *worker) forgetGroups(over int) {
	if w.members <= over {
		return
	}
	for name, g := range w.groups {
		if g.used < w.seq && g.waits <= w.retired {
			delete(w.groups, name)
			w.members -= 1 + len(g.members)
		}
		if w.members <= over/2 {
			return
		}
	}
}

// toGroup judges a message to a group at its place. What the group takes is
// stored once and fanned out; of the rest the sender is told.
func (w *worker) toGroup(ctx context.Context, m *chat.Message, pos chat.Position) error {
	g, err := w.group(ctx, m.To, pos)
	if err != nil {
		return err
	}
	changed, code := w.judge(g, m, pos)
	if code != chat.CodeOK || w.carried { // see message
		w.outcomes = append(w.outcomes, Outcome{
			User: m.From, Device: view.String[chat.Device](w.rec.Device), ID: m.ID, To: m.To, Code: code, Place: pos,
		})
	}
	if code != chat.CodeOK {
		w.outcomes[len(w.outcomes)-1].Place = 0
		w.counts.Refused++
		return nil
	}
	w.counts.Messages++
	w.batch.Messages = append(w.batch.Messages, *m)
	for _, c := range changed {
		if c.stored < pos {
			c.stored = pos
			w.batch.Members = append(w.batch.Members, storage.MemberAt{Group: g.name, User: c.name, Spans: c.spans, Pos: pos})
		}
	}
	g.fanOut(w, m, changed)
	w.touch(g)
	if s := g.find(m.From); s != nil && s.since > 0 {
		s.sent, s.dirty = max(s.sent, pos), pos
		for i := range s.untold {
			if s.untold[i] == 0 {
				s.untold[i] = pos
			}
		}
	}
	w.full = w.full || w.out.adding > w.opt.DerivedBytes
	return nil
}

// judge says whether a group takes a message, and makes the change that it is.
func (w *worker) judge(g *group, m *chat.Message, pos chat.Position) (changed []*member, code chat.Code) {
	if m.Suite != chat.SuiteGroup {
		if s := g.find(m.From); s == nil || s.since == 0 {
			return nil, chat.CodeNotMember
		}
		return nil, chat.CodeOK
	}
	c, err := chat.ParseChange(m.Content)
	if err != nil {
		return nil, chat.CodeBadChange
	}
	most := int(w.rec.Place)
	if most == 0 {
		most = defaultMembers
	}
	ch := change{g: g, from: m.From, most: most, want: map[chat.User]standing{}}
	if code := ch.decide(&c); code != chat.CodeOK {
		return nil, code
	}
	if code := ch.fits(); code != chat.CodeOK {
		return nil, code
	}
	changed = ch.make(w, pos)
	if (c.Verb == chat.GroupCreate || c.Verb == chat.GroupInfo) && g.infoAt < pos {
		g.infoAt = pos
		w.batch.Groups = append(w.batch.Groups, storage.GroupAt{Group: g.name, Info: c.Info, Pos: pos})
	}
	return changed, chat.CodeOK
}
