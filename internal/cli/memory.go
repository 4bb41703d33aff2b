package cli

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/rookery-chat/rookery/internal/config"
)

// limitMemory sets the soft limit of the Go heap as memory_limit says. On auto
// GOMEMLIMIT wins; else it is nine tenths of the control group's limit without
// the store's cache, which is not on the Go heap; without a control group's
// limit none is set.
func limitMemory(c *config.Config, logger *slog.Logger) error {
	switch c.MemoryLimit {
	case "off":
		return nil
	case "auto":
		if os.Getenv("GOMEMLIMIT") != "" {
			return nil // the runtime has taken it
		}
		group, err := memlimit.FromCgroup()
		if err != nil {
			if !errors.Is(err, memlimit.ErrNoLimit) {
				logger.Debug("no control group's memory limit", "err", err)
			}
			return nil
		}
		setMemoryLimit(autoLimit(int64(min(group, 1<<62)), c.Store.CacheBytes), logger)
		return nil
	}
	n, err := config.ParseSize(c.MemoryLimit)
	if err != nil {
		return err
	}
	setMemoryLimit(n, logger)
	return nil
}

func setMemoryLimit(n int64, logger *slog.Logger) {
	debug.SetMemoryLimit(n)
	logger.Info("memory limit", "bytes", n)
}

// autoLimit is what a control group's limit leaves for the Go heap: never less
// than half of it.
func autoLimit(groupBytes, cacheBytes int64) int64 {
	return max(groupBytes/10*9-cacheBytes, groupBytes/2)
}
