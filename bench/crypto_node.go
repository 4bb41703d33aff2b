package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// errNoNode says that the TypeScript SDK is not there to be measured.
var errNoNode = errors.New("the TypeScript SDK is not measured")

// nodeSDK is a process of Node that measures a round when it is asked to: a line
// for each, answered by the costs as JSON, at most nodeLineBytes.
type nodeSDK struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

const nodeLineBytes = 64 << 10

// startNode starts what scripts/js.sh rounds has built in the folder of o.SDK.
func startNode(ctx context.Context, o *Options) (*nodeSDK, error) {
	dir := o.SDK
	if dir == "" {
		dir = filepath.Join(".cache", "bench-crypto")
	}
	program, err := filepath.Abs(filepath.Join(dir, "round.js"))
	if err != nil {
		return nil, err
	}
	if content(program) == "" {
		if o.SDK != "" {
			return nil, fmt.Errorf("bench: no %s: scripts/js.sh rounds makes it", program)
		}
		return nil, fmt.Errorf("%w: no %s, which scripts/js.sh rounds makes", errNoNode, program)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errNoNode, err)
	}
	n := &nodeSDK{cmd: exec.CommandContext(ctx, node, program, strconv.Itoa(o.Size), strconv.FormatInt(o.Duration.Milliseconds(), 10))}
	n.cmd.Stderr = o.Progress
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.out = bufio.NewScanner(out)
	n.out.Buffer(nil, nodeLineBytes)
	return n, n.cmd.Start()
}

func (n *nodeSDK) round(context.Context) (costs cryptoCosts, err error) {
	if _, err := io.WriteString(n.in, "round\n"); err != nil {
		return nil, err
	}
	if !n.out.Scan() {
		return nil, errors.Join(errors.New("node ended"), n.out.Err())
	}
	if err := json.Unmarshal(n.out.Bytes(), &costs); err != nil {
		return nil, err
	}
	for _, step := range cryptoSteps {
		if costs[step.name] <= 0 {
			return nil, fmt.Errorf("node did not measure %q: %v", step.name, costs)
		}
	}
	return costs, nil
}

// end closes its input, at which it ends. It takes nil.
func (n *nodeSDK) end() {
	if n != nil {
		n.in.Close()
		n.cmd.Wait()
	}
}
