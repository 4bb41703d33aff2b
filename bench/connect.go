package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	connectRounds = 3
	connectRate   = 1_000 // a second, where each is due
	dialLag       = 5 * time.Millisecond
	closedWithin  = 60 * time.Second
)

// The servers and ways of connect.
const (
	serverBare = "bare"        // `rookery echo`: accept and handshake
	serverNew  = "rookery-new" // devices that the server has never seen, which it writes durably
	serverFull = "rookery"     // devices that it knows, with the tokens that they had
	wayStorm   = "storm"
	wayRate    = "rate"
)

// connecting measures connections: as fast as they go, and at a rate; up to
// being caught up, and beside it up to the handshake on a server that does
// nothing else, in turns.
func connecting(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 5_000)
	setDefault(&o.Rate, connectRate)
	bare, err := startBare(o)
	if err != nil {
		return err
	}
	defer bare.kill()
	full, err := start(o, res)
	if err != nil {
		return err
	}
	defer full.kill()
	f, err := startFleet(ctx, o, res, o.Connections)
	if err != nil {
		return err
	}
	defer f.close()
	res.Connections, res.Rate = o.Connections, o.Rate
	to, err := full.destination()
	if err != nil {
		return err
	}
	c := &connectRun{o: o, f: f, raw: map[string]*hdrhistogram.Histogram{}, bare: bare, full: full, places: map[string]destination{serverBare: {to: bare.addresses, bare: true}, serverNew: to, serverFull: to}}
	if err := c.all(ctx, res); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(full.stderr))
	}
	return full.stop()
}

// connectRun is the profile on its way.
type connectRun struct {
	o          *Options
	f          *fleet
	bare, full *target
	places     map[string]destination
	raw        map[string]*hdrhistogram.Histogram // of all rounds, by what they are of
}

func (c *connectRun) all(ctx context.Context, res *Result) error {
	first, err := c.rounds(ctx, wayStorm, 1, serverNew) // before the devices are known
	if err != nil {
		return err
	}
	storm, err := c.rounds(ctx, wayStorm, connectRounds, serverBare, serverFull)
	if err != nil {
		return err
	}
	paced, err := c.rounds(ctx, wayRate, 1, serverBare, serverFull)
	if err != nil {
		return err
	}
	compare(&storm[0], &first[0])
	compare(&storm[0], &storm[1])
	compare(&paced[0], &paced[1])
	res.Connects = slices.Concat(storm, first, paced)
	for i := range res.Connects {
		c.judge(res, &res.Connects[i])
	}
	res.LoadLag = percentiles(c.raw["load_lag"])
	for name, h := range c.raw {
		if err := res.KeepHistogram(name, h); err != nil {
			return err
		}
	}
	return nil
}

// judge says what is wrong with a server's figures. Where the load was the limit
// what a connect cost the server stands, but how many there were a second does not.
func (c *connectRun) judge(res *Result, x *ConnectFigures) {
	if x.Incomplete > 0 {
		res.Invalid = append(res.Invalid, fmt.Sprintf("%d of %d connections to %s (%s) were not up in time", x.Incomplete, x.Count, x.Server, x.Way))
	}
	if why := fellBehind(x.LoadLag, dialLag); why != "" {
		res.Invalid = append(res.Invalid, fmt.Sprintf("%s (%s): %s", x.Server, x.Way, why))
	}
	had, left := c.f.processors(res.Machine.CPUs)
	newest := len(x.Rounds) - 1
	if why := wasLimit(x.LoadCores, had, x.Rounds[newest]*x.RoundsCPU[newest]/1e6, left); why != "" {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%s (%s): %s", x.Server, x.Way, why))
	}
}

// rounds connects to servers in turns.
func (c *connectRun) rounds(ctx context.Context, way string, rounds int, servers ...string) ([]ConnectFigures, error) {
	figures := make([]ConnectFigures, len(servers))
	for range rounds {
		for i, name := range servers {
			fmt.Fprintf(c.o.Progress, "%s: %s\n", way, name)
			figures[i].Server, figures[i].Way, figures[i].Count = name, way, c.o.Connections
			if err := c.round(ctx, &figures[i]); err != nil {
				return nil, err
			}
		}
	}
	for i := range figures {
		figures[i].PerSecond, figures[i].CPUUs = median(figures[i].Rounds), median(figures[i].RoundsCPU)
	}
	return figures, nil
}

func (c *connectRun) round(ctx context.Context, x *ConnectFigures) error {
	t := c.full
	if x.Server == serverBare {
		t = c.bare
	}
	open := t.descriptors()
	want := connectOrder{Count: x.Count, Total: x.Count, DevicesOf: -1, AtOnce: dialsAtOnce, Some: true, Returning: true}
	if x.Way == wayRate {
		want.Rate = c.o.Rate
	}
	if err := c.f.prepare(ctx, c.places[x.Server], want); err != nil {
		return err
	}
	cpu := t.cpu()
	reports, err := c.f.dial(ctx, want)
	if err != nil {
		return err
	}
	used := t.cpu() - cpu
	h, err := c.f.latencies(ctx)
	if err != nil {
		return err
	}
	x.Latency = percentiles(c.merge(fmt.Sprintf("connect %s, %s", x.Server, x.Way), h["connect"]))
	if x.Way == wayRate {
		x.LoadLag = percentiles(h["load_lag"])
		c.merge("load_lag", h["load_lag"])
	}
	seconds, load := 0.0, time.Duration(0)
	for _, rep := range reports {
		seconds, load = max(seconds, rep.Seconds), load+time.Duration(rep.CPUNs)
	}
	up := sumCounts(reports).Up
	x.Incomplete += x.Count - up
	x.LoadCores = load.Seconds() / seconds
	x.Rounds = append(x.Rounds, float64(up)/seconds)
	x.RoundsCPU = append(x.RoundsCPU, used.Seconds()*1e6/float64(max(up, 1)))
	if _, err := c.f.same(ctx, 0, order{Op: opCut}); err != nil {
		return err
	}
	return t.awaitClosed(ctx, open)
}

// merge adds a round's latencies to those of the rounds before it.
func (c *connectRun) merge(name string, h *hdrhistogram.Histogram) *hdrhistogram.Histogram {
	into, ok := c.raw[name]
	if !ok {
		into = newHistogram()
		c.raw[name] = into
	}
	into.Merge(h)
	return into
}

// compare relates a server's rounds to the bare one's of the same round.
func compare(bare, x *ConnectFigures) {
	var rates, cpus []float64
	for i := range x.Rounds {
		rates = append(rates, x.Rounds[i]/bare.Rounds[i])
		cpus = append(cpus, bare.RoundsCPU[i]/max(x.RoundsCPU[i], 0.001))
	}
	x.RatioRate, x.RatioCPU = median(rates), median(cpus)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// startBare runs `rookery echo` of this very program, at the priority that the
// chat server has.
func startBare(o *Options) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startEcho(&echoTarget{name: serverBare, command: []string{"nice", "-n", "10", self, "echo", "--listen=" + o.address(), "--log-level=warn"}}, o.Dir, -1)
}

// descriptors is how many the server has open.
func (t *target) descriptors() (n int) {
	for _, pid := range t.pids() {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		n += len(entries)
	}
	return n
}

// awaitClosed waits until the server has closed what was opened since it had so
// many descriptors; a few files of its own do not count.
func (t *target) awaitClosed(ctx context.Context, before int) error {
	const own = 64
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(closedWithin); t.descriptors() > before+own; {
		if time.Now().After(until) {
			return fmt.Errorf("bench: the server has %d descriptors open after all connections were closed, %d before", t.descriptors(), before)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
