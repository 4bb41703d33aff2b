// Package doctor looks at the machine a server is to run on: what it found,
// whether that will do, and what to do when it will not.
package doctor

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/config"
)

// Status is how bad a finding is.
type Status string

// The states of a finding.
const (
	OK   Status = "ok"
	Warn Status = "warn" // it works, not as well or not as long as it should
	Fail Status = "fail" // it will not work
)

// Finding is the outcome of one check.
type Finding struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Do     string `json:"do,omitempty"` // what to do; "" when all is well
}

// machine is what the checks look at, so that tests can show them another.
type machine struct {
	root        string // of /proc and /sys
	descriptors func() (soft, hard uint64, err error)
	pageBytes   int64
}

func thisMachine() *machine {
	return &machine{root: "/", pageBytes: int64(os.Getpagesize()), descriptors: func() (uint64, uint64, error) {
		var l syscall.Rlimit
		err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
		return l.Cur, l.Max, err
	}}
}

// Examine runs every check for a configuration. It listens for a moment on the
// configured addresses, and writes some files in the data folder, which it
// removes again. It is for a process of its own: looking whether the folder is
// locked ends the lock of a server in the same process.
func Examine(c *config.Config) []Finding {
	m := thisMachine()
	running := held(c.Data)
	findings := []Finding{m.checkDescriptors(c), checkPort("port listen", c.Listen, running), checkPort("port admin", c.Admin, running), checkPort("port web", c.Web.Listen, running)}
	findings = append(findings, m.checkKernel(c)...)
	findings = append(findings, checkData(c.Data)...)
	findings = append(findings, m.checkClock()...)
	return append(findings, m.checkMemory(c), checkProcessors())
}

// Worst returns the worst status of the findings.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		if f.Status == Fail || f.Status == Warn && worst == OK {
			worst = f.Status
		}
	}
	return worst
}

// leastDescriptors is what a server needs to be of any use.
const leastDescriptors = 1024

func (m *machine) checkDescriptors(c *config.Config) Finding {
	f := Finding{Name: "descriptors", Status: OK}
	soft, hard, err := m.descriptors()
	if err != nil {
		return Finding{f.Name, Warn, err.Error(), "look with ulimit -n whether there is one for each connection"}
	}
	// Go raises the soft limit to the hard one at the start.
	usable := max(soft, hard)
	f.Found = fmt.Sprintf("limit %d (hard %d)", soft, hard)
	allowed := engine.ConnsOf(int(min(usable, math.MaxInt32)))
	wants, more := c.Engine.MaxConnections+engine.ReservedFiles, ""
	if c.Engine.OwnDescriptors {
		loops := c.Engine.Loops
		if loops == 0 {
			loops = runtime.GOMAXPROCS(0)
		}
		allowed = engine.ConnsOfLoops(int(min(usable, math.MaxInt32)), loops)
		wants = c.Engine.MaxConnections
		more = fmt.Sprintf("set engine.loops above %d, each of which has as many descriptors, or ", loops)
	}
	raise := more + "raise it: LimitNOFILE= in the unit, ulimit -n in a shell, or /etc/security/limits.conf; fs.nr_open is the ceiling"
	switch {
	case c.Engine.MaxConnections > allowed:
		f.Status, f.Do = Fail, fmt.Sprintf("engine.max_connections wants %d; %s", wants, raise)
	case usable < leastDescriptors:
		f.Status, f.Do = Fail, raise
	case c.Engine.MaxConnections == 0 && usable < 65_536:
		f.Status, f.Do = Warn, fmt.Sprintf("enough for %d connections; %s", allowed, raise)
	}
	return f
}

func checkProcessors() Finding {
	f := Finding{Name: "processors", Status: OK, Found: fmt.Sprintf("%d, of which Go uses %d", runtime.NumCPU(), runtime.GOMAXPROCS(0))}
	if runtime.GOMAXPROCS(0) < 2 {
		f.Status, f.Do = Warn, "give it two: with one, loops and owners of partitions wait for each other"
	}
	return f
}

// read returns a file below the machine's root without the space around it.
func (m *machine) read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(m.root, path))
	return strings.TrimSpace(string(b)), err
}

// readInts returns the whole numbers of a file.
func (m *machine) readInts(path string) ([]int64, error) {
	text, err := m.read(path)
	if err != nil {
		return nil, err
	}
	var numbers []int64
	for field := range strings.FieldsSeq(text) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
