package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/internal/auth"
)

const (
	filesBesideSockets = 512 // descriptors of a load process that are no sockets
	mostProcesses      = 1024
	graceFor           = 30 * time.Second
	clockPings         = 32
)

// fleet is the load side of a run: agents that each make a part of it, in this
// process, in children of it, or on other machines.
type fleet struct {
	agents []*agentLink
	total  int // sessions
	parts  []int
	remote bool
	grace  time.Duration // beyond what an order takes by itself
	late   []string      // agents that did not do as they were asked: the run is invalid
}

// errAgent says that an agent did not answer, or not as the protocol says.
var errAgent = errors.New("bench: an agent is not to be relied on")

// startFleet starts the agents of a load of so many sessions.
func startFleet(ctx context.Context, o *Options, res *Result, sessions int) (*fleet, error) {
	f := &fleet{remote: len(o.Agents) > 0, grace: graceFor}
	if f.remote {
		for _, address := range o.Agents {
			link, err := dialAgent(ctx, address, o.Secret)
			if err != nil {
				f.close()
				return nil, err
			}
			f.agents = append(f.agents, link)
		}
	} else if err := f.startLocal(o, sessions); err != nil {
		f.close()
		return nil, err
	}
	res.LoadProcesses = len(f.agents)
	for _, a := range f.agents {
		if err := a.greet(ctx); err != nil {
			f.close()
			return nil, err
		}
		if err := f.setClock(ctx, a, res); err != nil {
			f.close()
			return nil, err
		}
	}
	if f.remote {
		res.Warnings = append(res.Warnings, fmt.Sprintf("latencies are between machines: clocks were compared to within %d us", res.ClockErrorUs))
	}
	return f, nil
}

// startLocal starts agents on this machine: in this process, or as children.
func (f *fleet) startLocal(o *Options, sessions int) error {
	n, err := loadProcesses(o.Processes, sessions)
	if err != nil {
		return err
	}
	if n == 1 {
		f.agents = append(f.agents, agentHere())
		return nil
	}
	for i := range n {
		link, err := agentChild(fmt.Sprintf("agent %d", i), filepath.Join(o.Dir, fmt.Sprintf("agent-%d.log", i)))
		if err != nil {
			return err
		}
		f.agents = append(f.agents, link)
	}
	return nil
}

// loadProcesses is how many processes a load of so many sessions wants: what is
// asked for, and at least as many as this machine's limit of descriptors demands.
func loadProcesses(asked, sessions int) (int, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("bench: limit of descriptors: %w", err)
	}
	return processesFor(asked, sessions, int(min(files.Cur, 1<<30)))
}

// processesFor is loadProcesses with a limit of descriptors for each process.
func processesFor(asked, sessions, files int) (int, error) {
	room := files - filesBesideSockets
	if room < 1 {
		return 0, fmt.Errorf("bench: %d descriptors are too few for a load: raise ulimit -n", files)
	}
	need := max((sessions+room-1)/room, 1)
	if asked != 0 && asked < need {
		return 0, fmt.Errorf("bench: %d sessions need %d load processes with %d descriptors each, not %d", sessions, need, files, asked)
	}
	if need = max(need, asked); need > mostProcesses {
		return 0, fmt.Errorf("bench: %d load processes are more than %d", need, mostProcesses)
	}
	return need, nil
}

// setClock makes an agent's clock show what ours does. Processes of one machine
// share theirs; of another one's the difference is measured where the answer
// came soonest, and may be wrong by half of the time that took.
func (f *fleet) setClock(ctx context.Context, a *agentLink, res *Result) error {
	least, offset := int64(1<<62), int64(0)
	for range clockPings {
		before := nowNs()
		rep, err := a.ask(ctx, &order{Op: opClock}, graceFor)
		if err != nil {
			return err
		}
		if took := nowNs() - before; took < least {
			least, offset = took, before+took/2-rep.NowNs
		}
	}
	if offset <= least && offset >= -least { // the same clock
		return nil
	}
	if !f.remote {
		return fmt.Errorf("bench: %s has another clock than this process", a.name)
	}
	res.ClockErrorUs = max(res.ClockErrorUs, least/2000+1)
	_, err := a.ask(ctx, &order{Op: opShift, ShiftNs: offset}, graceFor)
	return err
}

// processors are how many the load could have of so many of this machine, a loop
// in each of its processes, and how many that leaves the server.
func (f *fleet) processors(cpus int) (had, left float64) {
	if f.remote {
		return float64(len(f.agents)), float64(cpus)
	}
	loops := min(len(f.agents), cpus)
	return float64(loops), float64(max(cpus-loops, 1))
}

// nowNs is the clock that all processes of a load share.
func nowNs() int64 {
	_, ns := monotonic()
	return ns
}

// all gives each agent an order and waits for all reports. The error is the
// first; one that wraps errAgent makes the run invalid.
func (f *fleet) all(ctx context.Context, within time.Duration, orderOf func(i int) *order) ([]*report, error) {
	reports, errs := make([]*report, len(f.agents)), make([]error, len(f.agents))
	var asked sync.WaitGroup
	for i, a := range f.agents {
		asked.Go(func() { reports[i], errs[i] = a.ask(ctx, orderOf(i), within+f.grace) })
	}
	asked.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return reports, nil
}

// same gives all agents the same order.
func (f *fleet) same(ctx context.Context, within time.Duration, o order) ([]*report, error) {
	return f.all(ctx, within, func(int) *order { return &o })
}

// destination is what a fleet connects to.
type destination struct {
	to    []netip.AddrPort
	apart bool   // the addresses are servers that know nothing of each other
	key   []byte // the file with the key that signs tokens; nil for a bare one
	bare  bool
}

func (t *target) destination() (destination, error) {
	key, err := os.ReadFile(filepath.Join(t.keys, auth.DevKeyFile))
	return destination{to: t.addresses, apart: len(t.children) > 1, key: key}, err
}

// connect opens sessions 0 to n-1 and waits until all are caught up.
func (f *fleet) connect(ctx context.Context, s destination, n int) ([]*report, error) {
	return f.open(ctx, s, connectOrder{Total: n, Count: n, DevicesOf: -1, AtOnce: dialsAtOnce})
}

// open opens the sessions that o names, each agent a part of them.
func (f *fleet) open(ctx context.Context, s destination, o connectOrder) ([]*report, error) {
	if err := f.prepare(ctx, s, o); err != nil {
		return nil, err
	}
	return f.dial(ctx, o)
}

// prepare readies the sessions that o names, tokens and all.
func (f *fleet) prepare(ctx context.Context, s destination, o connectOrder) error {
	if err := f.reach(s); err != nil {
		return err
	}
	o.To, o.Key, o.Bare, o.Apart = s.to, s.key, s.bare, s.apart
	f.total = o.Total
	f.parts = make([]int, len(f.agents))
	_, err := f.all(ctx, time.Duration(o.Count)*dialWithin, func(i int) *order {
		part := o
		part.First, part.Count = f.part(i, o)
		f.parts[i] = part.Count
		return &order{Op: opPrepare, Connect: &part}
	})
	return err
}

// reach says that agents on other machines cannot reach the server.
func (f *fleet) reach(s destination) error {
	for _, a := range f.agents {
		for _, to := range s.to {
			if a.far && to.Addr().IsLoopback() {
				return fmt.Errorf("bench: %s is on another machine, and the server listens on %v: name an address of this machine that it reaches with --server-listen", a.name, to.Addr())
			}
		}
	}
	return nil
}

// part is which of the sessions that o names are the i-th agent's.
func (f *fleet) part(i int, o connectOrder) (first, count int) {
	agents := len(f.agents)
	first = o.First + o.Count*i/agents
	return first, o.First + o.Count*(i+1)/agents - first
}

// dial connects what was prepared by the same order.
func (f *fleet) dial(ctx context.Context, o connectOrder) ([]*report, error) {
	within := time.Duration(o.Count)*dialWithin + settleFor
	if o.Rate > 0 {
		within += time.Duration(float64(o.Count) / o.Rate * 1e9)
	}
	return f.all(ctx, within, func(i int) *order {
		part := o
		_, part.Count = f.part(i, o)
		part.Rate, part.AtOnce = o.Rate*float64(part.Count)/float64(max(o.Count, 1)), max(o.AtOnce/len(f.agents), 1)
		return &order{Op: opConnect, Connect: &part}
	})
}

// count asks all agents what there is so far.
func (f *fleet) count(ctx context.Context) (counts, error) {
	reports, err := f.same(ctx, 0, order{Op: opCounts})
	return sumCounts(reports), err
}

func sumCounts(reports []*report) (sum counts) {
	for _, rep := range reports {
		sum.add(rep.Counts)
	}
	return sum
}

// drainEvery is how often agents are asked whether everything has come.
const drainEvery = 20 * time.Millisecond

// drain waits until the counts are as done wants, or for a time at most. It
// returns them, and whether they were.
func (f *fleet) drain(ctx context.Context, atMost time.Duration, done func(counts) bool) (counts, bool, error) {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for until := time.Now().Add(atMost); ; {
		now, err := f.count(ctx)
		if err != nil {
			return now, false, err
		}
		if done(now) {
			return now, true, nil
		}
		if time.Now().After(until) {
			return now, false, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return now, false, ctx.Err()
		}
	}
}

// latencies collects and merges the histograms of all agents.
func (f *fleet) latencies(ctx context.Context) (map[string]*hdrhistogram.Histogram, error) {
	reports, err := f.same(ctx, 0, order{Op: opLatencies})
	if err != nil {
		return nil, err
	}
	merged := map[string]*hdrhistogram.Histogram{"connect": newHistogram(), "delivery": newHistogram(), "ack": newHistogram(), "load_lag": newHistogram()}
	for i, rep := range reports {
		for name, into := range merged {
			h, err := decodeHistogram(rep.Latencies[name])
			if err != nil {
				return nil, fmt.Errorf("%w: %s's %s: %v", errAgent, f.agents[i].name, name, err)
			}
			if dropped := into.Merge(h); dropped > 0 {
				return nil, fmt.Errorf("%w: %s's %s has values above an hour", errAgent, f.agents[i].name, name)
			}
		}
	}
	return merged, nil
}

// close ends all agents. What they still do ends with them, at the same time.
func (f *fleet) close() {
	for _, a := range f.agents {
		a.link.Close()
	}
	for _, a := range f.agents {
		a.close()
	}
	runtime.GC() // histograms and sessions of an agent in this process
}
