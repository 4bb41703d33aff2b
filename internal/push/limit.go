package push

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/chat"
)

type deviceKey struct {
	user   chat.User
	device chat.Device
}

// limiters hold the rate of each device, in two generations: when the newer one
// has half of the table, the older is forgotten. A device that is forgotten has
// its whole burst again, which it mostly would have had anyway.
type limiters struct {
	every rate.Limit
	burst int
	half  int

	mu         sync.Mutex
	newer, old map[deviceKey]*rate.Limiter
}

func newLimiters(every time.Duration, burst, devices int) *limiters {
	return &limiters{every: rate.Every(every), burst: burst, half: max(1, devices/2), newer: map[deviceKey]*rate.Limiter{}}
}

// reserve takes a place in a device's rate and returns how long it is till then;
// ok is false, and nothing taken, when that is longer than most.
func (l *limiters) reserve(k deviceKey, now time.Time, most time.Duration) (wait time.Duration, ok bool) {
	r := l.of(k).ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > most {
		r.CancelAt(now)
		return 0, false
	}
	return wait, true
}

func (l *limiters) of(k deviceKey) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.newer[k]
	if ok {
		return limiter
	}
	if len(l.newer) >= l.half {
		l.old, l.newer = l.newer, map[deviceKey]*rate.Limiter{}
	}
	if limiter, ok = l.old[k]; ok {
		delete(l.old, k)
	} else {
		limiter = rate.NewLimiter(l.every, l.burst)
	}
	l.newer[k] = limiter
	return limiter
}
