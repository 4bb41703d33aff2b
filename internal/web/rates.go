package web

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/chat"
)

// maxRated bounds the users whose rate is kept; beyond, those who have asked
// nothing for a minute are forgotten, and the others wait.
const maxRated = 65_536

// rates bounds what a user may ask a minute.
type rates struct {
	perMinute int

	mu    sync.Mutex
	users map[chat.User]*rate.Limiter
}

func newRates(perMinute int) *rates {
	return &rates{perMinute: perMinute, users: map[chat.User]*rate.Limiter{}}
}

// spend takes one request of a user's, or says when there is one again.
func (r *rates) spend(u chat.User) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, known := r.users[u]
	if !known {
		if len(r.users) >= maxRated {
			r.forget()
		}
		l = rate.NewLimiter(rate.Limit(float64(r.perMinute)/60), r.perMinute)
		if len(r.users) < maxRated {
			r.users[u] = l
		}
	}
	place := l.Reserve()
	if wait := place.Delay(); wait > 0 {
		place.Cancel()
		e := chat.Errorf(chat.CodeRateLimited, "at most %d requests a minute", r.perMinute)
		e.RetryAfter = max(wait, time.Millisecond)
		return e
	}
	return nil
}

// forget removes those who have their full burst again.
func (r *rates) forget() {
	for u, l := range r.users {
		if l.Tokens() >= float64(r.perMinute) {
			delete(r.users, u)
		}
	}
}
