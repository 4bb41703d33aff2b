package delivery

import (
	"context"
	"fmt"
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
)

// router takes one partition's hints from its queue to their gateways, one
// parcel after the other.
type router struct {
	r    *Remote
	wake chan struct{}

	mu    sync.Mutex
	queue *parcel // what gathers while the router works on another

	// of the goroutine
	work    *parcel
	working int // bytes of work, guarded by mu
	places  map[chat.User]int
	users   []chat.User
	names   []byte
	place   []int // of each hint its user's index
	hint    Hint
	own     []Hint
	absent  [][]byte
}

// lookupUsers is how many users the directory is asked for at once.
const lookupUsers = 1024

func newRouter(r *Remote) *router {
	return &router{r: r, wake: make(chan struct{}, 1), queue: new(parcel), work: new(parcel), places: map[chat.User]int{}}
}

// add encodes a hint into the queue, and takes it out again when it is too much;
// but one hint always fits. It is called with mu held.
func (rt *router) add(encode func(p *parcel)) {
	q := rt.queue
	items, bytes := len(q.items), len(q.buf)
	encode(q)
	if waiting := rt.working + bytes; waiting > 0 && rt.working+len(q.buf) > rt.r.opt.QueueBytes {
		q.cut(items, bytes)
		rt.r.Stats.DroppedQueue.Add(1)
	}
}

func (rt *router) run() {
	for {
		select {
		case <-rt.r.ctx.Done():
			return
		case <-rt.wake:
		}
		rt.mu.Lock()
		rt.queue, rt.work = rt.work, rt.queue
		rt.working = len(rt.work.buf)
		rt.mu.Unlock()
		rt.route()
		rt.mu.Lock()
		rt.work.reset()
		rt.working = 0
		rt.mu.Unlock()
	}
}

// route sends the hints of the work.
func (rt *router) route() {
	for from := 0; from < len(rt.work.items); {
		to := rt.gather(from)
		found, err := rt.lookup()
		if err != nil {
			rt.unknown(from, to, err)
		} else {
			rt.spread(from, to, found)
		}
		from = to
	}
}

// gather collects the users of the hints from an index on, until there are
// enough for one question, and returns the index after the last.
func (rt *router) gather(from int) int {
	clear(rt.places)
	rt.users, rt.place = rt.users[:0], rt.place[:0]
	i := from
	for ; i < len(rt.work.items) && len(rt.users) < lookupUsers; i++ {
		user := view.String[chat.User](rt.work.items[i].user.of(rt.work.buf))
		n, ok := rt.places[user]
		if !ok {
			n = len(rt.users)
			rt.places[user] = n
			rt.users = append(rt.users, user)
		}
		rt.place = append(rt.place, n)
	}
	rt.keepable()
	return i
}

// keepable moves the users' names from the lent buffer into one string: the
// directory may keep them.
func (rt *router) keepable() {
	rt.names = rt.names[:0]
	for _, u := range rt.users {
		rt.names = append(rt.names, u...)
	}
	names := string(rt.names)
	for i, u := range rt.users {
		rt.users[i], names = chat.User(names[:len(u)]), names[len(u):]
	}
}

func (rt *router) lookup() ([][]presence.Gateway, error) {
	ctx, cancel := context.WithTimeout(rt.r.ctx, rt.r.opt.LookupTimeout)
	defer cancel()
	found, err := rt.r.where.Where(ctx, rt.users)
	if err == nil && len(found) != len(rt.users) {
		err = fmt.Errorf("the directory was asked for %d users and answered for %d", len(rt.users), len(found))
	}
	return found, err
}

// spread sends hints to where their users are.
func (rt *router) spread(from, to int, found [][]presence.Gateway) {
	stats, sent := &rt.r.Stats, 0
	for i := from; i < to; i++ {
		rt.hint = rt.work.hint(i)
		at := found[rt.place[i-from]]
		if len(at) == 0 {
			stats.Nowhere.Add(1)
			rt.nowhere(i)
		}
		for _, g := range at {
			sent++
			if g.ID == rt.r.opt.Own && rt.r.local != nil {
				rt.own = append(rt.own, rt.hint)
				continue
			}
			rt.r.peers.Send(g, &rt.hint)
		}
	}
	stats.Sent.Add(uint64(sent))
	for _, user := range rt.takeOwn() {
		rt.stale(user, found)
	}
}

// unknown sends hints whose users' places are not known to every gateway that
// was alive when the directory last answered: without the directory messages
// are dearer, and not slower.
func (rt *router) unknown(from, to int, err error) {
	if rt.r.ctx.Err() == nil {
		rt.r.opt.Logger.Warn("nobody told where users are: every gateway gets their hints", "hints", to-from, "err", err)
	}
	var all []presence.Gateway
	if known := rt.r.known.Load(); known != nil {
		all = *known
		rt.r.Stats.ToAll.Add(uint64(to - from))
	} else {
		rt.r.Stats.DroppedWhere.Add(uint64(to - from))
	}
	for i := from; i < to; i++ {
		rt.nowhere(i) // perhaps: who is somewhere takes the message before a push goes out
		rt.hint = rt.work.hint(i)
		for _, g := range all {
			if g.ID != rt.r.opt.Own {
				rt.r.peers.Send(g, &rt.hint)
			}
		}
		if rt.r.local != nil {
			rt.own = append(rt.own, rt.hint)
		}
	}
	rt.takeOwn()
}

// takeOwn hands hints to the sessions of this process and returns who is not
// here.
func (rt *router) takeOwn() [][]byte {
	if len(rt.own) == 0 {
		return nil
	}
	rt.absent = rt.r.local.Take(rt.own, rt.absent[:0])
	rt.own = rt.own[:0]
	return rt.absent
}

func (rt *router) nowhere(i int) {
	it := &rt.work.items[i]
	user, from := string(it.user.of(rt.work.buf)), string(it.from.of(rt.work.buf))
	if rt.r.opt.Nowhere == nil || from == "" {
		return
	}
	rt.r.opt.Nowhere(chat.User(user), chat.User(from), it.pos)
}

// stale tells that the directory sent a user's hint here in vain.
func (rt *router) stale(user []byte, found [][]presence.Gateway) {
	if rt.r.opt.Stale == nil {
		return
	}
	for _, g := range found[rt.places[view.String[chat.User](user)]] {
		if g.ID == rt.r.opt.Own {
			rt.r.opt.Stale(chat.User(user), g)
		}
	}
}
