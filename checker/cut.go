package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// direction is which packets of a process are dropped.
type direction int

const (
	in  direction = 1 << iota // it hears nothing from who connects to it
	out                       // nobody hears it
)

func (d direction) String() string {
	return [...]string{"", "in", "out", "both"}[d]
}

// cut drops packets of processes until heal.
func (cl *cluster) cut(d direction, procs ...*proc) error {
	var rules strings.Builder
	for _, p := range procs {
		if d&in != 0 {
			fmt.Fprintf(&rules, "add rule inet chaos in tcp dport { %s } drop\n", list(p.ports))
		}
		if d&out == 0 {
			continue
		}
		if p.gid != 0 {
			fmt.Fprintf(&rules, "add rule inet chaos out meta skgid %d drop\n", p.gid)
			continue
		}
		// What a server sends is known by its own ports and, of connections that
		// it has opened, by the ports that these have.
		fmt.Fprintf(&rules, "add rule inet chaos out tcp sport { %s } drop\n", list(append(cl.opened(p), p.ports...)))
	}
	return nft(rules.String())
}

// drop drops packets to some ports until heal.
func (cl *cluster) drop(d direction, ports []int) error {
	if d != in {
		panic("only what comes in is dropped by ports")
	}
	return nft(fmt.Sprintf("add rule inet chaos in tcp dport { %s } drop\n", list(ports)))
}

// heal lets all packets through again.
func (cl *cluster) heal() error {
	return command("nft", "delete table inet chaos", "-f", "-")
}

// nft adds rules to tables of this run's own.
func nft(rules string) error {
	return command("nft", `table inet chaos {
	chain in { type filter hook input priority 0; }
	chain out { type filter hook output priority 0; }
}
`+rules, "-f", "-")
}

func command(name, stdin string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if cmd.Err != nil {
		cmd = exec.Command("/usr/sbin/"+name, args...)
	}
	cmd.Stdin = strings.NewReader(stdin)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s%s", name, err, text, stdin)
	}
	return nil
}

// opened is the local ports of a process's connections.
func (cl *cluster) opened(p *proc) (ports []int) {
	text, err := exec.Command("ss", "-Htnp", "state", "established").Output()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, fmt.Sprintf("pid=%d,", p.pid(cl))) {
			continue
		}
		if f := strings.Fields(line); len(f) > 3 {
			if n, err := strconv.Atoi(f[2][strings.LastIndexByte(f[2], ':')+1:]); err == nil {
				ports = append(ports, n)
			}
		}
	}
	return ports
}

func list(ports []int) string {
	seen, text := map[int]bool{}, []string{}
	for _, p := range ports {
		if !seen[p] {
			seen[p] = true
			text = append(text, strconv.Itoa(p))
		}
	}
	return strings.Join(text, ", ")
}
