package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// TestMarksInABusyGroupAskNothing marks what came long ago for many users of one
// partition, more entries than arrivals has room for: the store is not asked who
// sent it, wherever the marks are; those who came and went, or had something else
// between, get the same receipts.
func TestMarksInABusyGroupAskNothing(t *testing.T) {
	const members, messages = 100, 300 // 30,000 entries
	g := newGroupTest(t, 1)
	g.dropped, g.opt.Heads = 1<<20, 1<<10
	var users []chat.User
	for n := range members {
		users = append(users, chat.User(fmt.Sprintf("u%02d", n)))
	}
	c := chat.Change{Verb: chat.GroupCreate, Users: users}
	send := func(from chat.User, suite uint8, content []byte) chat.Position {
		g.n++
		return g.put(record.Record{
			Kind: record.Message, Suite: suite, At: 1, User: []byte(g.group), Peer: []byte(from), Device: []byte("web"),
			ID: chat.NewID(1_000_000+g.n, 3, g.ring.Node(from, "web")), Content: content, Place: members + 1,
		})
	}
	change := func(from chat.User, verb chat.Verb, of ...chat.User) {
		c := chat.Change{Verb: verb, Users: of}
		send(from, chat.SuiteGroup, c.AppendTo(nil))
	}
	send("ann", chat.SuiteGroup, c.AppendTo(nil))
	g.start()
	w := g.workers[0]
	turn := func() { g.turn(w) }
	mark := func(back chat.Position) {
		for i, user := range users {
			g.put(record.Record{Kind: record.Mark, User: []byte(user), Device: []byte("web"), Place: g.log.End(0) - back - chat.Position(i)})
		}
		turn()
	}
	turn()
	mark(0) // where they were is not known before
	w.arrivals.missed = true
	asked := g.store.reads
	for n := range messages {
		send("ann", chat.SuitePlain, []byte("hi"))
		switch n {
		case messages / 2:
			change("ann", chat.GroupRemove, "u07")
			send("u03", chat.SuitePlain, []byte("and me")) // of which u03 has a copy
		case messages/2 + 20:
			change("ann", chat.GroupAdd, "u07")
		}
		turn()
		w.arrivals.missed = true // as questions too far back do, until there is all the room
	}
	for _, back := range []chat.Position{messages, messages / 2, 20, 0} {
		mark(back)
	}
	const looks = messages + 3 // each message's row is looked up once
	if n := g.store.reads - asked; n > looks+2 {
		t.Errorf("the store was asked %d times for %d messages", n, looks)
	}
	m := groupsOf(t, g.log)
	m.stored(t, &g.store.rows)
	m.told(t, &g.store.rows)
}

// TestGroupBursts has users of two groups and of direct messages, whose chains
// are asked for at random: what is remembered is right.
func TestGroupBursts(t *testing.T) {
	type link struct {
		pos, prev, place chat.Position
		sender           chat.User
	}
	const users, groups = 5, 2
	var a arrivals
	a.reset()
	r := rand.New(rand.NewPCG(1, 2))
	var chains [users][]link
	hash := func(n int) uint64 { return uint64(n+1) * 0x9e3779b97f4a7c15 }
	place, known, asked := chat.Position(1000), 0, 0
	for pos := chat.Position(1); pos < 20_000; pos += 1 + chat.Position(r.IntN(3)) {
		put := func(user int, place chat.Position, sender chat.User, group uint64) {
			var prev chat.Position
			if c := chains[user]; len(c) > 0 {
				prev = c[len(c)-1].pos
			}
			chains[user] = append(chains[user], link{pos, prev, place, sender})
			e := chat.Entry{Pos: pos, Prev: prev, Message: chat.Message{Place: place}}
			if group > 0 {
				a.putFan(hash(user), group, &e, e.Prev)
			} else {
				a.put(hash(user), &e, e.Prev, sender)
			}
		}
		if r.IntN(10) == 0 {
			put(r.IntN(users), pos, "ann", 0)
		} else {
			n := r.IntN(groups)
			name := chat.NewGroup("", chat.ID{byte(n)})
			place += 1 + chat.Position(r.IntN(9))
			a.fan(hash(100+n), name, pos, place)
			for user := range users {
				if r.IntN(20) > 0 { // who is no member now
					put(user, place, name, hash(100+n))
				}
			}
		}
		user := r.IntN(users)
		c := chains[user]
		after, upTo := pos-chat.Position(r.IntN(200)), pos-chat.Position(r.IntN(100))
		want := map[chat.User]link{} // the newest of each sender
		for _, l := range c {
			if after < l.pos && l.pos <= upTo {
				want[l.sender] = l
			}
		}
		if len(c) == 0 {
			continue
		}
		asked++
		ok, found := true, map[chat.User]bool{}
		for at := c[len(c)-1].pos; at > after && ok; {
			s := a.ask(hash(user), at)
			if ok = s != nil; !ok {
				break
			}
			newest, place, known := a.newest(s, upTo)
			if ok = known; newest > after && ok {
				sender := a.sender(s)
				if l := want[sender]; newest > l.pos || newest == l.pos && place != l.place {
					t.Fatalf("of %q at %d in (%d, %d]: %d at %d, want %+v", sender, at, after, upTo, newest, place, l)
				} else if newest == l.pos {
					found[sender] = true
				}
			}
			at = s.prev
		}
		if ok {
			known++
			if len(found) != len(want) {
				t.Fatalf("in (%d, %d] of %d %v are known, want %+v", after, upTo, user, found, want)
			}
		}
	}
	if known < asked*9/10 {
		t.Errorf("%d of %d are known", known, asked)
	}
}
