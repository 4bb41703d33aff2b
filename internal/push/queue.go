package push

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Store is what the queue needs of the store; see storage.Store.
type Store interface {
	Devices(ctx context.Context, user chat.User) ([]storage.Device, error)
	Cursors(ctx context.Context, user chat.User) ([]storage.Cursor, error)
	PushTargets(ctx context.Context, user chat.User) ([]storage.PushTarget, error)
	PutPushTarget(ctx context.Context, user chat.User, t storage.PushTarget) error
	PutPushed(ctx context.Context, user chat.User, device chat.Device, pos chat.Position) error
}

// Queue takes notices and sends them. Its methods are safe for concurrent use.
//
// A notice waits under its user and chat until the user's devices are looked
// up, then under its device and chat until the device has it, or was told. One
// that comes meanwhile under the same key raises the position of the one that
// waits. All of it is in memory: what a crash takes away is offered again by the
// replay of the log, as far as that goes back.
type Queue struct {
	Stats Stats

	o      Options
	store  Store
	lookup *lane
	lanes  map[string]*lane // by provider, so that one that hangs holds up no other

	ctx     context.Context // ends with what is under way
	cancel  context.CancelFunc
	running sync.WaitGroup
	faults  faultLog

	mu       sync.Mutex // a leaf
	notices  map[key]*notice
	devices  *devices
	stopping bool
	empty    chan struct{} // closed when the last notice has ended after stopping
}

// key is what notices collapse by. The device is "" until it is looked up.
type key struct {
	user   chat.User
	device chat.Device
	from   chat.User
}

// notice is guarded by Queue.mu, but for tries, sent, reserved and online, which
// are of whoever works on it.
type notice struct {
	key
	lane  *lane
	pos   chat.Position
	count int       // messages it stands for
	since time.Time // when it began to wait
	due   time.Time

	tries    int
	reserved bool          // it has a place in its device's rate
	online   time.Time     // since when its device was found connected
	sent     chat.Position // the provider took it up to here, and the store does not know
}

// New returns a Queue at work; Stop ends it.
func New(o Options, store Store) (*Queue, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	q := &Queue{
		o: o, store: store, devices: newDevices(o.Every, o.Burst, o.Devices), lanes: map[string]*lane{},
		notices: map[key]*notice{}, empty: make(chan struct{}), faults: faultLog{logger: o.Logger},
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.lookup = q.startLane(o.Lookups, q.lookUp)
	for name, sender := range o.Senders {
		q.lanes[name] = q.startLane(o.Workers, func(ctx context.Context, n *notice, at snapshot) verdict {
			return q.attempt(ctx, name, sender, n, at)
		})
	}
	return q, nil
}

// Offer says that a message of from waits for user at a position that is
// stored and applied. It never blocks, and keeps copies of its arguments alone.
func (q *Queue) Offer(user, from chat.User, pos chat.Position) {
	q.Stats.Offered.Add(1)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopping {
		q.drop(Stopped)
		return
	}
	q.put(key{user: user, from: from}, q.lookup, pos, 1, q.o.Delay)
}

// put enters a notice or raises the one that waits. q.mu is held.
func (q *Queue) put(k key, l *lane, pos chat.Position, count int, delay time.Duration) {
	if n, waits := q.notices[k]; waits {
		if pos > n.pos {
			n.pos = pos
			n.count += count
		}
		q.Stats.Collapsed.Add(1)
		return
	}
	if l.size >= q.o.Entries {
		q.drop(Full)
		return
	}
	k.user, k.from = chat.User(strings.Clone(string(k.user))), chat.User(strings.Clone(string(k.from)))
	now := time.Now()
	n := &notice{key: k, lane: l, pos: pos, count: count, since: now, due: now.Add(delay)}
	q.notices[k] = n
	q.Stats.Waiting.Add(1)
	l.size++
	l.push(n)
}

func (q *Queue) drop(r Reason) { q.Stats.dropped[r].Add(1) }

// Stop takes no more notices, tries each that waits once more, at once, and
// ends what is still under way when ctx ends.
func (q *Queue) Stop(ctx context.Context) {
	q.mu.Lock()
	if !q.stopping {
		q.stopping = true
		q.isEmpty()
		q.lookup.signal()
		for _, l := range q.lanes {
			l.signal()
		}
	}
	q.mu.Unlock()
	select {
	case <-q.empty:
	case <-ctx.Done():
	}
	q.cancel()
	q.running.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	for k := range q.notices {
		q.end(k, Stopped)
	}
}

// isEmpty tells Stop when there is nothing left. q.mu is held.
func (q *Queue) isEmpty() {
	if q.stopping && len(q.notices) == 0 {
		select {
		case <-q.empty:
		default:
			close(q.empty)
		}
	}
}

// end takes a notice out without a push. q.mu is held.
func (q *Queue) end(k key, r Reason) {
	q.drop(r)
	q.remove(k)
}

func (q *Queue) remove(k key) {
	q.notices[k].lane.size--
	delete(q.notices, k)
	q.Stats.Waiting.Add(-1)
	q.isEmpty()
}
