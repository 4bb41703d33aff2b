package engine

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
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
// descriptors allows. It must: gnet ends a loop whose accept fails for want of
// a descriptor, and the engine with it.
func connsWithin(want, files int, log *slog.Logger) int {
	allowed := ConnsOf(files)
	if want == 0 {
		return allowed
	}
	if want > allowed {
		log.Warn("engine: fewer connections than configured, raise the limit of open files", "configured", want, "allowed", allowed, "open_files", files)
		return allowed
	}
	return want
}

// listenAddress checks that an address can be listened on, finds its port if
// that is 0, and writes it as gnet wants it. gnet cannot be given port 0, as
// each loop opens a listener of its own; and its listeners share their port
// with anybody's, so that only trying first shows that the port is taken.
func listenAddress(listen string) (gnetAddr string, addr net.Addr, err error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", nil, err
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return "", nil, err
	}
	bound := ln.Addr().(*net.TCPAddr)
	return gnetAddress(host, strconv.Itoa(bound.Port), bound), bound, ln.Close()
}

func gnetAddress(host, port string, bound *net.TCPAddr) string {
	switch {
	case bound.IP.To4() != nil:
		return fmt.Sprintf("tcp4://%s", net.JoinHostPort(host, port))
	case bound.IP == nil || bound.IP.IsUnspecified():
		return "tcp://:" + port // gnet takes [::] for IPv6 alone, and no host for both
	}
	return fmt.Sprintf("tcp6://%s", net.JoinHostPort(host, port))
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
