package redis

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// state is what is known of a watched user.
type state uint8

const (
	unknown state = iota
	offline
	online
)

// watched is a user that somebody here watches.
type watched struct {
	count      int
	state      state
	subscribed bool
	version    uint64 // rises with every event and gap: an older read counts no more
}

// watches is who is watched. What is heard changes the state, and what is read
// does where something may not have been heard.
type watches struct {
	wake chan struct{} // of repair

	tell sync.Mutex // keeps Changed in the order of changes; taken before mu

	mu     sync.Mutex
	users  map[chat.User]*watched
	unread map[chat.User]struct{} // subscribed, and to be read
	lanes  []*lane                // none before the first connection
}

func (w *watches) init() {
	w.wake, w.users, w.unread = make(chan struct{}, 1), map[chat.User]*watched{}, map[chat.User]struct{}{}
}

// touch has the user's lane compare what is wanted with what is subscribed.
// w.mu is held.
func (w *watches) touch(user chat.User) {
	if len(w.lanes) == 0 {
		return
	}
	l := w.lanes[bucket(user)%len(w.lanes)]
	l.dirty[user] = struct{}{}
	signal(l.wake)
}

// Watch asks for the changes of a user.
func (d *Directory) Watch(user chat.User) (isOnline, known bool) {
	w := &d.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.users[user]
	if u == nil {
		u = &watched{}
		w.users[user] = u
	}
	u.count++
	if u.count == 1 {
		w.touch(user)
	}
	return u.state == online, u.state != unknown
}

// Unwatch ends one Watch.
func (d *Directory) Unwatch(user chat.User) {
	w := &d.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.users[user]
	if u == nil || u.count == 0 {
		return
	}
	u.count--
	if u.count > 0 {
		return
	}
	if len(w.lanes) == 0 {
		delete(w.users, user)
		return
	}
	w.touch(user)
}

// heard takes an event of a channel.
func (d *Directory) heard(m rueidis.PubSubMessage) {
	user, ok := d.keys.watched(m.Channel)
	if !ok {
		return
	}
	d.Stats.Events.Add(1)
	kind, rest, _ := strings.Cut(m.Message, " ")
	is, seen := offline, int64(0)
	if kind == "1" {
		is = online
	} else {
		seen, _ = strconv.ParseInt(rest, 10, 64)
	}
	d.change(user, is, seen, nil)
}

// change notes a user's state and tells it if it is another. A read counts only
// if nothing was heard since it began, at version of.
func (d *Directory) change(user chat.User, is state, seen int64, of *uint64) {
	w := &d.watch
	w.tell.Lock()
	defer w.tell.Unlock()
	w.mu.Lock()
	u := w.users[user]
	if u == nil || u.count == 0 || of != nil && *of != u.version {
		w.mu.Unlock()
		return
	}
	if of == nil {
		u.version++
	}
	news := u.state != is
	u.state = is
	w.mu.Unlock()
	if f := d.opt.Handler.Changed; news && f != nil {
		f(user, is == online, seen)
	}
}

// readBatch is how many watched users are read at once.
const readBatch = 128

// repair reads watched users that are new or may have been missed: after a gap
// in a lane, and when a gateway is gone, which tells nobody that its users are.
func (d *Directory) repair() {
	tick := time.NewTicker(d.opt.Lease / 2)
	defer tick.Stop()
	var known []presence.Gateway
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
			known = d.lookForLost(known)
		case <-d.watch.wake:
		}
		for {
			more, err := d.readSome()
			if err != nil {
				d.sleep(settleRetry)
				signal(d.watch.wake)
			}
			if err != nil || !more {
				break
			}
		}
	}
}

// lookForLost compares who lives with who lived.
func (d *Directory) lookForLost(known []presence.Gateway) []presence.Gateway {
	w := &d.watch
	w.mu.Lock()
	any := len(w.users) > 0
	w.mu.Unlock()
	if !any {
		return known
	}
	now, err := d.Gateways(d.ctx)
	if err != nil {
		return known
	}
	for _, g := range known {
		if !slices.Contains(now, g) {
			w.mu.Lock()
			for user, u := range w.users {
				if u.subscribed {
					w.unread[user] = struct{}{}
				}
			}
			w.mu.Unlock()
			break
		}
	}
	return now
}

// readSome reads a batch, and says whether there may be more.
func (d *Directory) readSome() (more bool, err error) {
	w := &d.watch
	var users []chat.User
	var versions []uint64
	w.mu.Lock()
	for user := range w.unread {
		if len(users) == readBatch {
			break
		}
		delete(w.unread, user)
		if u := w.users[user]; u != nil && u.subscribed {
			users, versions = append(users, user), append(versions, u.version)
		}
	}
	more = len(w.unread) > 0
	w.mu.Unlock()
	if len(users) == 0 {
		return more, nil
	}
	d.Stats.Reads.Add(uint64(len(users)))
	found, err := call(d.ctx, d.guard, func(c rueidis.Client) ([][]presence.Gateway, error) {
		return d.whereNow(c, users)
	})
	if err != nil {
		w.mu.Lock()
		for _, user := range users {
			w.unread[user] = struct{}{}
		}
		w.mu.Unlock()
		return true, err
	}
	for i, user := range users {
		is := offline
		if len(found[i]) > 0 {
			is = online
		}
		d.change(user, is, 0, &versions[i])
	}
	return more, nil
}

// lane is a connection that listens: one for all, or in a cluster one for each
// bucket that somebody of which is watched.
type lane struct {
	d      *Directory
	client rueidis.Client
	wake   chan struct{}
	moved  chan struct{}          // the server took channels away
	dirty  map[chat.User]struct{} // watches.mu
}

func (d *Directory) startLanes(c rueidis.Client) {
	n := 1
	if c.Mode() == rueidis.ClientModeCluster {
		n = buckets
	}
	w := &d.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		l := &lane{d: d, client: c, wake: make(chan struct{}, 1), moved: make(chan struct{}, 1), dirty: map[chat.User]struct{}{}}
		w.lanes = append(w.lanes, l)
		d.running.Go(l.keep)
	}
	for user := range w.users {
		w.touch(user)
	}
}

// Bounds of a lane.
const (
	subscribeBatch = 128
	laneRetryFirst = 50 * time.Millisecond
	laneRetryMost  = 2 * time.Second
)

// keep listens again whenever the connection is lost.
func (l *lane) keep() {
	wait := laneRetryFirst
	for {
		select {
		case <-l.d.ctx.Done():
			return
		case <-l.wake:
		}
		began := time.Now()
		l.listen()
		if l.d.ctx.Err() != nil {
			return
		}
		l.d.Stats.Gaps.Add(1)
		l.gap()
		if time.Since(began) > laneRetryMost {
			wait = laneRetryFirst
		}
		l.d.sleep(wait)
		wait = min(2*wait, laneRetryMost)
	}
}

// listen subscribes what is wanted until the connection ends.
func (l *lane) listen() {
	conn, release := l.client.Dedicate()
	defer release()
	defer conn.Close()
	lost := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage:      l.d.heard,
		OnSubscription: l.confirmed,
	})
	for l.apply(conn) == nil {
		select {
		case <-l.d.ctx.Done():
			return
		case <-lost:
			return
		case <-l.moved:
			return
		case <-l.wake:
		}
	}
}

// confirmed looks for channels that the server ends by itself, as it does when
// a slot moves.
func (l *lane) confirmed(s rueidis.PubSubSubscription) {
	if s.Kind != "sunsubscribe" {
		return
	}
	user, _ := l.d.keys.watched(s.Channel)
	w := &l.d.watch
	w.mu.Lock()
	u := w.users[user]
	wanted := u != nil && u.count > 0 && u.subscribed
	w.mu.Unlock()
	if wanted {
		signal(l.moved)
	}
}

// apply brings what is subscribed to what is wanted.
func (l *lane) apply(conn rueidis.DedicatedClient) error {
	for {
		add, remove := l.next()
		if len(add)+len(remove) == 0 {
			return nil
		}
		if len(add) > 0 {
			if err := conn.Do(l.d.ctx, conn.B().Ssubscribe().Channel(l.channels(add)...).Build()).Error(); err != nil {
				return err
			}
			l.subscribed(add)
		}
		if len(remove) > 0 {
			if err := conn.Do(l.d.ctx, conn.B().Sunsubscribe().Channel(l.channels(remove)...).Build()).Error(); err != nil {
				return err
			}
		}
	}
}

func (l *lane) channels(users []chat.User) []string {
	out := make([]string, len(users))
	for i, u := range users {
		out[i] = l.d.keys.channel(u)
	}
	return out
}

// next takes a batch of what is to be changed. Who is to be removed is
// forgotten at once: what still comes of them is for nobody.
func (l *lane) next() (add, remove []chat.User) {
	w := &l.d.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for user := range l.dirty {
		if len(add) == subscribeBatch || len(remove) == subscribeBatch {
			break
		}
		delete(l.dirty, user)
		switch u := w.users[user]; {
		case u == nil:
		case u.count > 0 && !u.subscribed:
			add = append(add, user)
		case u.count == 0:
			if u.subscribed {
				remove = append(remove, user)
			}
			delete(w.users, user)
			delete(w.unread, user)
		}
	}
	return add, remove
}

// subscribed notes that all events of users come from now on, so that a read
// of them is good.
func (l *lane) subscribed(users []chat.User) {
	w := &l.d.watch
	w.mu.Lock()
	for _, user := range users {
		if u := w.users[user]; u != nil {
			u.subscribed = true
			w.unread[user] = struct{}{}
		}
	}
	w.mu.Unlock()
	signal(w.wake)
}

// gap notes that events of the lane's users may have been missed.
func (l *lane) gap() {
	w := &l.d.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for user, u := range w.users {
		if w.lanes[bucket(user)%len(w.lanes)] != l {
			continue
		}
		u.subscribed = false
		u.version++
		delete(w.unread, user)
		w.touch(user)
	}
}
