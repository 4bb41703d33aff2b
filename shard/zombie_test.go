package shard

import (
	"context"
	"iter"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/storage"
)

// stampedStore is a store of several processes: the rows of a batch land one
// by one in any order, what says how far they go lands last, and of a cell that
// is written over the value with the greatest timestamp stays. Timestamps are
// positions (law 3), so two writes of one have to be the same.
type stampedStore struct {
	*memStore
	t       testing.TB
	r       *rand.Rand
	applied func(row int) *atomic.Uint64 // how far partitions are, for those who read
	late    int                          // writes that lost
}

func (s *stampedStore) Apply(_ context.Context, b *storage.Batch) error {
	c := ownBatch(b)
	rows := s.writes(&c)
	s.r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	for _, write := range rows {
		s.op("before a row")
		write()
	}
	s.op("before the partition's row")
	s.mark(c.Partition, c.Mark)
	if at := s.applied(b.Partition); b.Applied > chat.Position(at.Load()) {
		at.Store(uint64(b.Applied))
	}
	s.op("after apply")
	return nil
}

func (s *stampedStore) writes(b *storage.Batch) (rows []func()) {
	r := &s.rows
	for _, m := range b.Messages {
		rows = append(rows, func() {
			s.once(r.messages[messageKey{m.Chat(), m.ID}], m)
			r.apply(&storage.Batch{Messages: []chat.Message{m}})
		})
	}
	for _, e := range b.Inbox {
		rows = append(rows, func() { s.entry(e) })
	}
	for _, c := range b.Receipts {
		rows = append(rows, func() {
			if old := r.receipts[pair{c.User, c.Peer}]; s.wins(old.Pos, c.Pos, old, c) {
				r.receipts[pair{c.User, c.Peer}] = c
			}
		})
	}
	for _, c := range b.Reads {
		rows = append(rows, func() {
			if old := r.reads[pair{c.User, c.Peer}]; s.wins(old.Pos, c.Pos, old, c) {
				r.reads[pair{c.User, c.Peer}] = c
			}
		})
	}
	for _, c := range b.Cursors {
		rows = append(rows, func() {
			k := pair{c.User, chat.User(c.Device)}
			if s.wins(r.cursors[k], c.Position, r.cursors[k], c.Position) {
				r.cursors[k] = c.Position
			}
		})
	}
	for _, g := range b.Groups {
		rows = append(rows, func() {
			if old := r.infos[g.Group]; s.wins(old.Pos, g.Pos, old, g) {
				r.infos[g.Group] = g
			}
		})
	}
	for _, m := range b.Members {
		rows = append(rows, func() {
			if old := r.members[pair{m.Group, m.User}]; s.wins(old.Pos, m.Pos, old, m) {
				r.members[pair{m.Group, m.User}] = m
			}
		})
	}
	for _, m := range b.GroupMarks {
		rows = append(rows, func() {
			if old := r.come[pair{m.Group, m.User}]; s.wins(old.Pos, m.Pos, old, m) {
				r.come[pair{m.Group, m.User}] = m
			}
		})
	}
	return rows
}

func (s *stampedStore) entry(e chat.Entry) {
	box := s.rows.inbox[e.User]
	s.rows.apply(&storage.Batch{Inbox: []chat.Entry{e}})
	if now := s.rows.inbox[e.User]; len(now) == len(box) {
		for i := range now { // it was written over, in place
			if now[i].Pos == e.Pos && (now[i].Kind != e.Kind || now[i].Message.ID != e.Message.ID) {
				s.t.Errorf("inbox row %v of %s is written over", e.Pos, e.User)
			}
		}
	}
}

func (s *stampedStore) mark(p int, m storage.Mark) {
	if old := s.rows.marks[p]; m != (storage.Mark{}) && s.wins(old.Position, m.Position, old, m) {
		s.rows.marks[p] = m
	}
}

// wins reports whether a value that is written at a time stays.
func (s *stampedStore) wins(old, at chat.Position, was, is any) bool {
	if old == at && at > 0 && !reflect.DeepEqual(was, is) {
		s.t.Errorf("at %v stands %+v, and now %+v", at, was, is)
	}
	if at < old {
		s.late++
	}
	return at >= old
}

// once checks a row that may be written again only as it is.
func (s *stampedStore) once(old, m chat.Message) {
	if old.ID != (chat.ID{}) && !reflect.DeepEqual(old, m) {
		s.t.Errorf("message %+v is written over by %+v", old, m)
	}
}

// Others may come between any two reads.

func (s *stampedStore) Applied(_ context.Context, row int) (chat.Position, error) {
	s.op("applied")
	return chat.Position(s.applied(row).Load()), nil
}

func (s *stampedStore) GroupInfo(ctx context.Context, group chat.User) ([]byte, chat.Position, error) {
	s.op("group info")
	return s.memStore.GroupInfo(ctx, group)
}

func (s *stampedStore) Members(ctx context.Context, group, beyond chat.User, limit int, dst []storage.Member) ([]storage.Member, error) {
	s.op("members")
	return s.memStore.Members(ctx, group, beyond, limit, dst)
}

func (s *stampedStore) Message(ctx context.Context, c chat.ChatID, id chat.ID, now int64) (chat.Message, bool, error) {
	s.op("message")
	return s.memStore.Message(ctx, c, id, now)
}

func (s *stampedStore) Senders(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, dst []storage.Sender) ([]storage.Sender, chat.Position, error) {
	s.op("senders")
	return s.memStore.Senders(ctx, user, after, upTo, limit, dst)
}

func (s *stampedStore) ReadReceipts(ctx context.Context, receipts []storage.ReceiptAt) error {
	s.op("receipt")
	return s.memStore.ReadReceipts(ctx, receipts)
}

func (s *stampedStore) ReadTo(ctx context.Context, user, peer chat.User) (chat.Position, error) {
	s.op("read to")
	return s.memStore.ReadTo(ctx, user, peer)
}

func (s *stampedStore) Cursors(ctx context.Context, user chat.User) ([]storage.Cursor, error) {
	s.op("cursors")
	return s.memStore.Cursors(ctx, user)
}

func (s *stampedStore) ReadCursors(ctx context.Context, cursors []storage.UserCursor) error {
	s.op("read cursors")
	return s.memStore.ReadCursors(ctx, cursors)
}

func (s *stampedStore) Delivered(ctx context.Context, user chat.User) (chat.Position, error) {
	s.op("delivered")
	return s.memStore.Delivered(ctx, user)
}

// zombies is a sim in which a partition may have several owners: each thinks
// that it is the one, and the others come between any two of its steps.
type zombies struct {
	*sim
	stamped *stampedStore
	rows    Store // stamped, as owners see it
	owners  []*zombie
	newest  []*zombie // by partition
	running *zombie
}

// zombie is an owner, which runs until it pauses.
type zombie struct {
	w     *worker
	yield func(struct{}) bool
	run   func() (struct{}, bool)
	kill  func()
	slow  bool // it runs rarely, as a process that is paused again and again
	idle  bool // it found nothing to do
}

const (
	mostOwners = 4 // of one partition
	slowness   = 30
)

func newZombies(t testing.TB, seed uint64, partitions int) *zombies {
	z := &zombies{sim: newSim(t, seed, partitions), newest: make([]*zombie, partitions)}
	z.stamped = &stampedStore{memStore: z.store, t: t, r: z.r}
	for range partitions {
		z.workers = append(z.workers, &worker{}) // gateways know of owners what is stored
	}
	z.stamped.applied = func(row int) *atomic.Uint64 { return &z.workers[row].applied }
	z.rows = z.stamped
	z.log.op, z.store.op = z.step, z.step
	for p := range partitions {
		z.takeOver(p)
	}
	t.Cleanup(func() {
		for _, o := range z.owners {
			o.kill()
		}
	})
	return z
}

// takeOver makes a new owner of a partition. The old one is not told.
func (z *zombies) takeOver(p int) {
	marks, err := resume(context.Background(), z.opt.Logger, z.log, z.rows, []int{p})
	z.must(err)
	o, opt := &zombie{}, &z.opt
	if g := z.opt.gate; g != nil { // each process has its own
		own := z.opt
		own.gate = &gate{since: g.since, store: g.store, logger: g.logger}
		opt = &own
	}
	o.w, err = newWorker(opt, p, marks[0], z.ring, z.log, z.rows, z)
	z.must(err)
	o.run, o.kill = iter.Pull(z.life(o))
	if old := z.newest[p]; old != nil {
		old.slow = z.r.IntN(3) > 0
	}
	z.newest[p] = o
	z.owners = append(z.owners, o)
	z.thin(p)
}

// thin kills the oldest owner of a partition where there are too many.
func (z *zombies) thin(p int) {
	count, oldest := 0, -1
	for i, o := range z.owners {
		if o.w.p == p {
			if count++; oldest < 0 {
				oldest = i
			}
		}
	}
	if count > mostOwners {
		z.killAt(oldest)
	}
}

// killAt kills an owner wherever it is. What it has given to the log may
// become durable later all the same.
func (z *zombies) killAt(i int) {
	z.owners[i].kill()
	z.owners = append(z.owners[:i], z.owners[i+1:]...)
}

// life is what an owner does, with pauses.
func (z *zombies) life(o *zombie) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		defer func() {
			if p := recover(); p != nil && p != any(crashed{}) {
				panic(p)
			}
		}()
		o.yield = yield
		ctx := context.Background()
		for z.shut(o) {
			o.idle = true
			z.pause(o)
		}
		z.must(o.w.start(ctx))
		for {
			b := z.log.next(o.w.p, o.w.last, 1+z.r.IntN(2000))
			if o.idle = false; b.Count > 0 {
				o.w.begin(b)
				for o.w.left > 0 {
					z.must(o.w.cycle(ctx))
					if o.w.stalled {
						z.stalls++
						z.pause(o)
					}
				}
				for i := range b.Records { // what the log lent is its own again
					b.Records[i] = 0xdd
				}
			}
			if b.Count == 0 || z.r.IntN(2) == 0 {
				z.must(o.w.settle(ctx))
			}
			o.idle = b.Count == 0 && o.w.out.idle() && len(o.w.open) == 0
			z.pause(o)
		}
	}
}

// shut reports whether an owner has to wait for the epoch before.
func (z *zombies) shut(o *zombie) bool {
	g := o.w.opt.gate
	if g == nil || o.w.marked.Load() > 0 {
		return false
	}
	p, err := g.look(context.Background())
	z.must(err)
	return p >= 0
}

func (z *zombies) pause(o *zombie) {
	if !o.yield(struct{}{}) {
		panic(crashed{})
	}
}

// step is where others may come between.
func (z *zombies) step(string) {
	if o := z.running; o != nil && z.r.IntN(3) == 0 {
		z.pause(o)
	}
}

// Deliver implements Deliverer.
func (z *zombies) Deliver(p int, entries []chat.Entry, outcomes []Outcome) {
	z.step("deliver")
	z.sim.Deliver(p, entries, outcomes)
}

func (z *zombies) let(o *zombie) {
	z.running = o
	o.run()
	z.running = nil
}

// flushAny makes some append durable; of one owner and target only one is
// under way, so they may come in any order.
func (z *zombies) flushAny() {
	if n := len(z.log.pending); n > 0 {
		i := z.r.IntN(n)
		z.log.pending[0], z.log.pending[i] = z.log.pending[i], z.log.pending[0]
		z.log.flush(1)
	}
}

// rounds lets the owners run as it comes, while partitions change hands.
func (z *zombies) rounds(n int) {
	for range n {
		switch k := z.r.IntN(100); {
		case k < 2:
			z.takeOver(z.r.IntN(len(z.newest)))
		case k < 5:
			if i := z.r.IntN(len(z.owners)); z.owners[i] != z.newest[z.owners[i].w.p] {
				z.killAt(i)
			}
		case k < 20:
			z.flushAny()
		default:
			if o := z.owners[z.r.IntN(len(z.owners))]; !o.slow || z.r.IntN(slowness) == 0 {
				z.let(o)
			}
		}
	}
}

// finish lets all of them, zombies too, come to the end of the log.
func (z *zombies) finish() {
	for quiet := 0; quiet < 2; quiet++ {
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

// honest checks that what senders were told is so: places are those stored, and
// ids are in conflict that came with other bytes.
func (z *zombies) honest() {
	bytes := map[messageKey]map[string]bool{}
	for p := range z.log.parts {
		for _, r := range z.log.records(z.t, p) {
			if k := (messageKey{chat.ChatOf(chat.User(r.Peer), chat.User(r.User)), r.ID}); r.Kind == record.Message {
				if bytes[k] == nil {
					bytes[k] = map[string]bool{}
				}
				bytes[k][string(r.Content)] = true
			}
		}
	}
	for _, o := range z.out {
		k := messageKey{chat.ChatOf(o.User, o.To), o.ID}
		if refusedByGroup(o.Code) {
			continue // it may have been sent again
		}
		if place := z.store.rows.messages[k].Place; o.Place != place || o.Code == chat.CodeIDConflict && len(bytes[k]) < 2 {
			z.t.Errorf("%+v was told of a message at %v that came with %d contents", o, place, len(bytes[k]))
		}
	}
}

// TestZombies has several owners of each partition at the same time, which come
// between any two of each other's steps, are paused and killed anywhere: what is
// stored, derived and shown in the end is as of one (laws 3 and 6).
func TestZombies(t *testing.T) {
	seeds := 120
	if testing.Short() {
		seeds = 20
	}
	late := 0
	for seed := range uint64(seeds) {
		z := newZombies(t, seed, 1+int(seed%3))
		z.log.aligned = seed%2 == 0
		z.dropped = int(seed%4) * 20
		z.opt.BatchRecords = 1 + int(seed%9)
		w := newWorkload(seed, z.log, z.ring)
		for range 5 {
			w.fill(25)
			z.rounds(400)
		}
		z.finish()
		late += z.stamped.late
		z.check()
		modelOf(t, z.log).check(t, w.users, &z.store.rows)
		z.pure()
		z.honest()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if late < 10*seeds {
		t.Errorf("only %d writes came too late: nothing was shown", late)
	}
}

func refusedByGroup(c chat.Code) bool { return c >= chat.CodeNotMember && c <= chat.CodeBadChange }

// TestZombiesOfGroups is TestZombies with groups.
func TestZombiesOfGroups(t *testing.T) {
	seeds := 120
	if testing.Short() {
		seeds = 20
	}
	late, stalls := 0, 0
	for seed := range uint64(seeds) {
		z := newZombies(t, seed, 1+int(seed%3))
		z.log.aligned = seed%2 == 0
		z.dropped = int(seed%4) * 20
		z.opt.BatchRecords = 1 + int(seed%9)
		w := &groupLoad{workload: newWorkload(seed, z.log, z.ring)}
		for range 5 {
			w.fill(30)
			z.rounds(400)
		}
		z.finish()
		late += z.stamped.late
		stalls += z.stalls
		z.lawful(w.users)
		z.honest()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d writes too late, %d waits", late, stalls)
	if late < 10*seeds {
		t.Errorf("only %d writes came too late: nothing was shown", late)
	}
}
