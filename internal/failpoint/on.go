//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled reports whether failpoints are compiled in.
const Enabled = true

// point is one armed place.
type point struct {
	left atomic.Int64 // hits until it acts
}

var (
	armed = mustParse(os.Getenv("ROOKERY_FAILPOINTS"))
	die   = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
)

// Hit passes a named place, and dies there if it is its turn.
func Hit(name string) {
	if p := armed[name]; p != nil && p.left.Add(-1) == 0 {
		die()
	}
}

func mustParse(spec string) map[string]*point {
	points, err := parse(spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return points
}

func parse(spec string) (map[string]*point, error) {
	points := map[string]*point{}
	if spec == "" {
		return points, nil
	}
	for _, part := range strings.Split(spec, ",") {
		name, action, _ := strings.Cut(part, "=")
		hits, ok := strings.CutPrefix(action, "kill@")
		n, err := strconv.ParseInt(hits, 10, 64)
		if name == "" || !ok || err != nil || n < 1 {
			return nil, fmt.Errorf("ROOKERY_FAILPOINTS: %q is not of the form name=kill@N", part)
		}
		points[name] = &point{}
		points[name].left.Store(n)
	}
	return points, nil
}
