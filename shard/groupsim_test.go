package shard

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// groupLoad is a workload with groups: their changes, by those who may and by
// others, messages, retries, conflicts and reads.
type groupLoad struct {
	*workload
	groups []chat.User
	sent   []record.Record
}

var groupUsers = []chat.User{"ann", "bob", "cid", "dee", "fay"}

func (w *groupLoad) one() chat.User { return groupUsers[w.r.IntN(len(groupUsers))] }

func (w *groupLoad) fill(n int) {
	for range n {
		w.now = w.now.Add(3_000_000)
		k := w.r.IntN(100)
		switch {
		case k < 5 || len(w.groups) == 0:
			w.change(chat.GroupCreate)
		case k < 25:
			w.change(chat.Verb(2 + w.r.IntN(6)))
		case k < 55:
			w.send("", []byte(fmt.Sprintf("words %d", len(w.sent))), chat.SuitePlain)
		case k < 62:
			rec := w.sent[w.r.IntN(len(w.sent))]
			rec.Flags = uint8(w.r.IntN(2)) * record.FlagRetry
			w.put(rec)
		case k < 65:
			rec := w.sent[w.r.IntN(len(w.sent))]
			rec.Content = append(slices.Clone(rec.Content), '!')
			w.put(rec)
		case k < 72:
			user, g := w.one(), w.groups[w.r.IntN(len(w.groups))]
			w.put(record.Record{Kind: record.Read, User: []byte(user), Peer: []byte(g), Device: []byte(w.device()), Place: w.place(g)})
		case k < 85:
			user := w.one()
			w.put(record.Record{Kind: record.Mark, User: []byte(user), Device: []byte(w.device()), Place: w.place(user)})
		default:
			w.workload.fill(1)
		}
	}
}

// change sends a change of a verb. Mostly it is of the founder.
func (w *groupLoad) change(verb chat.Verb) {
	c := chat.Change{Verb: verb}
	for range 1 + w.r.IntN(3) {
		switch verb {
		case chat.GroupLeave, chat.GroupInfo:
		default:
			c.Users = append(c.Users, w.one())
		}
	}
	if verb == chat.GroupInfo || verb == chat.GroupCreate {
		c.Info = []byte{byte(len(w.sent)), 1}
	}
	content := c.AppendTo(nil)
	if w.r.IntN(20) == 0 {
		content = content[:len(content)-1]
	}
	group := chat.User("")
	if verb == chat.GroupCreate {
		group = "new"
	}
	w.send(group, content, chat.SuiteGroup)
}

func (w *groupLoad) send(group chat.User, content []byte, suite uint8) {
	from, device := w.one(), w.device()
	name := string(from) + " " + string(device)
	if w.clocks[name] == nil {
		w.clocks[name] = chat.NewClock(w.ring.Node(from, device), 1, chat.ID{})
	}
	rec := record.Record{
		Kind: record.Message, Flags: uint8(w.r.IntN(2))*record.FlagCopy | uint8(w.r.IntN(2))*record.FlagRetry, Suite: suite, Peer: []byte(from),
		Device: []byte(device), ID: w.clocks[name].Next(w.now), TTL: uint64(w.r.IntN(2)) * 1000, Content: content,
		Place: chat.Position(3 + w.r.IntN(3)),
	}
	if group == "new" {
		group = chat.NewGroup("", rec.ID)
		w.groups = append(w.groups, group)
	} else {
		group = w.groups[w.r.IntN(len(w.groups))]
	}
	rec.User = []byte(group)
	w.sent = append(w.sent, rec)
	w.put(rec)
}

// direct is what a log and rows hold without groups.
func direct(log *memLog, rows *memRows) (*memLog, *memRows) {
	l, r := newMemLog(len(log.parts)), *rows
	for p := range log.parts {
		for _, raw := range log.parts[p].records {
			var rec record.Record
			if rec.Decode(raw.raw) == nil && (chat.User(rec.User).IsGroup() || chat.User(rec.Peer).IsGroup()) {
				continue
			}
			l.parts[p].records = append(l.parts[p].records, raw)
		}
	}
	r.messages, r.inbox = map[messageKey]chat.Message{}, map[chat.User][]chat.Entry{}
	for k, m := range rows.messages {
		if !m.To.IsGroup() {
			r.messages[k] = m
		}
	}
	for user, box := range rows.inbox {
		for _, e := range box {
			if !e.Message.To.IsGroup() {
				r.inbox[user] = append(r.inbox[user], e)
			}
		}
	}
	return l, &r
}

// lawful checks all that is stored, of groups and of users.
func (s *sim) lawful(users []chat.User) *groupModel {
	s.t.Helper()
	s.check()
	log, rows := direct(s.log, &s.store.rows)
	modelOf(s.t, log).check(s.t, users, rows)
	m := groupsOf(s.t, s.log)
	m.stored(s.t, &s.store.rows)
	m.told(s.t, &s.store.rows)
	m.marked(s.t, &s.store.rows)
	s.pure()
	return m
}

// TestGroupsCrashAtEveryStep crashes a small workload with groups before each of
// its steps in turn.
func TestGroupsCrashAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		s := newSim(t, uint64(at), 2)
		s.dropped = 20
		w := &groupLoad{workload: newWorkload(7, s.log, s.ring)}
		w.fill(50)
		s.crashAt = at
		whole := s.run()
		if !whole && !s.run() {
			t.Fatal("crashed twice")
		}
		s.lawful(w.users)
		if t.Failed() {
			t.Fatalf("crash at step %d of %v", at, s.ops)
		}
		if whole {
			if at < 50 {
				t.Errorf("only %d steps: %v", at, s.ops)
			}
			return
		}
	}
}

// groups of which the owner has forgotten what it can have again, now and then
func (s *sim) forgetGroups(w *worker) {
	if s.forgets && s.r.IntN(3) == 0 {
		w.forgetGroups(0)
	}
}

// TestGroupsCrashAtRandom crashes larger workloads with groups many times: users
// join, leave and come back, and what a group fanned out may be there when its
// row is not any more.
func TestGroupsCrashAtRandom(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	stalls, crashes, codes := 0, 0, map[chat.Code]int{}
	for seed := range uint64(seeds) {
		s := newSim(t, seed, 1+int(seed%4))
		s.dropped = int(seed%3) * 20
		s.log.aligned, s.forgets = seed%4 == 1, seed%2 == 0
		s.opt.BatchRecords = 1 + int(seed%9)
		w := &groupLoad{workload: newWorkload(seed, s.log, s.ring)}
		for range 6 {
			w.fill(40)
			s.op, s.crashAt = 0, 1+s.r.IntN(80)
			if !s.run() {
				crashes++
			}
			s.ops = nil
		}
		s.crashAt = 0
		s.run()
		m := s.lawful(w.users)
		for code, n := range m.refused {
			codes[code] += n
		}
		stalls += s.stalls
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d crashes, %d times one waited for another, outcomes %v", crashes, stalls, codes)
	if stalls == 0 || crashes < seeds || len(codes) < 5 {
		t.Error("this tests little")
	}
}
