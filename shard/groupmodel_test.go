package shard

import (
	"maps"
	"slices"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/storage"
)

// groupModel is the laws of groups, written down as simply as they can be, over
// what a log holds.
type groupModel struct {
	messages map[messageKey]chat.Message
	groups   map[chat.User]*modelGroup
	refused  map[chat.Code]int
}

type modelGroup struct {
	name   chat.User
	people map[chat.User]*modelMember
	shown  map[chat.User]map[chat.ID]chat.Position // to each of its members ever
	infoAt chat.Position
}

type modelMember struct {
	in, admin bool
	since     chat.Position
	spans     []storage.Span
	come      [2]chat.Position
	sent      []chat.Position  // since they are a member
	most      [2]chat.Position // that they may have been told
}

func groupsOf(t testing.TB, log *memLog) *groupModel {
	m := &groupModel{map[messageKey]chat.Message{}, map[chat.User]*modelGroup{}, map[chat.Code]int{}}
	for p := range log.parts {
		for _, raw := range log.parts[p].records {
			var r record.Record
			if r.Decode(raw.raw) != nil || !chat.User(r.User).IsGroup() {
				continue
			}
			g := m.groups[chat.User(r.User)]
			if g == nil {
				g = &modelGroup{chat.User(r.User), map[chat.User]*modelMember{}, map[chat.User]map[chat.ID]chat.Position{}, 0}
				m.groups[g.name] = g
			}
			switch r.Kind {
			case record.Message:
				m.message(g, &r, raw.pos)
			case record.Receipt:
				if u := g.people[chat.User(r.Peer)]; u != nil && u.in {
					read := min(r.ReadTo, raw.pos)
					u.come = [2]chat.Position{max(u.come[0], min(r.Place, raw.pos), read), max(u.come[1], read)}
				}
			}
			for name, u := range g.people {
				for i := range u.most {
					u.most[i] = max(u.most[i], g.low(name, i))
				}
			}
		}
	}
	return m
}

// low is how far all members but one have come.
func (g *modelGroup) low(but chat.User, i int) (low chat.Position) {
	for name, u := range g.people {
		if at := max(u.come[i], u.since); name != but && u.in && (low == 0 || at < low) {
			low = at
		}
	}
	return low
}

func (m *groupModel) message(g *modelGroup, r *record.Record, pos chat.Position) {
	from := chat.User(r.Peer)
	k := messageKey{chat.GroupChat(g.name), r.ID}
	if _, taken := m.messages[k]; taken {
		return
	}
	after, code := g.judge(from, r, pos)
	m.refused[code]++
	if code != chat.CodeOK {
		return
	}
	m.messages[k] = chat.Message{
		ID: r.ID, From: from, To: g.name, Place: pos, At: r.At, Expires: expires(r), Suite: r.Suite, Content: r.Content, Media: string(r.Media),
	}
	for name, u := range after {
		if was := g.people[name]; was != nil && was.in || u.in {
			if g.shown[name] == nil {
				g.shown[name] = map[chat.ID]chat.Position{}
			}
			g.shown[name][r.ID] = pos
		}
	}
	g.people = after
	if c, _ := chat.ParseChange(r.Content); r.Suite == chat.SuiteGroup && (c.Verb == chat.GroupCreate || c.Verb == chat.GroupInfo) {
		g.infoAt = pos
	}
	if u := after[from]; u.in {
		u.sent = append(u.sent, pos)
	}
}

// judge returns who is what after a message.
func (g *modelGroup) judge(from chat.User, r *record.Record, pos chat.Position) (after map[chat.User]*modelMember, code chat.Code) {
	me := g.people[from]
	c := chat.Change{}
	if r.Suite == chat.SuiteGroup {
		var err error
		if c, err = chat.ParseChange(r.Content); err != nil {
			return nil, chat.CodeBadChange
		}
	}
	switch {
	case c.Verb == chat.GroupCreate && len(g.people) > 0:
		return nil, chat.CodeBadChange
	case c.Verb != chat.GroupCreate && (me == nil || !me.in):
		return nil, chat.CodeNotMember
	case c.Verb > chat.GroupCreate && c.Verb != chat.GroupLeave && !me.admin:
		return nil, chat.CodeNotAdmin
	}
	after = map[chat.User]*modelMember{}
	for name, u := range g.people {
		copied := *u
		after[name] = &copied
	}
	of := func(name chat.User) *modelMember {
		if after[name] == nil {
			after[name] = &modelMember{}
		}
		return after[name]
	}
	switch c.Verb {
	case chat.GroupCreate:
		for _, name := range c.Users {
			of(name).in = true
		}
		*of(from) = modelMember{in: true, admin: true}
	case chat.GroupAdd:
		for _, name := range c.Users {
			of(name).in = true
		}
	case chat.GroupRemove:
		for _, name := range c.Users {
			if u := after[name]; u != nil {
				u.in, u.admin = false, false
			}
		}
	case chat.GroupLeave:
		after[from].in, after[from].admin = false, false
	case chat.GroupAdmin:
		for _, name := range c.Users {
			if u := after[name]; u == nil || !u.in {
				return nil, chat.CodeBadChange
			}
			after[name].admin = true
		}
	case chat.GroupMember:
		for _, name := range c.Users {
			if u := after[name]; u != nil {
				u.admin = false
			}
		}
	}
	if !g.fits(after, int(r.Place)) {
		return nil, chat.CodeGroupFull
	}
	admins := 0
	var oldest chat.User
	for _, name := range slices.Sorted(maps.Keys(after)) {
		u := after[name]
		if u.in && u.since == 0 {
			u.since, u.sent = pos, nil
		}
		if u.in && u.admin {
			admins++
		}
		if u.in && (oldest == "" || u.since < after[oldest].since) {
			oldest = name
		}
	}
	if admins == 0 && oldest != "" {
		after[oldest].admin = true
	}
	for name, u := range after {
		was := g.people[name]
		if was == nil {
			was = &modelMember{}
		}
		if was.in == u.in && was.admin == u.admin {
			continue
		}
		u.spans = slices.Clone(u.spans)
		if was.in {
			u.spans[len(u.spans)-1].To = pos
		}
		if u.in {
			u.spans = append(u.spans, storage.Span{From: pos, Admin: u.admin})
		} else {
			u.since = 0
		}
	}
	return after, chat.CodeOK
}

func (g *modelGroup) fits(after map[chat.User]*modelMember, most int) bool {
	in, more := 0, false
	for name, u := range after {
		was := g.people[name]
		if u.in {
			in++
		}
		more = more || u.in && (was == nil || !was.in)
		if was != nil && u.in && (!was.in || was.admin != u.admin) && len(was.spans) >= storage.MaxSpans-1 {
			return false
		}
	}
	return !more || in <= most && len(after) <= 8*most
}

// stored compares what is stored with the model: each member has, once, what was
// sent while they were one, in the group's order, and nothing else.
func (m *groupModel) stored(t testing.TB, rows *memRows) {
	t.Helper()
	for k, got := range rows.messages {
		if want := m.messages[k]; got.To.IsGroup() && !same(&want, &got) || got.To.IsGroup() && want.Place != got.Place {
			t.Errorf("%s has %+v, want %+v", got.To, got, want)
		}
	}
	for k, want := range m.messages {
		if _, ok := rows.messages[k]; !ok {
			t.Errorf("%s has no message %v of %v", want.To, k.id, want.Place)
		}
	}
	shown := map[pair]map[chat.ID]chat.Position{}
	for user, box := range rows.inbox {
		last := map[chat.User]chat.Position{}
		for _, e := range box {
			of := e.Message.To
			if !of.IsGroup() {
				continue
			}
			k := messageKey{chat.GroupChat(of), e.Message.ID}
			place := m.messages[k].Place
			if place <= last[of] || (e.Kind == chat.EntryCopy) != (e.Message.From == user) {
				t.Errorf("%s has %v of %s at %v after %v, kind %d", user, k.id, of, place, last[of], e.Kind)
			}
			last[of] = place
			if shown[pair{of, user}] == nil {
				shown[pair{of, user}] = map[chat.ID]chat.Position{}
			}
			shown[pair{of, user}][k.id] = place
		}
	}
	for name, g := range m.groups {
		for user, want := range g.shown {
			if got := shown[pair{name, user}]; !maps.Equal(got, want) {
				t.Errorf("%s has of %s %v, want %v", user, name, got, want)
			}
			delete(shown, pair{name, user})
		}
		if at := rows.infos[name].Pos; at != g.infoAt {
			t.Errorf("info of %s is of %v, want %v", name, at, g.infoAt)
		}
		for user, u := range g.people {
			row := rows.members[pair{name, user}]
			if !slices.Equal(row.Spans, u.spans) {
				t.Errorf("%s in %s: %+v, want %+v", user, name, row.Spans, u.spans)
			}
		}
	}
	if len(shown) > 0 {
		t.Errorf("who was no member got %v", shown)
	}
}

// told holds that how far members have come is known, and that who has sent
// something knows what all others have.
func (m *groupModel) told(t testing.TB, rows *memRows) {
	t.Helper()
	for name, g := range m.groups {
		for user, u := range g.people {
			come := rows.come[pair{name, user}]
			if got := [2]chat.Position{come.Delivered, come.Read}; got != u.come {
				t.Errorf("%s has come to %v in %s, want %v", user, got, name, u.come)
			}
			told := rows.receipts[pair{user, name}]
			for i, got := range []chat.Position{told.Delivered, told.Read} {
				if got > max(u.most[0], u.most[1]) || i == asRead && got > u.most[1] {
					t.Errorf("%s was told %v of %s, all have come to %v", user, got, name, u.most)
				}
				for _, place := range u.sent {
					if u.in && place <= g.low(user, i) && got < place {
						t.Errorf("%s does not know that all in %s have %v: %+v", user, name, place, told)
					}
				}
			}
		}
	}
}

// marked holds that members have come as far as their devices say.
func (m *groupModel) marked(t testing.TB, rows *memRows) {
	t.Helper()
	delivered := map[chat.User]chat.Position{}
	for k, at := range rows.cursors {
		delivered[k.user] = max(delivered[k.user], at)
	}
	for user, box := range rows.inbox {
		for _, e := range box {
			g := m.groups[e.Message.To]
			if g == nil || e.Kind != chat.EntryMessage || e.Pos > delivered[user] {
				continue
			}
			place := g.shown[user][e.Message.ID]
			if u := g.people[user]; u.in && place > u.since && place > u.come[asDelivered] {
				t.Errorf("%s has %v of %s, the group knows of %v", user, place, g.name, u.come)
			}
		}
	}
}
