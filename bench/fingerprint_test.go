package bench

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
)

func TestTheFingerprintSaysWhatItStandsOn(t *testing.T) {
	m := Fingerprint("v1")
	if m.CPUs == 0 || m.Kernel == "" || m.Go == "" || m.Memory == 0 || m.Binary == "" || m.Settings["GOMAXPROCS"] == "" {
		t.Errorf("left out: %+v", m)
	}
	if pages := m.Settings["transparent_hugepage"]; pages != "" && !slices.Contains([]string{"always", "madvise", "never"}, pages) {
		t.Errorf("huge pages are %q", pages)
	}
	m = Machine{}
	m.build(&debug.BuildInfo{
		Deps:     []*debug.Module{{Path: weighed[0], Version: "v1.2.3"}, {Path: "example.com/other", Version: "v1"}, {Path: weighed[1], Version: "v1", Replace: &debug.Module{Path: "fork", Version: "v2"}}},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
	})
	if m.Commit != "abc" || !m.Dirty || len(m.Modules) != 2 || m.Modules[weighed[0]] != "v1.2.3" || m.Modules[weighed[1]] != "fork v2" {
		t.Errorf("%+v", m)
	}
}

func TestControlGroupsOfBothVersions(t *testing.T) {
	for _, c := range []struct {
		name, membership string
		files            map[string]string
		memory           int64
		cpus             float64
	}{
		{"unified", "0::/a\n", map[string]string{"a/memory.max": "1073741824", "a/cpu.max": "150000 100000"}, 1 << 30, 1.5},
		{"none", "0::/a\n", map[string]string{"a/memory.max": "max", "a/cpu.max": "max 100000"}, 0, 0},
		{"first version", "4:memory:/b\n1:cpu,cpuacct:/b\n", map[string]string{
			"memory/b/memory.limit_in_bytes": "2147483648", "cpu/b/cpu.cfs_quota_us": "50000", "cpu/b/cpu.cfs_period_us": "100000",
		}, 2 << 30, 0.5},
		{"more than there is", "4:memory:/b\n", map[string]string{"memory/b/memory.limit_in_bytes": "9223372036854771712"}, 0, 0},
	} {
		root := t.TempDir()
		for name, text := range c.files {
			os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755)
			if err := os.WriteFile(filepath.Join(root, name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if memory, cpus := cgroupLimits(root, c.membership, 24<<30); memory != c.memory || cpus != c.cpus {
			t.Errorf("%s: %d bytes, %v processors", c.name, memory, cpus)
		}
	}
}
