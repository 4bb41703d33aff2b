package shard

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// shift is a log that gets other partitions while it is at work: the owners of
// two epochs, of each partition several, on one store, and gateways that learn
// of the new epoch one after the other.
type shift struct {
	t        testing.TB
	old, new *zombies
	work     *workload
	fill     func(n int)        // of work, or of work with groups
	switched map[chat.User]bool // these append to the new epoch
	last     map[chat.User][]chat.Position
	killAt   int // the step before which every owner ends; 0 is none
	steps    int
}

func newShift(t testing.TB, seed uint64, from, to int) *shift {
	s := &shift{t: t, old: newZombies(t, seed, from), switched: map[chat.User]bool{}, last: map[chat.User][]chat.Position{}}
	o := s.old
	n := &zombies{sim: newSim(t, seed, to), stamped: o.stamped, newest: make([]*zombie, to)}
	n.log.identity, n.log.epoch = [16]byte{9}, 1
	n.r, n.store, n.readers = o.r, o.store, o.readers
	since := Since{Epoch: 1, Before: o.log}
	n.opt.Since, n.opt.gate = &since, &gate{since: since, store: o.stamped, logger: o.opt.Logger}
	n.rows = rowsFrom{o.stamped, Row(1, 0)}
	for range to {
		n.workers = append(n.workers, &worker{})
	}
	o.stamped.applied = func(row int) *atomic.Uint64 {
		if first := Row(1, 0); row >= first {
			return &n.workers[row-first].applied
		}
		return &o.workers[row].applied
	}
	o.opt.next.Store(&next{Next{1, n.log}, n.ring})
	o.horizon, n.horizon = s.applied, s.applied
	o.log.op, n.log.op, o.store.op = s.step, s.step, s.step
	s.new = n
	t.Cleanup(func() {
		for _, z := range n.owners {
			z.kill()
		}
	})
	s.work = newWorkload(seed, o.log, o.ring)
	s.work.route = s.route
	s.fill = s.work.fill
	return s
}

// applied is how far a user's readers may be shown: what the newest epoch says,
// once it has begun.
func (s *shift) applied(user chat.User) chat.Position {
	if at := s.new.workers[s.new.ring.PartitionOf(user)].applied.Load(); at > 0 {
		return chat.Position(at)
	}
	p := s.old.ring.PartitionOf(user)
	mark, _ := s.old.store.Mark(context.Background(), p)
	return max(mark.Position, chat.Position(s.old.workers[p].applied.Load()))
}

func (s *shift) step(name string) {
	if s.steps++; s.steps == s.killAt && s.runs() {
		panic(crashed{})
	}
	s.old.step(name)
	s.new.step(name)
}

func (s *shift) route(by chat.User) (*memLog, *Ring) {
	if s.switched[by] {
		return s.new.log, s.new.ring
	}
	return s.old.log, s.old.ring
}

// change makes a user's gateway append to the new epoch, as soon as all that it
// has appended before is applied or forwarded.
func (s *shift) change(user chat.User) {
	for p := range s.old.log.parts {
		mark, _ := s.old.store.Mark(context.Background(), p)
		if max(mark.Position, chat.Position(s.old.workers[p].applied.Load())) < s.old.log.End(p) {
			return
		}
	}
	s.switched[user] = true
}

// rounds is zombies.rounds with the two epochs side by side.
func (s *shift) rounds(n int) {
	for range n {
		s.old.rounds(4)
		if len(s.new.owners) > 0 {
			s.new.rounds(4)
		}
		if s.killAt > 0 && s.steps >= s.killAt {
			s.crash()
		}
	}
}

func (s *shift) runs() bool { return s.old.running != nil || s.new.running != nil }

// crash ends every owner, and others take over.
func (s *shift) crash() {
	s.killAt = 0
	for _, z := range []*zombies{s.old, s.new} {
		for p, o := range z.newest {
			if o != nil {
				for len(z.owners) > 0 {
					z.killAt(0)
				}
				defer z.takeOver(p)
			}
		}
	}
}

// begin seals the old partitions, some of them twice, and starts the owners of
// the new ones, while gateways change or not.
func (s *shift) begin() {
	for p := range s.new.newest {
		s.new.takeOver(p)
	}
	seal := record.Append(nil, &record.Record{Kind: record.Seal, Place: chat.NewPosition(1, 0)})
	for _, p := range s.old.r.Perm(len(s.old.newest)) {
		s.old.log.put(p, seal)
		s.fill(5)
		s.rounds(20)
		if s.old.r.IntN(2) == 0 {
			s.old.log.put(p, seal)
		}
	}
}

// finish lets the owners of both epochs come to the ends of their logs.
func (s *shift) finish() {
	for quiet := 0; quiet < 2; quiet++ {
		for _, z := range []*zombies{s.old, s.new} {
			for _, o := range z.owners {
				z.let(o)
				if !o.idle {
					quiet = -1
				}
			}
			if len(z.log.pending) > 0 {
				z.flushAny()
				quiet = -1
			}
		}
	}
}

// asOne is both epochs as one log by the new ring: what was before the seals,
// and what the new epoch has, latecomers once.
func (s *shift) asOne() *memLog {
	one := newMemLog(len(s.new.log.parts))
	put := func(raw memRecord) {
		var r record.Record
		if r.Decode(raw.raw) == nil && len(r.User) > 0 {
			p := &one.parts[s.new.ring.Partition(r.User)]
			p.records = append(p.records, raw)
		}
	}
	for _, part := range s.old.log.parts {
		for _, raw := range part.records {
			if raw.raw[1] == byte(record.Seal) {
				break
			}
			put(raw)
		}
	}
	type origin struct {
		p  int
		at chat.Position
	}
	seen := map[origin]bool{}
	for _, part := range s.new.log.parts {
		for _, raw := range part.records {
			var r record.Record
			if r.Decode(raw.raw) == nil && r.Kind == record.Forward {
				from := origin{s.old.ring.Partition(r.User), r.Place}
				if seen[from] {
					continue
				}
				seen[from] = true
				raw.raw = r.Content
			}
			put(raw)
		}
	}
	return one
}

// check judges the two epochs as one: by the model, by what readers saw, and by
// the order in which senders sent.
func (s *shift) check() {
	s.t.Helper()
	s.old.check()
	log, rows := direct(s.asOne(), &s.old.store.rows)
	modelOf(s.t, log).check(s.t, s.work.users, rows)
	groupsOf(s.t, s.asOne()).stored(s.t, &s.old.store.rows)
	type sender struct {
		from chat.User
		node chat.Node
	}
	for user, box := range rows.inbox {
		newest := map[sender]uint64{}
		for _, e := range box {
			k := sender{e.Message.From, e.Message.ID.Node()}
			if e.Kind != chat.EntryMessage {
				continue
			}
			if ticks := e.Message.ID.Ticks(); ticks <= newest[k] {
				s.t.Errorf("messages of %s to %s are not in order", k.from, user)
			} else {
				newest[k] = ticks
			}
		}
	}
	if len(s.new.log.letters) > 0 && !slices.ContainsFunc(s.new.log.letters, func(l letter) bool { return l.raw[1] == 9 }) {
		s.t.Errorf("dead letters of the new epoch: %+v", s.new.log.letters[0])
	}
}

// forwarded is how many records of the new epoch came from the old one.
func (s *shift) forwarded() (n int) {
	for p := range s.new.log.parts {
		for _, r := range s.new.log.records(s.t, p) {
			if r.Kind == record.Forward {
				n++
			}
		}
	}
	return n
}

// TestOnlineRepartition has several owners of each partition of both epochs at
// the same time, which are killed and paused anywhere, and gateways that go on
// appending to the old epoch for long: what is stored and shown in the end is as
// of one log (laws 2, 3, 8 and 16).
func TestOnlineRepartition(t *testing.T) { onlineRepartition(t, false) }

// TestOnlineRepartitionOfGroups is the same with groups.
func TestOnlineRepartitionOfGroups(t *testing.T) { onlineRepartition(t, true) }

func onlineRepartition(t *testing.T, groups bool) {
	seeds := 120
	if testing.Short() {
		seeds = 20
	}
	latecomers := 0
	for seed := range uint64(seeds) {
		s := newShift(t, seed, 1+int(seed%3), 1+int(seed/3%4))
		s.old.log.aligned = seed%2 == 0
		s.new.log.aligned = seed%4 < 2
		s.old.dropped, s.new.dropped = int(seed%4)*20, int(seed%4)*20
		s.old.opt.BatchRecords, s.new.opt.BatchRecords = 1+int(seed%9), 1+int(seed%7)
		if groups {
			s.fill = (&groupLoad{workload: s.work}).fill
		}
		s.fill(25)
		s.rounds(40)
		s.begin()
		for range 6 {
			s.fill(15)
			s.change(s.work.user())
			s.rounds(20)
			s.change(s.work.user())
			s.rounds(40)
		}
		s.finish()
		for _, user := range s.work.users {
			s.change(user)
		}
		s.fill(30)
		s.rounds(60)
		s.finish()
		latecomers += s.forwarded()
		s.check()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if latecomers < 20*seeds {
		t.Errorf("only %d latecomers", latecomers)
	}
}

// TestOnlineRepartitionCrashes ends every owner of both epochs before each step
// of a repartition in turn.
func TestOnlineRepartitionCrashes(t *testing.T) { onlineRepartitionCrashes(t, false) }

// TestOnlineRepartitionCrashesOfGroups is the same with groups.
func TestOnlineRepartitionCrashesOfGroups(t *testing.T) { onlineRepartitionCrashes(t, true) }

func onlineRepartitionCrashes(t *testing.T, groups bool) {
	every := 1
	if testing.Short() {
		every = 7
	}
	for at := 1; ; at += every {
		s := newShift(t, 3, 2, 3)
		s.killAt = at
		if groups {
			s.fill = (&groupLoad{workload: s.work}).fill
		}
		s.fill(8)
		s.rounds(5)
		s.begin()
		for _, user := range s.work.users {
			s.fill(2)
			s.rounds(10)
			s.change(user)
		}
		s.fill(4)
		s.rounds(40)
		whole := s.killAt > 0
		s.killAt = 0
		s.finish()
		s.check()
		if t.Failed() {
			t.Fatalf("every owner ended before step %d", at)
		}
		if whole {
			if at < 300 {
				t.Errorf("only %d steps", at)
			}
			return
		}
	}
}
