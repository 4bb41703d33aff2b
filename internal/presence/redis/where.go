package redis

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// Where returns for each user the gateways that have sessions of it. What was
// read before and did not change is not asked again; that a user is nowhere is
// always asked.
func (d *Directory) Where(ctx context.Context, users []chat.User) ([][]presence.Gateway, error) {
	if len(users) == 0 {
		return nil, nil
	}
	users = slices.Clone(users) // a call that is late goes on reading it
	return call(ctx, d.guard, func(c rueidis.Client) ([][]presence.Gateway, error) {
		values, hits, err := d.cachedEntries(c, users)
		if err != nil {
			return nil, err
		}
		found, err := d.resolve(c, users, values)
		if err != nil {
			return nil, err
		}
		var again []int // nowhere, says the cache: somebody may come just now
		var ask []chat.User
		for i := range users {
			switch {
			case !hits[i]:
			case len(found[i]) == 0:
				again, ask = append(again, i), append(ask, users[i])
			default:
				d.Stats.CacheHits.Add(1)
			}
		}
		fresh, err := d.whereNow(c, ask)
		for i, at := range again {
			found[at] = fresh[i]
		}
		return found, err
	})
}

// whereNow is Where past the cache.
func (d *Directory) whereNow(c rueidis.Client, users []chat.User) ([][]presence.Gateway, error) {
	out := make([][]presence.Gateway, len(users))
	if len(users) == 0 {
		return out, nil
	}
	values, err := d.entries(c, users)
	if err != nil {
		return out, err
	}
	found, err := d.resolve(c, users, values)
	if err != nil {
		return out, err
	}
	return found, nil
}

// cachedEntries returns the entries of users, and of whom they were known here.
func (d *Directory) cachedEntries(c rueidis.Client, users []chat.User) (out [][]string, hits []bool, err error) {
	cmds := make([]rueidis.CacheableTTL, len(users))
	for i, u := range users {
		cmds[i] = rueidis.CT(c.B().Hvals().Key(d.keys.user(u)).Cache().ToStaticTTL(), d.opt.CacheFor)
	}
	out, hits = make([][]string, len(users)), make([]bool, len(users))
	for i, r := range c.DoMultiCache(context.Background(), cmds...) {
		if out[i], err = r.AsStrSlice(); err != nil {
			return nil, nil, err
		}
		if hits[i] = r.IsCacheHit(); !hits[i] {
			d.Stats.Misses.Add(1)
		}
	}
	return out, hits, nil
}

// entries reads the entries of users past the cache.
func (d *Directory) entries(c rueidis.Client, users []chat.User) ([][]string, error) {
	d.Stats.Misses.Add(uint64(len(users)))
	cmds := make(rueidis.Commands, len(users))
	for i, u := range users {
		cmds[i] = c.B().Hvals().Key(d.keys.user(u)).Build()
	}
	out := make([][]string, len(users))
	for i, r := range c.DoMulti(context.Background(), cmds...) {
		var err error
		if out[i], err = r.AsStrSlice(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// resolve turns entries into the gateways that count, each once.
func (d *Directory) resolve(c rueidis.Client, users []chat.User, values [][]string) ([][]presence.Gateway, error) {
	var entries []entry
	for _, list := range values {
		for _, v := range list {
			e, _ := parseEntry(v)
			entries = append(entries, e)
		}
	}
	leases, err := d.leases(c, entries)
	if err != nil {
		return nil, err
	}
	out, at := make([][]presence.Gateway, len(users)), 0
	for i, list := range values {
		for _, v := range list {
			e := entries[at]
			at++
			g, ok := leases[e.gateway]
			if !ok || g.Epoch != e.epoch {
				d.tidy(users[i], v)
			} else if !slices.Contains(out[i], g) {
				out[i] = append(out[i], g)
			}
		}
	}
	return out, nil
}

// leases returns who of the entries' gateways lives. A lease that is missing
// here, or is older than an entry that refers to it, is asked for again.
func (d *Directory) leases(c rueidis.Client, entries []entry) (map[string]presence.Gateway, error) {
	newest := map[string]uint64{} // epoch by gateway
	for _, e := range entries {
		if e.gateway != "" {
			newest[e.gateway] = max(newest[e.gateway], e.epoch)
		}
	}
	if len(newest) == 0 {
		return nil, nil
	}
	ids := make([]string, 0, len(newest))
	cmds := make([]rueidis.CacheableTTL, 0, len(newest))
	for id := range newest {
		ids = append(ids, id)
		cmds = append(cmds, rueidis.CT(c.B().Get().Key(d.keys.lease(id)).Cache(), d.opt.Lease))
	}
	out := make(map[string]presence.Gateway, len(ids))
	var again []string
	for i, r := range c.DoMultiCache(context.Background(), cmds...) {
		g, ok, err := lease1(ids[i], r)
		if err != nil {
			return nil, err
		}
		if r.IsCacheHit() && (!ok || g.Epoch < newest[ids[i]]) {
			again = append(again, ids[i])
		} else if ok {
			out[ids[i]] = g
		}
	}
	return out, d.freshLeases(c, again, out)
}

// freshLeases reads leases past the cache.
func (d *Directory) freshLeases(c rueidis.Client, ids []string, into map[string]presence.Gateway) error {
	if len(ids) == 0 {
		return nil
	}
	cmds := make(rueidis.Commands, len(ids))
	for i, id := range ids {
		cmds[i] = c.B().Get().Key(d.keys.lease(id)).Build()
	}
	for i, r := range c.DoMulti(context.Background(), cmds...) {
		g, ok, err := lease1(ids[i], r)
		if err != nil {
			return err
		}
		if ok {
			into[ids[i]] = g
		}
	}
	return nil
}

func lease1(id string, r rueidis.RedisResult) (g presence.Gateway, ok bool, err error) {
	v, err := r.ToString()
	if rueidis.IsRedisNil(err) {
		return g, false, nil
	}
	if err != nil {
		return g, false, err
	}
	g, err = parseLease(id, v)
	return g, err == nil, err
}

// Gateways returns all that hold a lease.
func (d *Directory) Gateways(ctx context.Context) ([]presence.Gateway, error) {
	return call(ctx, d.guard, func(c rueidis.Client) ([]presence.Gateway, error) {
		bg, set := context.Background(), d.keys.gateways()
		ids, err := c.Do(bg, c.B().Smembers().Key(set).Build()).AsStrSlice()
		if err != nil {
			return nil, err
		}
		live := map[string]presence.Gateway{}
		if err := d.freshLeases(c, ids, live); err != nil {
			return nil, err
		}
		var out []presence.Gateway
		var gone []string
		for _, id := range ids {
			if g, ok := live[id]; ok {
				out = append(out, g)
			} else {
				gone = append(gone, id)
			}
		}
		if len(gone) > 0 { // one that comes back names itself again
			_ = c.Do(bg, c.B().Srem().Key(set).Member(gone...).Build()).Error()
		}
		slices.SortFunc(out, func(a, b presence.Gateway) int { return strings.Compare(a.ID, b.ID) })
		return out, nil
	})
}

// chore is an entry to look at when there is time.
type chore struct {
	user  chat.User
	dead  string           // an entry of a gateway that is gone
	empty presence.Gateway // or a gateway that says that it has none
	at    time.Time
}

// Bounds of chores.
const (
	maxChores    = 1024 // more are left for the next who finds them
	maxSuspects  = 4096 // entries that a gateway has denied once
	suspectSince = time.Second
)

// tidy has a dead entry removed.
func (d *Directory) tidy(user chat.User, value string) {
	d.enqueue(chore{user: user, dead: value})
}

// Forget says that a gateway has no session of a user. What it says may be older
// than an entry, so an entry is removed when it is denied again a while later.
func (d *Directory) Forget(user chat.User, at presence.Gateway) {
	d.enqueue(chore{user: user, empty: at, at: time.Now()})
}

func (d *Directory) enqueue(c chore) {
	select {
	case d.chore <- c:
	default:
	}
}

// suspect is an entry that its gateway has denied.
type suspect struct {
	user  chat.User
	value string
}

// clean does the chores. What fails is left for the next who finds it.
func (d *Directory) clean() {
	denied := map[suspect]time.Time{}
	for {
		select {
		case <-d.ctx.Done():
			return
		case c := <-d.chore:
			dead := []string{c.dead}
			if c.dead == "" {
				if len(denied) >= maxSuspects {
					clear(denied)
				}
				dead = d.denied(denied, c)
			}
			if len(dead) > 0 {
				_, _ = call(d.ctx, d.guard, func(cl rueidis.Client) (int64, error) {
					return d.remove(cl, c.user, went(0), dead)
				})
			}
		}
	}
}

// denied returns the entries at a gateway that it denies and denied before, and
// remembers the others.
func (d *Directory) denied(before map[suspect]time.Time, c chore) (dead []string) {
	values, err := call(d.ctx, d.guard, func(cl rueidis.Client) ([][]string, error) {
		return d.entries(cl, []chat.User{c.user})
	})
	if err != nil {
		return nil
	}
	for _, v := range values[0] {
		e, err := parseEntry(v)
		if err != nil || e.gateway != c.empty.ID || e.epoch != c.empty.Epoch {
			continue
		}
		s := suspect{c.user, v}
		first, known := before[s]
		switch {
		case !known:
			before[s] = time.Now()
		case c.at.Sub(first) >= suspectSince:
			delete(before, s)
			dead = append(dead, v)
		}
	}
	return dead
}

// remove removes entries that are still as given, and returns how many others
// the user has.
func (d *Directory) remove(c rueidis.Client, user chat.User, message string, values []string) (left int64, err error) {
	args := append([]string{message}, values...)
	out, err := cleanScript.Exec(context.Background(), c, []string{d.keys.user(user), d.keys.channel(user)}, args).AsIntSlice()
	if err != nil || len(out) != 2 {
		return 0, err
	}
	d.Stats.Cleaned.Add(uint64(out[0]))
	return out[1], nil
}
