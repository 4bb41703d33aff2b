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

	"github.com/rookery-chat/rookery/internal/auth"
)

const (
	startWithin = 60 * time.Second
	leaveWithin = 3 * time.Minute // the clients of a million sessions leave at once
	stopWithin  = leaveWithin + time.Minute
	tokenFor    = 12 * time.Hour
	ticksASec   = 100 // USER_HZ, which /proc counts processor time in
)

// target is a server under measurement: a child process of its own, so that its
// processor time and memory are its own; several, each a server for itself; or a
// cluster.
type target struct {
	children  []*exec.Cmd
	processes map[string]int   // of the cluster: their pids
	addresses []netip.AddrPort // session i goes to number i modulo their count
	admins    []string         // of the owners of partitions
	keys      string           // the folder with the key that signs tokens

	speaks string // an echo, when it is none of WebSocket messages
	stderr string
}

// startTarget runs `rookery serve` of this very program in a fresh data folder, n
// times, each a server for itself that takes the tokens of the first.
func startTarget(o *Options, n int, flags ...string) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t := &target{stderr: filepath.Join(o.Dir, "server.log")}
	log, err := os.Create(t.stderr)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	for i := range n {
		data := filepath.Join(o.Dir, "data")
		if i > 0 {
			data = fmt.Sprintf("%s-%d", data, i)
		}
		if err := t.startOne(self, o.address(), data, log, flags); err != nil {
			t.kill()
			return nil, fmt.Errorf("bench: server %d did not start: %w (%s)", i, err, tail(t.stderr))
		}
	}
	return t, nil
}

func (t *target) startOne(self, address, data string, log *os.File, flags []string) error {
	if t.keys == "" {
		t.keys = data
	} else if err := t.giveKey(data); err != nil {
		return err
	}
	// On a machine shared with the load the server yields to it: a load that
	// waits for a processor measures itself.
	cmd := exec.Command("nice", append([]string{"-n", "10", self, "serve", "--listen=" + address, "--auth-dev-key=true", "--admin=127.0.0.1:0", "--web=127.0.0.1:0", "--data=" + data, "--log-level=warn", "--drain-grace=" + leaveWithin.String()}, flags...)...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.children = append(t.children, cmd)
	return t.readReady(out)
}

// giveKey puts the key that signs tokens into another server's data folder.
func (t *target) giveKey(data string) error {
	key, err := os.ReadFile(filepath.Join(t.keys, auth.DevKeyFile))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(data, auth.DevKeyFile), key, 0o600)
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
					t.addresses = append(t.addresses, a)
				}
			case "admin":
				t.admins = append(t.admins, strings.TrimSuffix(value, "/"))
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
	for _, c := range t.children {
		c.Process.Kill()
	}
	for _, c := range t.children {
		c.Wait()
	}
}

// stop ends the server the ordinary way.
func (t *target) stop() error {
	for _, c := range t.children {
		c.Process.Signal(syscall.SIGTERM)
	}
	done := make(chan error, 1)
	go func() {
		var errs []error
		for _, c := range t.children {
			errs = append(errs, c.Wait())
		}
		done <- errors.Join(errs...)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(stopWithin):
		for _, c := range t.children {
			c.Process.Kill()
		}
		return errors.New("bench: the server did not stop")
	}
}

// pids of the server.
func (t *target) pids() []int {
	pids := slices.Collect(maps.Values(t.processes))
	for _, c := range t.children {
		pids = append(pids, c.Process.Pid)
	}
	return pids
}

// cpu is the processor time the server has used.
func (t *target) cpu() (sum time.Duration) {
	for _, pid := range t.pids() {
		sum += processCPU(pid)
	}
	return sum
}

func processCPU(pid int) time.Duration {
	f := statFields(pid)
	if len(f) < 13 {
		return 0
	}
	return ticks(f[11:13])
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

// allocations is how many objects the server's processes have made on the heap; 0
// for a cluster, whose owners alone have pages of metrics here.
func (t *target) allocations() (float64, error) {
	if len(t.processes) > 0 {
		return 0, nil
	}
	return t.metric("go_memstats_mallocs_total")
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

// errNoMetric says that a page has none of a name: of partitions that nobody owns, say.
var errNoMetric = errors.New("bench: the server has no metric")

func metricOf(admin, name string) (float64, error) {
	req, err := http.NewRequest(http.MethodGet, admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept-Encoding", "identity") // it would be the server's time
	r, err := http.DefaultClient.Do(req)
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
		return 0, fmt.Errorf("%w %s", errNoMetric, name)
	}
	return sum, lines.Err()
}

// quietFor is how long a server is left alone before its memory is taken: what
// it keeps for the next burst it gives back meanwhile.
const quietFor = 15 * time.Second

// A process's memory stands still when it moves by less than stillBytes in a
// second, stillFor times in a row: Go begins to give back what a collection freed
// a second or two later. Who waits longer than settleMost gets it as it is.
const (
	stillBytes = 256 << 10
	stillFor   = 3
	settleMost = 60 * time.Second
)

// settle leaves the server alone and waits until its memory stands still.
func (t *target) settle() int64 { return settle(t.collected, int64(len(t.children))*stillBytes) }

// collected is the server's resident memory once it has collected its garbage.
func (t *target) collected() int64 {
	for _, admin := range t.admins {
		if r, err := http.Get(admin + "/debug/pprof/heap?gc=1"); err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
	}
	return t.resident()
}

// settle reads memory until it stands still: moves by less than a bound.
func settle(read func() int64, bound int64) int64 {
	time.Sleep(quietFor)
	last, still := int64(0), 0
	for end := time.Now().Add(settleMost); still < stillFor && time.Now().Before(end); time.Sleep(time.Second) {
		now := read()
		if still++; now-last >= bound || last-now >= bound {
			still = 0
		}
		last = now
	}
	return last
}

func tail(path string) string {
	b, _ := os.ReadFile(path)
	return string(b[max(len(b)-500, 0):])
}
