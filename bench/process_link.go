package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// agentLink is the coordinator's end of the link to an agent.
type agentLink struct {
	name  string
	link  io.ReadWriteCloser
	lines *bufio.Scanner
	out   *json.Encoder
	ended func() // waits until the agent's process or goroutine has; nil on another machine
	log   string // the file with what a child said
	far   bool   // on another machine, which cannot reach this one's loopback
}

func newLink(name string, link io.ReadWriteCloser) *agentLink {
	a := &agentLink{name: name, link: link, lines: bufio.NewScanner(link), out: json.NewEncoder(link)}
	a.lines.Buffer(nil, controlLineBytes)
	return a
}

// agentHere is an agent in this process, on a goroutine of its own.
func agentHere() *agentLink {
	ours, its := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer its.Close()
		Agent(context.Background(), its)
	}()
	a := newLink("the load", ours)
	a.ended = func() { <-done }
	return a
}

// childLink is the pipes to a child.
type childLink struct {
	io.Reader
	io.WriteCloser
}

// agentChild is an agent in a process of its own: this program, once more.
func agentChild(name, log string) (*agentLink, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	said, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd := exec.Command(self, "bench", "agent")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1") // a load is one goroutine, and there are others to use the processors
	cmd.Stderr = said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start an agent: %w", err)
	}
	a := newLink(name, childLink{out, in})
	a.log = log
	a.ended = func() {
		late := time.AfterFunc(stopWithin, func() { cmd.Process.Kill() })
		defer late.Stop()
		cmd.Wait()
	}
	return a, nil
}

// greet reads the agent's first line.
func (a *agentLink) greet(ctx context.Context) error {
	var hello agentHello
	if err := a.read(ctx, graceFor, &hello); err != nil {
		return err
	}
	if hello.Rookery != controlVersion {
		return fmt.Errorf("%w: %s speaks version %d of the control protocol, this program %d", errAgent, a.name, hello.Rookery, controlVersion)
	}
	return nil
}

// ask gives an order and waits for its report. The error is what the agent
// reports, or wraps errAgent.
func (a *agentLink) ask(ctx context.Context, o *order, within time.Duration) (*report, error) {
	if err := a.out.Encode(o); err != nil {
		return nil, fmt.Errorf("%w: %s: %v%s", errAgent, a.name, err, a.said())
	}
	rep := &report{}
	if err := a.read(ctx, within, rep); err != nil {
		return nil, err
	}
	if rep.Op != o.Op {
		return nil, fmt.Errorf("%w: %s reports %q of the order %q", errAgent, a.name, rep.Op, o.Op)
	}
	if rep.Error != "" {
		return nil, fmt.Errorf("%s: %s", a.name, rep.Error)
	}
	return rep, nil
}

// read reads a line into v. A link on which none comes in time is closed.
func (a *agentLink) read(ctx context.Context, within time.Duration, v any) error {
	got := make(chan error, 1)
	go func() {
		if a.lines.Scan() {
			got <- json.Unmarshal(a.lines.Bytes(), v)
		} else if err := a.lines.Err(); err != nil {
			got <- err
		} else {
			got <- io.EOF
		}
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	why := ""
	select {
	case err := <-got:
		if err == nil {
			return nil
		}
		return fmt.Errorf("%w: %s: %v%s", errAgent, a.name, err, a.said())
	case <-timer.C:
		why = fmt.Sprintf("said nothing within %v", within)
	case <-ctx.Done():
		why = ctx.Err().Error()
	}
	a.link.Close()
	if c, ok := a.link.(childLink); ok {
		c.Reader.(io.Closer).Close()
	}
	<-got
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %s %s%s", errAgent, a.name, why, a.said())
}

// said is the end of what a child said on its standard error.
func (a *agentLink) said() string {
	if a.log == "" {
		return ""
	}
	if s := tail(a.log); s != "" {
		return " (" + s + ")"
	}
	return ""
}

// close ends the agent: it leaves when its link does.
func (a *agentLink) close() {
	a.link.Close()
	if a.ended != nil {
		a.ended()
		a.ended = nil
	}
}
