package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/rookery-chat/rookery/internal/config"
)

// baseBytes is what a server takes with few connections, beside the store's
// cache and memtables.
const baseBytes = 256 << 20

// checkMemory holds the memory there is against what the configuration wants.
func (m *machine) checkMemory(c *config.Config) Finding {
	total, err := m.totalBytes()
	if err != nil {
		return Finding{"memory", Warn, "cannot be read: " + err.Error(), "look with free"}
	}
	limit, err := memlimit.FromCgroup()
	if err != nil && !errors.Is(err, memlimit.ErrNoLimit) {
		limit = 0
	}
	return judgeMemory(c, total, int64(min(limit, 1<<62)))
}

func judgeMemory(c *config.Config, total, limit int64) Finding {
	f := Finding{Name: "memory", Status: OK, Found: fmt.Sprintf("%.1f GiB, no control group's limit", float64(total)/gib)}
	usable := total
	if limit > 0 && limit < total {
		usable = limit
		f.Found = fmt.Sprintf("%.1f GiB, of which the control group allows %.1f", float64(total)/gib, float64(limit)/gib)
	}
	wanted := c.Store.CacheBytes + 2*c.Store.MemtableBytes + int64(c.Pipeline.Partitions)*c.Pipeline.PartitionBytes/2 + baseBytes
	if usable < wanted {
		f.Status = Warn
		f.Do = fmt.Sprintf("this configuration may take %.1f GiB before the first connection: give it more, or lower store.cache_bytes, store.memtable_bytes and pipeline.partition_bytes", float64(wanted)/gib)
	}
	return f
}

// totalBytes reads the machine's memory.
func (m *machine) totalBytes() (int64, error) {
	text, err := m.read("proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, errors.New("/proc/meminfo has no MemTotal")
}
