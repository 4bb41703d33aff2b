package e2ee

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A share with parts for nobody is a notice: devices of its sender's user were
// taken away. Who gets it asks the directory before it next encrypts for that user,
// and thus makes a new session. It proves nothing and need not: all it can do is to
// have somebody look.

// noticeFor is how long the server keeps a notice. What a device knows that was
// away for longer is older than Options.Refresh.
const noticeFor = 24 * time.Hour

// noticesMost bounds how many users are told. Of more, the others look after their
// Options.Refresh.
const noticesMost = 10_000

// DevicesChanged tells the user's other devices and everybody whose keys this one
// has that devices of this user were taken away, and returns when the server has all
// of that durably. RemoveDevice does it; it is for who revoked a device otherwise.
func (c *Machine) DevicesChanged(ctx context.Context) error {
	if err := c.look(ctx, 0, c.user); err != nil {
		return err
	}
	users, err := c.acquainted()
	if err != nil {
		return err
	}
	var notices []shareTo
	for _, user := range append([]string{c.user}, users...) {
		notices = append(notices, shareTo{user, share{device: c.device}})
	}
	durable, err := c.sendShares(ctx, notices, noticeFor)
	for i := 0; i < len(durable) && err == nil; i++ {
		err = durable[i](ctx)
	}
	if err != nil {
		return fmt.Errorf("e2ee: the device is gone, but not everybody was told: they look within their Refresh, or do it again: %w", err)
	}
	return nil
}

// acquainted are the other users whose keys this device has, those first whom it
// looked at last: who may have a session that devices of this user read has shared it
// with this one, which looked them up for that.
func (c *Machine) acquainted() ([]string, error) {
	type known struct {
		user    string
		fetched int64
	}
	var all []known
	for _, key := range c.vault.keys("peer/") {
		var p peer
		if err := json.Unmarshal(c.vault.get(key), &p); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		if user := strings.TrimPrefix(key, "peer/"); user != c.user && p.Identity != nil {
			all = append(all, known{user, p.Fetched})
		}
	}
	slices.SortStableFunc(all, func(a, b known) int { return cmp.Compare(b.fetched, a.fetched) })
	var users []string
	for _, k := range all[:min(len(all), noticesMost)] {
		users = append(users, k.user)
	}
	return users, nil
}

// noticed has this device look at a user's keys before it next needs them.
func (c *Machine) noticed(user string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notices++
	return c.doubt(user)
}

// doubt takes what is known of a user's keys for old. c.mu is held.
func (c *Machine) doubt(user string) error {
	p, err := c.peer(user)
	if err == nil && p.Fetched != 0 {
		p.Fetched = 0
		c.keepPeer(user, p)
	}
	return err
}
