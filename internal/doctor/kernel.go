package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/config"
)

// socketBytes is what the kernel takes for an idle socket.
const socketBytes = 5 << 10

// checkPort looks whether an address can be listened on. That it is in use is no
// fault while a server runs on the data folder.
func checkPort(name, address string, running bool) Finding {
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
		return Finding{Name: name, Status: OK, Found: address + " is free"}
	}
	if running && errors.Is(err, syscall.EADDRINUSE) {
		return Finding{Name: name, Status: OK, Found: address + " is in use, and so is the data folder: the server runs"}
	}
	f := Finding{name, Fail, err.Error(), "choose another address, or look at the fault"}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		f.Do = "stop who has it (ss -ltnp shows who), or choose another port"
	case errors.Is(err, syscall.EACCES):
		f.Do = "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Do = "the address is none of this machine's; ip addr lists them"
	}
	return f
}

// setting is one kernel parameter.
type setting struct {
	path   string // below /proc/sys, dots for slashes in the name shown
	do     string
	judge  func(m *machine, c *config.Config, v []int64) (found string, good bool)
	absent bool // may be absent: then nothing is said
}

var settings = []setting{
	{path: "net/core/somaxconn", do: "sysctl -w net.core.somaxconn=65535: connections of a storm wait here",
		judge: atLeast(4096)},
	{path: "net/ipv4/tcp_max_syn_backlog", do: "sysctl -w net.ipv4.tcp_max_syn_backlog=65535",
		judge: atLeast(1024)},
	{path: "net/ipv4/ip_local_port_range", do: `sysctl -w net.ipv4.ip_local_port_range="1024 65535": a balancer or a load generator needs a port for each connection`,
		judge: func(_ *machine, _ *config.Config, v []int64) (string, bool) {
			if len(v) != 2 {
				return fmt.Sprint(v), false
			}
			return fmt.Sprintf("%d to %d, %d ports", v[0], v[1], v[1]-v[0]+1), v[1]-v[0] >= 28_000
		}},
	{path: "net/ipv4/tcp_mem", do: "raise net.ipv4.tcp_mem (three numbers, in pages): past the last the kernel drops data of all sockets",
		judge: judgeTCPMem},
	{path: "fs/nr_open", do: "sysctl -w fs.nr_open=2097152: no process may have more descriptors",
		judge: func(_ *machine, c *config.Config, v []int64) (string, bool) {
			return fmt.Sprint(v[0]), v[0] >= int64(max(c.Engine.MaxConnections+engine.ReservedFiles, 65_536))
		}},
	{path: "net/netfilter/nf_conntrack_max", do: "raise net.netfilter.nf_conntrack_max, or do not track the sockets' port: connections over it are dropped",
		absent: true,
		judge: func(_ *machine, c *config.Config, v []int64) (string, bool) {
			return fmt.Sprint(v[0]), v[0] >= int64(max(c.Engine.MaxConnections, 65_536))
		}},
}

func atLeast(n int64) func(*machine, *config.Config, []int64) (string, bool) {
	return func(_ *machine, _ *config.Config, v []int64) (string, bool) { return fmt.Sprint(v[0]), v[0] >= n }
}

func judgeTCPMem(m *machine, c *config.Config, v []int64) (string, bool) {
	if len(v) != 3 {
		return fmt.Sprint(v), false
	}
	bytes := v[2] * m.pageBytes
	connections := max(c.Engine.MaxConnections, 65_536)
	return fmt.Sprintf("at most %s for all sockets", config.FormatSize(bytes&^(1<<20-1))), bytes >= int64(connections)*socketBytes
}

// checkKernel looks at the kernel's settings.
func (m *machine) checkKernel(c *config.Config) []Finding {
	var findings []Finding
	for _, s := range settings {
		f := Finding{Name: strings.ReplaceAll(s.path, "/", "."), Status: OK}
		v, err := m.readInts("proc/sys/" + s.path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && s.absent:
			continue
		case err != nil || len(v) == 0:
			f.Status, f.Found, f.Do = Warn, fmt.Sprintf("cannot be read: %v", err), "look at it by hand"
		default:
			good := false
			if f.Found, good = s.judge(m, c, v); !good {
				f.Status, f.Do = Warn, s.do
			}
		}
		findings = append(findings, f)
	}
	return findings
}
