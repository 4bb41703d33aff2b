package bench

import (
	"math/rand/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// toGroup is the receiver that is the group.
const toGroup = -1

// fromFirst reports whether all of a pattern's messages are of the load's first
// session, and receivers do not mark meanwhile.
func fromFirst(pattern string) bool { return pattern == patternOneWay || pattern == patternGroup }

// firstToGroup picks the load's first session and its group.
func (r *run) firstToGroup(*rand.Rand) (from *conn, to int) { return r.conns[0], toGroup }

// gather has the load's first session make a group of users, whom it knows by
// their numbers, or add them to the one that there is. It is for the process
// that has that session.
func (r *run) gather(first, count int) {
	if len(r.conns) == 0 || r.conns[0].index != 0 {
		return
	}
	c := chat.Change{Verb: chat.GroupAdd}
	for i := range count {
		c.Users = append(c.Users, chat.User(userOf(first+i)))
	}
	from := r.conns[0]
	id := from.id(r.loop.nowNs)
	if r.group == nil {
		c.Verb, r.group = chat.GroupCreate, []byte(chat.NewGroup("", id))
	}
	from.n++
	r.counts.Sent++
	m := packet.Send{N: from.n, ID: id, To: r.group, Suite: chat.SuiteGroup, Content: c.AppendTo(nil)}
	from.write(m.AppendTo(nil))
}

// groupMessage takes a message to the group, or what changed it.
func (r *run) groupMessage(c *conn, p packet.Raw) error {
	var m packet.GroupMessage
	if err := m.Decode(p); err != nil {
		return err
	}
	if err := c.link(m.Pos, m.Gap); err != nil {
		return err
	}
	if m.Suite == chat.SuiteGroup {
		r.counts.Told++
		r.toMark(c)
		return nil
	}
	r.arrived(c, m.Content)
	return nil
}
