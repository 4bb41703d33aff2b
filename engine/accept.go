package engine

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// fileLimit returns how many descriptors this process may open.
func fileLimit() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil || r.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(r.Cur)
}

// connsWithin lowers the wanted number of connections to what a limit of
// descriptors allows: the rest of the process needs some too.
func connsWithin(want, allowed, files int, log *slog.Logger) int {
	if want == 0 {
		return allowed
	}
	if want > allowed {
		log.Warn("engine: fewer connections than configured, raise the limit of open files", "configured", want, "allowed", allowed, "open_files", files)
		return allowed
	}
	return want
}

// bucket is a token bucket of one second's depth, shared by the loops.
type bucket struct {
	perSecond float64 // set once; 0: no limit
	mu        sync.Mutex
	tokens    float64   // guarded by mu
	filled    time.Time // guarded by mu
}

func newBucket(perSecond int, now time.Time) *bucket {
	return &bucket{perSecond: float64(perSecond), tokens: float64(perSecond), filled: now}
}

func (b *bucket) take(now time.Time) bool {
	if b.perSecond == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.perSecond, b.tokens+now.Sub(b.filled).Seconds()*b.perSecond)
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
