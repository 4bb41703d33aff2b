package client

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// ending is why a session ended or could not begin, and what follows.
type ending struct {
	err  error
	stop bool          // coming back does not mend it
	wait time.Duration // what the server asks for at least
	url  string        // where to, "" is Options.URL
	now  bool          // come back without a wait: the session did nothing wrong
}

// errBehind ends a session whose entries were not taken as the app was slow: it
// has caught up, and the next session brings them again.
var errBehind = errors.New("client: the app was slow, and has caught up")

// refusedLogins is after how many refused tokens in a row the client ends.
const refusedLogins = 2

// run holds sessions, one after another, until the client ends.
func (c *Client) run() {
	var b backoff
	logins, base := 0, c.o.URL
	for attempt := 1; ; attempt++ {
		began := time.Now()
		welcomed, end := c.hold(base)
		if attempt == 1 && !welcomed {
			c.first <- end.err
		}
		if c.isOver() {
			c.finish(ErrClosed)
			return
		}
		if logins = countLogins(logins, welcomed, end.err); logins == refusedLogins {
			end.stop = true
		}
		if end.stop {
			c.log.Error("connection ended for good", "error", end.err)
			c.finish(end.err)
			return
		}
		if base == c.o.URL || welcomed {
			base = end.url
		} else {
			base = "" // a place we were sent to does not answer
		}
		if base == "" {
			base = c.o.URL
		}
		wait := b.next(c.o, welcomed, time.Since(began), end)
		c.disconnected(end.err, wait)
		if !c.sleep(wait) {
			c.finish(ErrClosed)
			return
		}
	}
}

// countLogins counts refused tokens in a row.
func countLogins(logins int, welcomed bool, err error) int {
	if welcomed {
		logins = 0
	}
	if chat.CodeOf(err).Action() == chat.ActionLogin {
		return logins + 1
	}
	return 0
}

func (c *Client) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing || c.end != nil || c.ctx.Err() != nil
}

func (c *Client) disconnected(err error, wait time.Duration) {
	c.log.Info("disconnected", "error", err, "retry_in", wait)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastErr = err
	c.in.tell(Disconnected{Err: err, RetryIn: wait})
}

// sleep waits, and reports false when the client ends meanwhile.
func (c *Client) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return !c.isOver()
	case <-c.ctx.Done():
		return false
	}
}

// backoff is exponential with full jitter: random between nothing and a ceiling
// that doubles with each failure. A session that outlived the ceiling starts it
// anew, so that one which breaks at once every time does not.
type backoff struct{ failures int }

func (b *backoff) next(o Options, welcomed bool, lived time.Duration, end ending) time.Duration {
	if end.now {
		return 0
	}
	if welcomed && lived > b.ceiling(o) {
		b.failures = 0
	}
	wait := rand.N(b.ceiling(o) + 1)
	b.failures++
	return max(wait, end.wait) // which the server has spread already
}

func (b *backoff) ceiling(o Options) time.Duration {
	if b.failures >= 30 || o.BackoffMin<<b.failures > o.BackoffMax || o.BackoffMin<<b.failures <= 0 {
		return o.BackoffMax
	}
	return o.BackoffMin << b.failures
}
