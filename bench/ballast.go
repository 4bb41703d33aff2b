package bench

import (
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// The ballast gets a quarter of a processor whose server is never idle, by the
// kernel's weights of processes that are so nice. What a server leaves beyond
// that it did not want.
const (
	ballastNice  = 5
	ballastShare = 335.0 / (335 + 1024)
)

// ballast is a program that does nothing, as much as it can, on the server's
// processor. A load costs about what a bare echo does, so that with a processor
// each either may be the limit; beside a ballast it is the server. A server's
// figures are of its own processor time, of which the ballast has nothing.
type ballast struct{ cmd *exec.Cmd }

// startBallast starts one on a processor; -1 is none.
func startBallast(cpu int) (ballast, error) {
	if cpu < 0 {
		return ballast{}, nil
	}
	cmd := exec.Command("nice", "-n", strconv.Itoa(ballastNice), "sh", "-c", "while :; do :; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startOn(cmd, cpu); err != nil {
		return ballast{}, fmt.Errorf("bench: ballast: %w", err)
	}
	return ballast{cmd}, nil
}

// cpu is the processor time that it has used.
func (b ballast) cpu() time.Duration {
	if b.cmd == nil {
		return 0
	}
	return processCPU(b.cmd.Process.Pid)
}

func (b ballast) stop() {
	if b.cmd != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
	}
}
