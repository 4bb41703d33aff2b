package doctor

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
)

// expect holds a finding to a status and to words in what was found or is to
// be done. Whatever is not well says what to do.
func expect(t *testing.T, what string, f Finding, status Status, words ...string) {
	t.Helper()
	if f.Status != status {
		t.Errorf("%s: %s, want %s: %+v", what, f.Status, status, f)
	}
	for _, w := range words {
		if !strings.Contains(f.Found+" "+f.Do, w) {
			t.Errorf("%s: no %q in %+v", what, w, f)
		}
	}
	if (f.Status == OK) != (f.Do == "") {
		t.Errorf("%s: %s, and to do: %q", what, f.Status, f.Do)
	}
}

// fake is a machine whose /proc and /sys hold the given files.
func fake(t *testing.T, files map[string]string) *machine {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &machine{root: root, pageBytes: 4096}
}

func TestDescriptors(t *testing.T) {
	for _, c := range []struct {
		soft, hard     uint64
		maxConnections int
		status         Status
		words          []string
	}{
		{1 << 20, 1 << 20, 0, OK, []string{"limit 1048576"}},
		{1024, 1 << 20, 0, OK, nil}, // raised at the start
		{20_000, 20_000, 0, Warn, []string{"enough for 18976", "LimitNOFILE"}},
		{1000, 1000, 0, Fail, []string{"ulimit -n"}},
		{20_000, 20_000, 15_000, OK, nil},
		{20_000, 20_000, 18_977, Fail, []string{"wants 20001"}}, // as the engine lowers it
		{20_000, 20_000, 20_000, Fail, []string{"wants 21024"}},
	} {
		m := &machine{descriptors: func() (uint64, uint64, error) { return c.soft, c.hard, nil }}
		cfg := config.Default()
		cfg.Engine.MaxConnections = c.maxConnections
		expect(t, "descriptors", m.checkDescriptors(cfg), c.status, c.words...)
	}
	m := &machine{descriptors: func() (uint64, uint64, error) { return 20_000, 20_000, nil }}
	cfg := config.Default()
	cfg.Engine.OwnDescriptors, cfg.Engine.Loops, cfg.Engine.MaxConnections = true, 56, 1_000_000
	expect(t, "a million in 56 loops", m.checkDescriptors(cfg), OK)
	cfg.Engine.Loops = 50
	expect(t, "a million in 50 loops", m.checkDescriptors(cfg), Fail, "wants 1000000", "engine.loops above 50")
	m = &machine{descriptors: func() (uint64, uint64, error) { return 0, 0, errors.New("forbidden") }}
	expect(t, "unreadable", m.checkDescriptors(config.Default()), Warn, "forbidden")
}

func TestPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "taken", checkPort("port", l.Addr().String(), false), Fail, "ss -ltnp")
	expect(t, "taken by the server", checkPort("port", l.Addr().String(), true), OK, "the server runs")
	l.Close()
	expect(t, "free", checkPort("port", l.Addr().String(), false), OK, "is free")
	expect(t, "not ours", checkPort("port", "192.0.2.1:80", true), Fail, "ip addr")
}

func TestKernel(t *testing.T) {
	good := map[string]string{
		"proc/sys/net/core/somaxconn":           "65535\n",
		"proc/sys/net/ipv4/tcp_max_syn_backlog": "65535\n",
		"proc/sys/net/ipv4/ip_local_port_range": "1024\t65535\n",
		"proc/sys/net/ipv4/tcp_mem":             "100\t200\t4000000\n",
		"proc/sys/fs/nr_open":                   "1048576\n",
	}
	findings := fake(t, good).checkKernel(config.Default())
	if len(findings) != len(good) {
		t.Errorf("%d findings, want %d without nf_conntrack", len(findings), len(good))
	}
	for _, f := range findings {
		expect(t, f.Name, f, OK)
	}
	bad := map[string]string{
		"proc/sys/net/core/somaxconn":             "128",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":   "128",
		"proc/sys/net/ipv4/ip_local_port_range":   "50000 60000",
		"proc/sys/net/ipv4/tcp_mem":               "100 200 300",
		"proc/sys/fs/nr_open":                     "1024",
		"proc/sys/net/netfilter/nf_conntrack_max": "1000",
	}
	findings = fake(t, bad).checkKernel(config.Default())
	if len(findings) != len(bad) {
		t.Errorf("%d findings, want %d", len(findings), len(bad))
	}
	for _, f := range findings {
		expect(t, f.Name, f, Warn)
	}
	for _, text := range []string{"", "many"} {
		f := fake(t, map[string]string{"proc/sys/net/core/somaxconn": text}).checkKernel(config.Default())[0]
		expect(t, "not a number", f, Warn, "cannot be read")
	}
	million := config.Default()
	million.Engine.MaxConnections = 1_000_000
	for _, f := range fake(t, good).checkKernel(million) {
		if f.Name == "net.ipv4.tcp_mem" {
			expect(t, "tcp_mem for a million", f, OK)
		}
	}
	good["proc/sys/net/ipv4/tcp_mem"] = "100 200 1000000" // 4 GiB, and a million sockets take 5
	for _, f := range fake(t, good).checkKernel(million) {
		if f.Name == "net.ipv4.tcp_mem" {
			expect(t, "tcp_mem for a million", f, Warn)
		}
	}
}

func TestDataFolder(t *testing.T) {
	dir := t.TempDir()
	for _, f := range checkData(dir) {
		if f.Status == Fail {
			t.Errorf("a good folder: %+v", f)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	deep := filepath.Join(dir, "a", "b")
	expect(t, "to be made", checkData(deep)[0], OK, "can be made")
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("the folder was made")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	findings := checkData(filepath.Join(file, "data"))
	expect(t, "below a file", findings[0], Fail)
	for _, f := range findings {
		if f.Name == "disk sync" {
			t.Error("syncs were measured where nothing can be written")
		}
	}
}

func TestDevelopmentKeyMode(t *testing.T) {
	dir := t.TempDir()
	if f := checkDevKey(dir); f != nil {
		t.Errorf("without a key: %+v", f)
	}
	if _, _, err := auth.LoadOrCreateDevKey(dir); err != nil {
		t.Fatal(err)
	}
	expect(t, "as made", checkDevKey(dir)[0], OK)
	if err := os.Chmod(filepath.Join(dir, auth.DevKeyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, "readable by all", checkDevKey(dir)[0], Fail, "chmod 600")
}

func TestSpace(t *testing.T) {
	const gib = 1 << 30
	expect(t, "much", judgeSpace(volume{100 * gib, 200 * gib, ""}), OK, "100.0 GiB free of 200.0")
	expect(t, "little", judgeSpace(volume{5 * gib, 200 * gib, ""}), Warn, "make room")
	expect(t, "none", judgeSpace(volume{gib / 2, 200 * gib, ""}), Fail, "make room")
	expect(t, "memory", judgeSpace(volume{100 * gib, 200 * gib, "tmpfs, which a reboot empties"}), Warn, "reboot")
}

func TestSyncs(t *testing.T) {
	expect(t, "an SSD", judgeSyncs(500*time.Microsecond, 4*time.Millisecond), OK, "p50 500µs", "p99 4ms")
	expect(t, "slow", judgeSyncs(12*time.Millisecond, 30*time.Millisecond), Warn, "power-loss protection")
	expect(t, "slow at times", judgeSyncs(time.Millisecond, 80*time.Millisecond), Warn)
	expect(t, "a lie", judgeSyncs(3*time.Microsecond, 9*time.Microsecond), Warn, "too fast")
	if times, err := measureSyncs(t.TempDir()); err != nil || len(times) != syncs || times[0] > times[len(times)-1] {
		t.Errorf("%d times, %v", len(times), err)
	}
}

func TestClock(t *testing.T) {
	today := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	expect(t, "well", judgeClock(today, time.Microsecond), OK, "2026-05-01")
	expect(t, "1970", judgeClock(time.Unix(0, 0), 0), Fail, "set the clock")
	expect(t, "stepped back", judgeClock(today, -time.Second), Warn, "moved by -1s")
	expect(t, "synchronised", judgeSync(clockState{synced: true, maxError: time.Millisecond}), OK, "1ms")
	expect(t, "far off", judgeSync(clockState{synced: true, maxError: time.Second}), Warn, "chrony")
	expect(t, "alone", judgeSync(clockState{}), Warn, "chrony")
	expect(t, "unreadable", judgeSync(clockState{err: errors.New("forbidden")}), Warn, "forbidden")
	const source = "sys/devices/system/clocksource/clocksource0/current_clocksource"
	for text, status := range map[string]Status{"tsc\n": OK, "hpet\n": Warn} {
		findings := fake(t, map[string]string{source: text}).checkClock()
		expect(t, text, findings[len(findings)-1], status)
	}
}

func TestMemory(t *testing.T) {
	const gib = 1 << 30
	c := config.Default()
	expect(t, "enough", judgeMemory(c, 8*gib, 0), OK, "8.0 GiB, no control group's limit")
	expect(t, "a limit", judgeMemory(c, 8*gib, 4*gib), OK, "allows 4.0")
	expect(t, "a small limit", judgeMemory(c, 8*gib, gib/2), Warn, "store.cache_bytes")
	expect(t, "a small machine", judgeMemory(c, gib/2, 0), Warn)
	m := fake(t, map[string]string{"proc/meminfo": "MemFree: 1 kB\nMemTotal:    2048 kB\n"})
	if n, err := m.totalBytes(); err != nil || n != 2<<20 {
		t.Errorf("%d, %v", n, err)
	}
	expect(t, "no meminfo", fake(t, nil).checkMemory(c), Warn, "cannot be read")
}

func TestExamineAndWorst(t *testing.T) {
	c := config.Default()
	c.Data, c.Listen, c.Admin, c.Web.Listen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	findings := Examine(c)
	names := map[string]bool{}
	for _, f := range findings {
		if names[f.Name] {
			t.Errorf("%s twice", f.Name)
		}
		names[f.Name] = true
		expect(t, f.Name, f, f.Status)
	}
	for _, want := range []string{"descriptors", "port listen", "port admin", "data folder", "disk space", "disk sync", "clock", "clock sync", "memory", "processors"} {
		if !names[want] {
			t.Errorf("nothing about %s", want)
		}
	}
	for want, list := range map[Status][]Finding{
		OK: {{Status: OK}}, Warn: {{Status: OK}, {Status: Warn}, {Status: OK}}, Fail: {{Status: Fail}, {Status: Warn}},
	} {
		if got := Worst(list); got != want {
			t.Errorf("Worst(%v) = %s", list, got)
		}
	}
}
