package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startWithin = 60 * time.Second
	stopWithin  = 60 * time.Second
	tokenFor    = 12 * time.Hour
	ticksASec   = 100 // USER_HZ, which /proc counts processor time in
)

// target is a server under measurement: a child process of its own, so that its
// processor time and memory are its own, or a cluster of several.
type target struct {
	cmd       *exec.Cmd        // of the child
	processes map[string]int   // of the cluster: their pids
	addresses []netip.AddrPort // session i goes to number i modulo their count
	admins    []string         // of the owners of partitions
	data      string
	keys      string // the folder with the key that signs tokens

	speaks string // an echo, when it is none of WebSocket messages
	stderr string
}

// startTarget runs `rookery serve` of this very program in a fresh data folder.
func startTarget(dir string, flags ...string) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t := &target{data: filepath.Join(dir, "data"), stderr: filepath.Join(dir, "server.log")}
	log, err := os.Create(t.stderr)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// On a machine shared with the load the server yields to it: a load that
	// waits for a processor measures itself.
	t.cmd = exec.Command("nice", append([]string{"-n", "10", self, "serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--web=127.0.0.1:0", "--data=" + t.data, "--log-level=warn"}, flags...)...)
	t.cmd.Stderr = log
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	if err := t.readReady(out); err != nil {
		t.kill()
		return nil, fmt.Errorf("bench: the server did not start: %w (%s)", err, tail(t.stderr))
	}
	t.keys = t.data
	return t, nil
}

// readReady reads what serve prints until it says ready.
func (t *target) readReady(out io.Reader) error {
	ready := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			what, value, _ := strings.Cut(lines.Text(), " ")
			value = strings.TrimSpace(value)
			switch what {
			case "sockets":
				address := strings.TrimSuffix(strings.TrimPrefix(value, "ws://"), "/ws/<user>")
				if a, err := netip.ParseAddrPort(address); err == nil {
					t.addresses = []netip.AddrPort{a}
				}
			case "admin":
				t.admins = []string{strings.TrimSuffix(value, "/")}
			case "ready":
				ready <- nil
				io.Copy(io.Discard, out)
				return
			}
		}
		ready <- errors.New("it ended")
	}()
	select {
	case err := <-ready:
		return err
	case <-time.After(startWithin):
		return errors.New("it took too long")
	}
}

func (t *target) kill() {
	t.cmd.Process.Kill()
	t.cmd.Wait()
}

// stop ends the server the ordinary way.
func (t *target) stop() error {
	t.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- t.cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(stopWithin):
		t.cmd.Process.Kill()
		return errors.New("bench: the server did not stop")
	}
}

// pids of the server.
func (t *target) pids() []int {
	if t.cmd != nil {
		return []int{t.cmd.Process.Pid}
	}
	return slices.Collect(maps.Values(t.processes))
}

// cpuSplit is processor time by where it was spent.
type cpuSplit struct{ user, kernel time.Duration }

func (c cpuSplit) sum() time.Duration { return c.user + c.kernel }

// split is the processor time the server has used.
func (t *target) split() (sum cpuSplit) {
	for _, pid := range t.pids() {
		c := processSplit(pid)
		sum.user, sum.kernel = sum.user+c.user, sum.kernel+c.kernel
	}
	return sum
}

// cpu is the same in one.
func (t *target) cpu() time.Duration { return t.split().sum() }

func processCPU(pid int) time.Duration { return processSplit(pid).sum() }

func processSplit(pid int) cpuSplit {
	f := statFields(pid)
	if len(f) < 13 {
		return cpuSplit{}
	}
	return cpuSplit{ticks(f[11:12]), ticks(f[12:13])}
}

// stolenTime is the processor time that the hypervisor has given to others, of
// all processors.
func stolenTime() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(first)
	if len(fields) < 9 {
		return 0
	}
	ticks, _ := strconv.ParseInt(fields[8], 10, 64)
	return time.Duration(ticks) * time.Second / ticksASec
}

// resident is the server's resident memory in bytes.
func (t *target) resident() (sum int64) {
	for _, pid := range t.pids() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += kb << 10
			}
		}
	}
	return sum
}

// metric sums a metric of the server over its labels and processes.
func (t *target) metric(name string) (sum float64, err error) {
	for _, admin := range t.admins {
		v, err := metricOf(admin, name)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

func metricOf(admin, name string) (float64, error) {
	r, err := http.Get(admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	sum, found := 0.0, false
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("bench: the server has no metric %s", name)
	}
	return sum, lines.Err()
}

// quietFor is how long a server is left alone before its memory is taken: what
// it keeps for the next burst it gives back meanwhile.
const quietFor = 15 * time.Second

// settle leaves the server alone, asks it to collect its garbage, and waits
// until its memory stands still.
func (t *target) settle() int64 {
	time.Sleep(quietFor)
	last := int64(0)
	for range 30 {
		if r, err := http.Get(t.admins[0] + "/debug/pprof/heap?gc=1"); err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		now := t.resident()
		if diff := now - last; diff < 256<<10 && diff > -(256<<10) {
			return now
		}
		last = now
		time.Sleep(time.Second)
	}
	return last
}

func tail(path string) string {
	b, _ := os.ReadFile(path)
	return string(b[max(len(b)-500, 0):])
}
