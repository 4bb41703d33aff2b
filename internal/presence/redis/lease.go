package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/internal/presence"
)

// lease is the one thing that says that this gateway lives. Who loses it starts
// a new epoch: none of the old one's entries counts any more.
type lease struct {
	wake chan struct{}

	mu     sync.Mutex
	self   presence.Gateway // Epoch 0 before the first
	held   bool
	until  time.Time // by this process's clock
	unsure bool      // the server was away: it may have forgotten
	renew  bool      // it is to be given up for a new epoch
	broken error     // why it is not held
}

// Self is this process as a gateway, and whether it holds its lease now.
func (d *Directory) Self() (presence.Gateway, bool) {
	l := &d.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.self, l.held && !l.unsure && time.Now().Before(l.until)
}

func (l *lease) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	return errors.New("the gateway's lease is not held")
}

func (l *lease) value() string {
	return strconv.FormatUint(l.self.Epoch, 10) + " " + l.self.Address
}

// keepLease takes the lease and renews it until the directory is closed.
func (d *Directory) keepLease() {
	var told uint64 // the epoch in which follow knows of this gateway
	for {
		wait := d.opt.Lease / 3
		if err := d.holdLease(); err != nil {
			wait = d.opt.Lease / 20
			d.lease.mu.Lock()
			d.lease.broken = err
			d.lease.mu.Unlock()
		} else if self, _ := d.Self(); told != self.Epoch && d.tellFollow(self) == nil {
			told = self.Epoch
		}
		timer := time.NewTimer(wait)
		select {
		case <-d.ctx.Done():
			timer.Stop()
			return
		case <-d.lease.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// holdLease renews the lease, or takes it when it is lost.
func (d *Directory) holdLease() error {
	l := &d.lease
	l.mu.Lock()
	held, first, giveUp, value := l.held, l.self.Epoch == 0, l.renew, l.value()
	l.mu.Unlock()
	if held && giveUp {
		if err := d.loseLease(value); err != nil {
			return err
		}
		held = false
	}
	if held {
		start := time.Now()
		ok, err := d.leaseCall(renewScript, value, d.leaseMillis())
		if err != nil {
			return err
		}
		if ok != "0" {
			l.mu.Lock()
			l.until, l.unsure, l.broken = start.Add(d.opt.Lease), false, nil
			l.mu.Unlock()
			return nil
		}
		if err := d.loseLease(""); err != nil {
			return err
		}
	}
	return d.takeLease(first)
}

// loseLease notes that the lease is lost. With a value it gives it up.
func (d *Directory) loseLease(value string) error {
	if value != "" {
		if _, err := d.leaseCall(releaseScript, value); err != nil {
			return err
		}
	}
	d.lease.mu.Lock()
	d.lease.held, d.lease.renew = false, false
	d.lease.mu.Unlock()
	d.Stats.LeasesLost.Add(1)
	d.opt.Logger.Warn("the gateway's lease was lost: its sessions are registered again", "gateway", d.opt.Gateway)
	return nil
}

// takeLease begins an epoch. In a process's first one it takes the lease from
// whoever has it, as that is an earlier life; later it waits until the lease is
// free, so that two processes of one name do not take it from each other.
func (d *Directory) takeLease(force bool) error {
	l := &d.lease
	l.mu.Lock()
	known := l.self.Epoch
	l.mu.Unlock()
	by := "0"
	if force {
		by = "1"
	}
	start := time.Now()
	epoch, err := d.leaseCall(takeScript, d.opt.Address, d.leaseMillis(), strconv.FormatUint(known, 10), by)
	if err != nil {
		return err
	}
	if epoch == "" {
		return errors.New("another process holds the lease of gateway " + d.opt.Gateway + ": each needs a name of its own")
	}
	n, err := strconv.ParseUint(epoch, 10, 64)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.self = presence.Gateway{ID: d.opt.Gateway, Epoch: n, Address: d.opt.Address}
	l.held, l.unsure, l.until, l.broken = true, false, start.Add(d.opt.Lease), nil
	l.mu.Unlock()
	d.Stats.LeasesTaken.Add(1)
	d.todo.walkAgain()
	return nil
}

// leaseCall runs a script on the lease, and names the gateway in the set.
func (d *Directory) leaseCall(script *rueidis.Lua, args ...string) (string, error) {
	return call(context.Background(), d.guard, func(c rueidis.Client) (string, error) {
		bg := context.Background()
		if err := c.Do(bg, c.B().Sadd().Key(d.keys.gateways()).Member(d.opt.Gateway).Build()).Error(); err != nil {
			return "", err
		}
		return script.Exec(bg, c, []string{d.keys.lease(d.opt.Gateway)}, args).ToString()
	})
}

// doubtLease counts the lease as not held until the server confirms it.
func (d *Directory) doubtLease() {
	d.lease.mu.Lock()
	d.lease.unsure = true
	d.lease.mu.Unlock()
}

// giveUpLease asks for a new epoch.
func (d *Directory) giveUpLease() {
	d.lease.mu.Lock()
	d.lease.renew = true
	d.lease.mu.Unlock()
	signal(d.lease.wake)
}

// releaseLease ends the gateway for others at once, if the server answers.
func (d *Directory) releaseLease() {
	d.lease.mu.Lock()
	held, value := d.lease.held, d.lease.value()
	d.lease.held = false
	d.lease.mu.Unlock()
	if held {
		_, _ = d.leaseCall(releaseScript, value) // else it expires
	}
}

func (d *Directory) leaseMillis() string { return strconv.FormatInt(d.opt.Lease.Milliseconds(), 10) }

// tellFollow says that this gateway goes on in the next epoch of the log.
func (d *Directory) tellFollow(self presence.Gateway) error {
	_, err := call(d.ctx, d.guard, func(c rueidis.Client) (int64, error) {
		return c.Do(context.Background(), c.B().Hset().Key(d.keys.follow()).FieldValue().FieldValue(self.ID, number(self.Epoch)).Build()).AsInt64()
	})
	return err
}

// Deaf returns the gateways that hold a lease and have not said that they go on
// in the next epoch of the log: they are of a version that cannot.
func (d *Directory) Deaf(ctx context.Context) ([]presence.Gateway, error) {
	all, err := d.Gateways(ctx)
	if err != nil {
		return nil, err
	}
	said, err := call(ctx, d.guard, func(c rueidis.Client) (map[string]string, error) {
		return c.Do(context.Background(), c.B().Hgetall().Key(d.keys.follow()).Build()).AsStrMap()
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(g presence.Gateway) bool { return said[g.ID] == number(g.Epoch) }), nil
}
