package cli

import (
	"io"
	"log/slog"
	"math"
	"runtime/debug"
	"testing"

	"github.com/rookery-chat/rookery/internal/config"
)

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	set := func(value string) int64 {
		debug.SetMemoryLimit(math.MaxInt64)
		c := config.Default()
		c.MemoryLimit = value
		if err := limitMemory(c, logger); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		return debug.SetMemoryLimit(-1)
	}
	if got := set("3GiB"); got != 3<<30 {
		t.Errorf("3GiB: %d", got)
	}
	if got := set("off"); got != math.MaxInt64 {
		t.Errorf("off: %d", got)
	}
	t.Setenv("GOMEMLIMIT", "1GiB") // too late for the runtime, which read it at its start
	if got := set("auto"); got != math.MaxInt64 {
		t.Errorf("auto overrides GOMEMLIMIT: %d", got)
	}
}

func TestAutoLimit(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct{ group, cache, want int64 }{
		{10 * gib, 1 * gib, 8 * gib},
		{10 * gib, 9 * gib, 5 * gib},
	} {
		if got := autoLimit(c.group, c.cache); got != c.want {
			t.Errorf("autoLimit(%d, %d) = %d, want %d", c.group, c.cache, got, c.want)
		}
	}
}
