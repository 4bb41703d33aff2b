// Package redis is the directory of presence on Redis 7 or later, alone or as a
// cluster. A gateway takes one lease and writes an entry a session; readers keep
// what they have read until the server says that it changed. It is built so that
// a server that dies or stalls slows none of its callers: see guard.
package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// Stats counts what the directory did.
type Stats struct {
	Calls     atomic.Uint64 // to the server, each with all that goes in one
	Errors    atomic.Uint64 // of them, timeouts with them
	Timeouts  atomic.Uint64
	Rejected  atomic.Uint64 // calls not made: the breaker was open, or too many were under way
	Opened    atomic.Uint64 // how often the breaker opened
	CacheHits atomic.Uint64 // users whose location was known here
	Misses    atomic.Uint64 // questions where a user is

	LeasesTaken  atomic.Uint64
	LeasesLost   atomic.Uint64
	Reregistered atomic.Uint64 // sessions registered in the background
	Superseded   atomic.Uint64 // and that found a newer one
	Overflows    atomic.Uint64 // failed calls for which there was no place
	Cleaned      atomic.Uint64 // stale entries removed

	Events atomic.Uint64 // heard of watched users
	Gaps   atomic.Uint64 // when some may have been missed
	Reads  atomic.Uint64 // of watched users, to repair gaps
}

var _ presence.Directory = (*Directory)(nil)

// Directory is safe for concurrent use.
type Directory struct {
	Stats Stats

	opt   Options
	keys  keys
	guard *guard
	lease lease
	todo  pending
	chore chan chore
	watch watches

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// Open returns a directory that connects in the background, and goes on trying.
// Its Health says how that stands.
func Open(opt Options) (*Directory, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	if _, err := opt.client(); err != nil {
		return nil, err
	}
	d := &Directory{opt: opt, keys: keys{opt.Prefix}, chore: make(chan chore, maxChores)}
	d.guard = newGuard(opt.Timeout, &d.Stats)
	d.lease.wake = make(chan struct{}, 1)
	d.todo.init(opt.Pending)
	d.watch.init()
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.running.Go(d.probe)
	d.running.Go(d.clean)
	d.running.Go(d.repair)
	if opt.Gateway != "" {
		d.running.Go(d.keepLease)
		d.running.Go(d.settle)
	}
	return d, nil
}

// Close gives the lease back, if the server answers, and ends all that Open
// began.
func (d *Directory) Close() {
	d.closing.Do(func() {
		d.cancel()
		d.releaseLease()
		if c := d.guard.client.Load(); c != nil {
			(*c).Close()
		}
		d.running.Wait()
		if c := d.guard.client.Load(); c != nil { // connected meanwhile
			(*c).Close()
		}
		d.guard.drain()
	})
}

// Health is nil when the server answers and the lease, if there is one to be
// held, is held.
func (d *Directory) Health() error {
	if err := d.guard.health(); err != nil {
		return fmt.Errorf("presence on Redis at %s: %w", d.opt.where(), err)
	}
	if d.opt.Gateway == "" {
		return nil
	}
	if _, held := d.Self(); !held {
		return fmt.Errorf("presence on Redis at %s: %w", d.opt.where(), unavailable(d.lease.fault()))
	}
	return nil
}

// BreakerOpen says that the server is thought dead: calls fail at once.
func (d *Directory) BreakerOpen() bool { return d.guard.open.Load() }

// Bounds of probing.
const (
	probeFirst = 50 * time.Millisecond
	probeMost  = 2 * time.Second
)

// probe connects, and while the breaker is open asks the server whether it is
// back.
func (d *Directory) probe() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-d.guard.opened:
		}
		wait, said := probeFirst, false
		for err := d.tryServer(); err != nil; err = d.tryServer() {
			d.guard.why.Store(&err)
			if !said {
				d.opt.Logger.Warn("presence is not shared with other processes until Redis answers", "redis", d.opt.where(), "err", err)
				said = true
			}
			if !d.sleep(wait + rand.N(wait/2)) {
				return
			}
			wait = min(2*wait, probeMost)
		}
		if said {
			d.opt.Logger.Info("Redis answers", "redis", d.opt.where())
		}
		d.doubtLease()
		d.guard.mend()
		signal(d.lease.wake)
		signal(d.todo.wake)
		signal(d.watch.wake)
	}
}

// tryServer connects if there has been no connection yet, and else asks.
func (d *Directory) tryServer() error {
	if c := d.guard.client.Load(); c != nil {
		return (*c).Do(d.ctx, (*c).B().Ping().Build()).Error()
	}
	opt, err := d.opt.client()
	if err != nil {
		return err
	}
	c, err := rueidis.NewClient(opt)
	if err != nil {
		return err
	}
	d.guard.client.Store(&c)
	d.startLanes(c)
	return nil
}

// where is the server's address for people.
func (o *Options) where() string {
	c, err := rueidis.ParseURL(o.URL)
	if err != nil || len(c.InitAddress) == 0 {
		return o.URL
	}
	return c.InitAddress[0]
}

// sleep waits, and says whether the directory is still open then.
func (d *Directory) sleep(t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-d.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

var errNoGateway = errors.New("this process is no gateway")

// went is what a user's channel says of one who went.
func went(seen int64) string { return fmt.Sprintf("0 %d", seen) }

// run executes a script on a user's keys.
func (d *Directory) run(c rueidis.Client, script *rueidis.Lua, user chat.User, args ...string) ([]string, error) {
	return script.Exec(context.Background(), c, []string{d.keys.user(user), d.keys.channel(user)}, args).AsStrSlice()
}
