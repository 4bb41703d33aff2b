package redis

import (
	"context"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// op is a call that failed and is made again in the background.
type op struct {
	session presence.Session
	gone    bool // to be unregistered
	seen    int64
}

type device struct {
	user chat.User
	node chat.Node
}

func (o op) device() device { return device{o.session.User, o.session.Node} }

// pending is what has to be done in the background: at most one op a device,
// and whether all sessions have to be registered again.
type pending struct {
	wake chan struct{}

	mu   sync.Mutex
	max  int
	ops  map[device]op
	walk bool
}

func (p *pending) init(most int) {
	p.wake, p.max, p.ops = make(chan struct{}, 1), most, map[device]op{}
}

func (p *pending) walkAgain() {
	p.mu.Lock()
	p.walk = true
	p.mu.Unlock()
	signal(p.wake)
}

// put keeps an op, unless there is one of a newer session. It reports whether
// there was a place.
func (p *pending) put(o op) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, ok := p.ops[o.device()]
	if !ok && len(p.ops) >= p.max {
		return false
	}
	if !ok || was.session.Number <= o.session.Number {
		p.ops[o.device()] = o
	}
	return true
}

// drop forgets what was to be done for a device's session or an older one.
func (p *pending) drop(s presence.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := device{s.User, s.Node}
	if o, ok := p.ops[key]; ok && o.session.Number <= s.Number {
		delete(p.ops, key)
	}
}

// take returns up to n ops, and whether to walk.
func (p *pending) take(n int) (ops []op, walk bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.walk {
		p.walk = false
		return nil, true
	}
	for key, o := range p.ops {
		if len(ops) == n {
			break
		}
		ops = append(ops, o)
		delete(p.ops, key)
	}
	return ops, false
}

// later has an op done in the background. When there is no place, all is done:
// for a session that is missing that is a walk, and for one that is left over a
// new epoch.
func (d *Directory) later(o op) {
	if d.opt.Gateway == "" {
		return
	}
	if d.todo.put(o) {
		signal(d.todo.wake)
		return
	}
	d.Stats.Overflows.Add(1)
	if o.gone {
		d.giveUpLease()
	}
	d.todo.walkAgain()
}

// Bounds of settling.
const (
	settleBatch = 64                     // registrations under way at once
	settleRetry = 200 * time.Millisecond // after one failed
)

// settle does what is pending, at the pace of Options.Reregister, and renews
// all entries twice in Options.Keep.
func (d *Directory) settle() {
	renew := time.NewTicker(d.opt.Keep / 2)
	defer renew.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-renew.C:
			d.todo.walkAgain()
		case <-d.todo.wake:
			d.settleAll()
		}
	}
}

// settleAll ends when nothing is pending, or the directory is closed.
func (d *Directory) settleAll() {
	for d.ctx.Err() == nil {
		if d.Health() != nil { // who mends that wakes us
			if !d.sleep(settleRetry) {
				return
			}
			continue
		}
		ops, walk := d.todo.take(settleBatch)
		switch {
		case walk:
			d.walk()
		case len(ops) == 0:
			return
		case !d.settleBatch(ops):
			d.sleep(settleRetry)
		}
	}
}

// walk registers every session of the process.
func (d *Directory) walk() {
	if d.opt.Handler.Sessions == nil {
		return
	}
	batch := make([]op, 0, settleBatch)
	d.opt.Handler.Sessions(func(s presence.Session) bool {
		batch = append(batch, op{session: s})
		if len(batch) == settleBatch {
			d.settleBatch(batch)
			batch = batch[:0]
		}
		return d.ctx.Err() == nil
	})
	d.settleBatch(batch)
}

// settleBatch does ops side by side, so that they go out together, and waits as
// long as their number should take. What fails stays pending.
func (d *Directory) settleBatch(ops []op) (all bool) {
	if len(ops) == 0 {
		return true
	}
	pace := time.NewTimer(time.Duration(len(ops)) * time.Second / time.Duration(d.opt.Reregister))
	defer pace.Stop()
	failed := make([]bool, len(ops))
	var wg sync.WaitGroup
	for i, o := range ops {
		wg.Go(func() { failed[i] = !d.settleOne(o) })
	}
	wg.Wait()
	all = true
	for i, o := range ops {
		if failed[i] {
			all = false
			d.later(o)
		}
	}
	select {
	case <-pace.C:
	case <-d.ctx.Done():
	}
	return all
}

func (d *Directory) settleOne(o op) bool {
	if o.gone {
		_, err := d.unregister(context.Background(), o.session, o.seen)
		return err == nil
	}
	r, err := d.register(context.Background(), o.session)
	switch err {
	case nil:
		d.Stats.Reregistered.Add(1)
	case presence.ErrSuperseded:
		d.Stats.Superseded.Add(1)
	default:
		return false
	}
	if f := d.opt.Handler.Settled; f != nil {
		f(o.session, r, err)
	}
	return true
}
