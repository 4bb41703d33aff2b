package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Machine is the fingerprint of a result: where it was measured, and what. What
// cannot be read is empty.
type Machine struct {
	CPUs        int               `json:"cpus"` // that this process may use
	Model       string            `json:"model"`
	Kernel      string            `json:"kernel"`
	Arch        string            `json:"arch,omitempty"`
	Go          string            `json:"go"`
	Version     string            `json:"version"`          // of the program; "+dirty" when its tree was
	Commit      string            `json:"commit,omitempty"` // whole
	Dirty       bool              `json:"dirty,omitempty"`  // the tree had changes that the commit does not have
	Binary      string            `json:"binary,omitempty"` // the first bytes of its SHA-256: what tells two dirty trees apart
	Modules     map[string]string `json:"modules,omitempty"`
	Memory      int64             `json:"memory_bytes"`
	MemoryLimit int64             `json:"cgroup_memory_bytes,omitempty"` // of the control group; 0 is none
	CPULimit    float64           `json:"cgroup_cpus,omitempty"`         // the same
	Governor    string            `json:"governor,omitempty"`            // of the first processor's frequency
	OpenFiles   uint64            `json:"open_files,omitempty"`          // descriptors a process may have
	Settings    map[string]string `json:"settings,omitempty"`            // GOMAXPROCS, GOGC …, and the kernel's that matter
}

// weighed are the modules whose version may change a figure.
var weighed = []string{
	"github.com/panjf2000/gnet/v2", "github.com/cockroachdb/pebble/v2", "github.com/gobwas/ws", "github.com/klauspost/compress",
	"github.com/gocql/gocql", "github.com/twmb/franz-go", "github.com/redis/rueidis", "google.golang.org/grpc", "golang.org/x/sys",
}

// kernelSettings are files of /proc/sys whose value may change a figure.
var kernelSettings = []string{
	"net/core/somaxconn", "net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem", "net/ipv4/tcp_mem", "net/ipv4/ip_local_port_range", "fs/nr_open",
	"vm/overcommit_memory",
}

// Fingerprint reads it.
func Fingerprint(version string) Machine {
	m := Machine{CPUs: runtime.NumCPU(), Arch: runtime.GOARCH, Go: runtime.Version(), Version: version, Settings: map[string]string{}}
	for line := range strings.Lines(content("/proc/cpuinfo")) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.Model = strings.TrimSpace(v)
			break
		}
	}
	m.Kernel = content("/proc/sys/kernel/osrelease")
	fmt.Sscanf(content("/proc/meminfo"), "MemTotal: %d kB", &m.Memory)
	m.Memory <<= 10
	m.Governor = content("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	m.MemoryLimit, m.CPULimit = cgroupLimits("/sys/fs/cgroup", content("/proc/self/cgroup"), m.Memory)
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		m.OpenFiles = files.Cur
	}
	m.Settings["GOMAXPROCS"] = strconv.Itoa(runtime.GOMAXPROCS(0))
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GODEBUG", "GOAMD64"} {
		if v := os.Getenv(name); v != "" {
			m.Settings[name] = v
		}
	}
	for _, name := range kernelSettings {
		if v := content("/proc/sys/" + name); v != "" {
			m.Settings[name] = strings.Join(strings.Fields(v), " ")
		}
	}
	if _, v, ok := strings.Cut(content("/sys/kernel/mm/transparent_hugepage/enabled"), "["); ok { // always [madvise] never
		m.Settings["transparent_hugepage"], _, _ = strings.Cut(v, "]")
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		m.build(info)
	}
	m.Binary = binarySum()
	return m
}

// build takes what the build recorded.
func (m *Machine) build(info *debug.BuildInfo) {
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			m.Commit = s.Value
		case "vcs.modified":
			m.Dirty = s.Value == "true"
		}
	}
	m.Modules = map[string]string{}
	for _, d := range info.Deps {
		for _, w := range weighed {
			if d.Path != w {
				continue
			}
			if m.Modules[w] = d.Version; d.Replace != nil {
				m.Modules[w] = d.Replace.Path + " " + d.Replace.Version
			}
		}
	}
}

// cgroupLimits reads the limits of the control group that membership, the text
// of /proc/self/cgroup, names, in either version. 0 is no limit.
func cgroupLimits(root, membership string, memory int64) (memoryLimit int64, cpus float64) {
	for line := range strings.Lines(membership) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		unified := parts[1] == ""
		for _, controller := range strings.Split(parts[1], ",") {
			dir := filepath.Join(root, controller, parts[2])
			switch {
			case unified:
				memoryLimit = smaller(memoryLimit, content(filepath.Join(dir, "memory.max")), memory)
				var quota, period float64
				if n, _ := fmt.Sscan(content(filepath.Join(dir, "cpu.max")), &quota, &period); n == 2 && period > 0 {
					cpus = quota / period
				}
			case controller == "memory":
				memoryLimit = smaller(memoryLimit, content(filepath.Join(dir, "memory.limit_in_bytes")), memory)
			case controller == "cpu":
				quota, _ := strconv.ParseFloat(content(filepath.Join(dir, "cpu.cfs_quota_us")), 64)
				if period, _ := strconv.ParseFloat(content(filepath.Join(dir, "cpu.cfs_period_us")), 64); quota > 0 && period > 0 {
					cpus = quota / period
				}
			}
		}
	}
	return memoryLimit, cpus
}

// smaller returns the smaller of a limit and the one that text says, where 0,
// what is no number and what the machine does not have are none.
func smaller(limit int64, text string, memory int64) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n >= memory || limit > 0 && limit < n {
		return limit
	}
	return n
}

// binarySum tells one build of the program from another.
var binarySum = sync.OnceValue(func() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return programSum(self)
})

// programSum is the first bytes of a file's SHA-256; "" when it cannot be read.
func programSum(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// content is a small file's text without white space around it; "" when it
// cannot be read.
func content(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}
