package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Targets of echo with a part of their own: the limits that the others are
// compared with, and ours.
const (
	bareC  = "barec"
	bareGo = "barego"
	ours   = "rookery"
)

// peersDir is where scripts/peers.sh puts what it builds.
const peersDir = ".cache/peers"

// echoTarget is a server that echoes: ours, or a peer's program.
type echoTarget struct {
	name, variant string
	command, env  []string
}

func (t *echoTarget) String() string {
	if t.variant == "" {
		return t.name
	}
	return t.name + "/" + t.variant
}

// echoTargets are ours and the programs of a folder, the bare ones first; with
// variants, every one of a peer's settings.
func echoTargets(o *Options) ([]echoTarget, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	mine := echoTarget{name: ours, command: append([]string{self, "echo", "--listen=127.0.0.1:0", "--loops=1", "--log-level=error"}, o.ServerFlags...)}
	dir, asked := o.Peers, o.Peers != ""
	if !asked {
		dir = peersDir
	}
	entries, err := os.ReadDir(dir)
	if err != nil && (asked || !errors.Is(err, os.ErrNotExist)) {
		return nil, fmt.Errorf("bench: peers: %w (scripts/peers.sh build)", err)
	}
	var bare, peers []echoTarget
	for _, e := range entries {
		path, err := filepath.Abs(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		// Not e.Info: an entry may be a link.
		if at, err := os.Stat(path); err != nil || !at.Mode().IsRegular() || at.Mode()&0o111 == 0 {
			continue
		}
		all, err := variants(path, e.Name(), o.PeerVariants || o.Target != "")
		if err != nil {
			return nil, err
		}
		if e.Name() == bareC || e.Name() == bareGo {
			bare = append(bare, all[0])
			peers = append(peers, all[1:]...)
		} else {
			peers = append(peers, all...)
		}
	}
	targets := append(bare, mine)
	if o.PeerVariants || o.Target != "" {
		targets = append(targets, echoTarget{ours, "procs2", mine.command, []string{"GOMAXPROCS=2"}})
	}
	return named(append(targets, peers...), o.Target)
}

// named is the target of a name, or all for none.
func named(targets []echoTarget, name string) ([]echoTarget, error) {
	if name == "" {
		return targets, nil
	}
	for _, t := range targets {
		if t.String() == name {
			return []echoTarget{t}, nil
		}
	}
	return nil, fmt.Errorf("bench: no server %s to measure the echo of (scripts/peers.sh build)", name)
}

// EchoTargets are the names that Options.Target takes: the bare echoes, ours and
// the peers, with the settings of each behind a slash; its best settings alone,
// or all.
func EchoTargets(peers string, all bool) ([]string, error) {
	targets, err := echoTargets(&Options{Peers: peers, PeerVariants: all})
	var names []string
	for i := range targets {
		names = append(names, targets[i].String())
	}
	return names, err
}

// variants asks a peer for its settings. Without all, it is the peer's best
// alone.
func variants(path, name string, all bool) ([]echoTarget, error) {
	out, err := exec.Command(path, "--variants").Output()
	names := strings.Fields(string(out))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("bench: %s --variants printed no name: %w", path, errors.Join(err))
	}
	if !all {
		names = names[:1]
	}
	var targets []echoTarget
	for _, v := range names {
		targets = append(targets, echoTarget{name: name, variant: v, command: []string{path, "--listen", "127.0.0.1:0", "--variant", v}})
	}
	return targets, nil
}

// startEcho runs a target on one processor; -1 is any.
func startEcho(t *echoTarget, dir string, cpu int) (*target, error) {
	s := &target{stderr: filepath.Join(dir, "echo.log")}
	log, err := os.Create(s.stderr)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(t.command[0], t.command[1:]...)
	cmd.Env = append(os.Environ(), t.env...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startOn(cmd, cpu); err != nil {
		return nil, err
	}
	s.children = append(s.children, cmd)
	if err := s.readListening(out); err != nil {
		s.kill()
		return nil, fmt.Errorf("bench: %v did not start: %w (%s)", t, err, tail(s.stderr))
	}
	return s, nil
}

// readListening reads what a target prints until it says where it listens, and
// what it speaks if that is not an echo of WebSocket messages.
func (t *target) readListening(out io.Reader) error {
	ready := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			what, value, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "speaks":
				t.speaks = value
			case "listening", "ready:":
				at, err := netip.ParseAddrPort(strings.TrimPrefix(value, "ws://"))
				t.addresses = []netip.AddrPort{at}
				ready <- err
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

// startOn starts a program on one processor, which a Go program sees as its only
// one, with as many descriptors as may be.
func startOn(cmd *exec.Cmd, cpu int) error {
	if cpu >= 0 {
		// The child inherits from the thread that makes it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var before, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &before); err != nil {
			return fmt.Errorf("bench: affinity: %w", err)
		}
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return fmt.Errorf("bench: affinity: %w", err)
		}
		defer unix.SchedSetaffinity(0, &before)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		files.Cur = files.Max
		unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_NOFILE, &files, nil)
	}
	return nil
}

// pinEcho puts this process, the load, on the first of its processors, and
// returns the last for the server. With one processor nothing is pinned.
func pinEcho() (server int, unpin func(), err error) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &before); err != nil {
		return -1, nil, fmt.Errorf("bench: affinity: %w", err)
	}
	if before.Count() < 2 {
		return -1, func() {}, nil
	}
	load, server := -1, -1
	for cpu := range len(before) * 64 {
		if !before.IsSet(cpu) {
			continue
		}
		if load < 0 {
			load = cpu
		}
		server = cpu
	}
	var one unix.CPUSet
	one.Set(load)
	if err := pinThreads(&one); err != nil {
		return -1, nil, err
	}
	return server, func() { pinThreads(&before) }, nil
}

// pinThreads moves every thread of this process; new ones inherit.
func pinThreads(to *unix.CPUSet) error {
	for range 2 { // a thread may have been made meanwhile
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			var id int
			fmt.Sscan(t.Name(), &id)
			if err := unix.SchedSetaffinity(id, to); err != nil && err != unix.ESRCH {
				return fmt.Errorf("bench: affinity: %w", err)
			}
		}
	}
	return nil
}
