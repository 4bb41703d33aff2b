package bench

import (
	"context"
	"fmt"
	"strings"
)

// idle measures what sessions take before any message, and once each has received
// one: the server's resident bytes, its heap, and the kernel's.
func idle(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 15_000)
	t, err := start(o, res)
	if err != nil {
		return err
	}
	defer t.kill()
	t.settle()
	before, err := t.memory()
	if err != nil {
		return err
	}
	f, err := connect(ctx, o, res, t)
	if err != nil {
		return err
	}
	defer f.close()
	connected := t.settle()
	fmt.Fprintf(o.Progress, "%.0f bytes a session before any message\n", float64(connected-res.EmptyBytes)/float64(o.Connections))
	res.SettledBytes = connected
	res.BytesPerSilentConnection = float64(connected-res.EmptyBytes) / float64(o.Connections)
	if !o.Silent {
		if err := exchange(ctx, o, res, f); err != nil {
			return err
		}
		res.SettledBytes = t.settle()
		res.BytesPerConnection = float64(res.SettledBytes-res.EmptyBytes) / float64(o.Connections)
	}
	after, err := t.memory()
	if err != nil {
		return err
	}
	res.Memory = after.since(before, o.Connections, !f.remote)
	return t.stop()
}

// memory is what the server has, and the kernel for all sockets of the machine.
type memory struct {
	resident    int64
	heap, stack float64
	slab        int64 // bytes
	tcpPages    int64
	sockets     int
}

const pageBytes = 4096 // that sockstat counts in, on every platform with epoll_pwait2 that we know

func (t *target) memory() (m memory, err error) {
	m.resident = t.resident()
	if m.heap, err = t.metric("go_memstats_heap_inuse_bytes"); err != nil {
		return m, err
	}
	if m.stack, err = t.metric("go_memstats_stack_inuse_bytes"); err != nil {
		return m, err
	}
	for line := range strings.Lines(content("/proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "Slab:"); ok {
			fmt.Sscan(rest, &m.slab)
			m.slab <<= 10
		}
	}
	m.sockets, m.tcpPages = tcpMemory(content("/proc/net/sockstat"))
	return m, nil
}

// tcpMemory reads how many TCP sockets are in use and the pages of their
// buffers from the text of /proc/net/sockstat.
func tcpMemory(sockstat string) (inUse int, pages int64) {
	for line := range strings.Lines(sockstat) {
		rest, ok := strings.CutPrefix(line, "TCP:")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		for i := 0; i+1 < len(fields); i += 2 {
			switch fields[i] {
			case "inuse":
				fmt.Sscan(fields[i+1], &inUse)
			case "mem":
				fmt.Sscan(fields[i+1], &pages)
			}
		}
	}
	return inUse, pages
}

// since divides what came since before among sessions.
func (m memory) since(before memory, sessions int, bothEnds bool) *MemoryFigures {
	n := float64(sessions)
	return &MemoryFigures{
		UserBytes: float64(m.resident-before.resident) / n, HeapBytes: (m.heap - before.heap) / n,
		SlabBytes: float64(m.slab-before.slab) / n, SocketPagesBytes: float64((m.tcpPages-before.tcpPages)*pageBytes) / n,
		KernelBothEnds: bothEnds, Sockets: m.sockets - before.sockets, HeapInUse: m.heap, StackInUse: m.stack,
	}
}
