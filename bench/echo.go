package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	echoRound   = 3 * time.Second // of one target at one depth
	echoWarmup  = time.Second     // before each, at most
	echoIdle    = 10_000          // connections whose memory is taken
	echoQuiet   = 5 * time.Second // before it is taken
	echoFew     = 2_000           // connections that are quiet after a second
	echoRepeats = 2               // of a round that others disturbed
	// loadLimit and serverLimit are shares of a processor: a load that used more
	// of its own than the one while the server used less of its than the other
	// was the limit itself. Where both are full they are matched.
	loadLimit   = 0.95
	serverLimit = 0.95
)

var echoDepths = []int{1, 16, 64}

// Spread is what several rounds found.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf is that of a figure's rounds.
func SpreadOf(values []float64) (s Spread) {
	if len(values) == 0 {
		return s
	}
	v := slices.Sorted(slices.Values(values))
	return Spread{(v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[0], v[len(v)-1]}
}

// EchoResult is what echo found of one target at one depth; one line of JSON.
// The load is a closed loop: it measures throughput for processor time, and its
// latencies are those of as many messages in flight.
type EchoResult struct {
	Profile     string    `json:"profile"`
	When        time.Time `json:"when"`
	Machine     Machine   `json:"machine"`
	Target      string    `json:"target"`
	Variant     string    `json:"variant,omitempty"` // the peer's settings, see bench/peers/README.md
	Command     []string  `json:"command"`
	Program     string    `json:"program"`               // the first bytes of its SHA-256, as Machine.Binary has ours: a peer that was built again has another
	Environment []string  `json:"environment,omitempty"` // beside the load's own
	Speaks      string    `json:"speaks,omitempty"`      // if it is no echo of WebSocket messages
	Depth       int       `json:"depth"`                 // messages in flight on each connection
	Connections int       `json:"connections"`
	SizeBytes   int       `json:"size_bytes"`
	Pinned      bool      `json:"pinned"` // server and load had a processor each
	Rounds      int       `json:"rounds"`
	Repeated    int       `json:"repeated,omitempty"` // rounds that others disturbed, done again
	Seconds     float64   `json:"seconds"`            // of all rounds
	Valid       bool      `json:"valid"`
	Invalid     []string  `json:"invalid,omitempty"`
	Noisy       []string  `json:"noisy,omitempty"` // rounds that stayed disturbed

	Messages     uint64      `json:"messages"` // in all rounds
	PerSecond    Spread      `json:"messages_per_second"`
	PerCPUSecond Spread      `json:"messages_per_server_cpu_second"`
	ServerCPUUs  Spread      `json:"server_cpu_us_per_message"`
	LoadCPUUs    Spread      `json:"load_cpu_us_per_message"`
	ServerCores  Spread      `json:"server_cores"`
	LoadCores    Spread      `json:"load_cores"`
	BallastCores Spread      `json:"ballast_cores"` // that nothing was done with, on the server's processor
	StolenCores  float64     `json:"stolen_cores"`  // most in a round
	ForeignCores float64     `json:"foreign_cores"` // the same
	Latency      Percentiles `json:"latency"`       // of all rounds, from a message's write to its echo
	Histogram    string      `json:"histogram,omitempty"`

	LoadCapacity float64 `json:"load_capacity_per_cpu_second,omitempty"` // messages that the load can do against the bare C echo at this depth
	RatioToC     *Spread `json:"ratio_to_bare_c,omitempty"`              // of messages for processor time, round by round
	RatioToGo    *Spread `json:"ratio_to_bare_go,omitempty"`

	IdleConnections int     `json:"idle_connections"` // 0: memory was not taken
	IdleEmptyBytes  int64   `json:"idle_empty_bytes"` // resident before any connection
	IdleBytes       int64   `json:"idle_bytes"`       // resident with them, after one echo each
	BytesPerIdle    float64 `json:"bytes_per_idle_connection"`
}

// echoFigures are one round's.
type echoFigures struct {
	messages        uint64
	seconds         float64
	server, load    time.Duration
	ballast         time.Duration
	stolen, foreign float64 // cores
}

func (f *echoFigures) perCPUSecond() float64 {
	return float64(f.messages) / max(f.server.Seconds(), 1.0/ticksASec)
}

// wasLimit says whether the load was what held the round back.
func (f *echoFigures) wasLimit(pinned bool) string {
	left := 1.0
	if pinned { // there is a ballast
		left -= ballastShare
	}
	return wasLimit(f.load.Seconds()/f.seconds, 1, f.server.Seconds()/f.seconds, left)
}

// wasLimit says whether a load filled the processors that it could have while
// the server did not fill its own.
func wasLimit(load, had, server, left float64) string {
	if load <= loadLimit*had || server >= serverLimit*left {
		return ""
	}
	return fmt.Sprintf("the load was the limit: it used %.2f processors of %.3g, the server %.2f of %.3g", load, had, server, left)
}

// echoPlan is how much is measured.
type echoPlan struct {
	connections, size int
	depths            []int
	rounds            int
	warmup, round     time.Duration
	idle              int
	quiet             time.Duration
	repeats           int
}

func planEcho(o *Options) echoPlan {
	setDefault(&o.Connections, 1_000)
	setDefault(&o.Duration, 5*echoRound)
	setDefault(&o.EchoIdle, echoIdle)
	p := echoPlan{connections: o.Connections, size: o.Size, depths: echoDepths, warmup: min(o.Warmup, echoWarmup), idle: o.EchoIdle, quiet: echoQuiet, repeats: echoRepeats}
	if o.Target != "" {
		p.repeats = 0
	}
	if p.idle <= echoFew {
		p.quiet = time.Second
	}
	p.rounds = max(1, int(o.Duration/echoRound))
	p.round = o.Duration / time.Duration(p.rounds)
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		p.idle = min(p.idle, int(min(files.Cur, 1<<30))/2)
	}
	return p
}

// compareEchoes compares servers that send back what they get: ours, the peers, and two
// that do nothing else, as the limit.
func compareEchoes(ctx context.Context, o *Options, res *Result) error {
	targets, err := echoTargets(o)
	if err != nil {
		return err
	}
	server, unpin, err := pinEcho()
	if err != nil {
		return err
	}
	defer unpin()
	ballast, err := startBallast(server)
	if err != nil {
		return err
	}
	defer ballast.stop()
	b := &echoBench{plan: planEcho(o), dir: o.Dir, cpu: server, ballast: ballast, progress: o.Progress, cpus: res.Machine.CPUs}
	return b.measure(ctx, targets, res)
}

// echoBench is one comparison.
type echoBench struct {
	plan     echoPlan
	dir      string
	cpu      int // the server's; -1 is any
	ballast  ballast
	cpus     int
	progress io.Writer
}

// echoSeries are the rounds of a target at a depth.
type echoSeries struct {
	line    EchoResult
	figures []echoFigures
	latency *hdrhistogram.Histogram
}

// measure takes memory first, then round after round, each with all targets.
func (b *echoBench) measure(ctx context.Context, targets []echoTarget, res *Result) error {
	series := make([][]*echoSeries, len(targets))
	for i := range targets {
		base := EchoResult{
			Profile: res.Profile, When: res.When, Machine: res.Machine, Target: targets[i].name, Variant: targets[i].variant, Command: targets[i].command, Program: programSum(targets[i].command[0]),
			Environment: targets[i].env, Connections: b.plan.connections, SizeBytes: b.plan.size, Pinned: b.cpu >= 0, Rounds: b.plan.rounds,
		}
		if err := b.idle(ctx, &targets[i], &base); err != nil {
			return fmt.Errorf("%v: %w", &targets[i], err)
		}
		for _, depth := range b.plan.depths {
			s := &echoSeries{line: base, latency: newHistogram()}
			s.line.Depth = depth
			series[i] = append(series[i], s)
		}
	}
	for round := range b.plan.rounds {
		for i := range targets {
			fmt.Fprintf(b.progress, "round %d of %d: %v\n", round+1, b.plan.rounds, &targets[i])
			if err := b.round(ctx, &targets[i], series[i]); err != nil {
				return fmt.Errorf("%v: %w", &targets[i], err)
			}
		}
	}
	for i := range targets {
		for d, s := range series[i] {
			s.summarize(bareOf(bareC, targets, series, d), bareOf(bareGo, targets, series, d))
			res.Echo = append(res.Echo, s.line)
			for _, why := range s.line.Invalid {
				res.Invalid = append(res.Invalid, fmt.Sprintf("%v, depth %d: %s", &targets[i], s.line.Depth, why))
			}
		}
	}
	return nil
}

// bareOf is the series of a bare echo at the d-th depth, its best settings'; nil
// if it is not there.
func bareOf(name string, targets []echoTarget, series [][]*echoSeries, d int) *echoSeries {
	i := slices.IndexFunc(targets, func(t echoTarget) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return series[i][d]
}

// up starts a target and connects n to it.
func (b *echoBench) up(t *echoTarget, n, depth int) (*target, *echoLoad, error) {
	s, err := startEcho(t, b.dir, b.cpu)
	if err != nil {
		return nil, nil, err
	}
	e, err := newEchoLoad(s.speaks, b.plan.size)
	if err == nil {
		if err = e.connect(s.addresses[0], n, depth); err == nil {
			return s, e, nil
		}
		e.loop.close()
		err = fmt.Errorf("%w (%s)", err, tail(s.stderr))
	}
	s.kill()
	return nil, nil, err
}

// idle takes the memory of connections that have echoed once and are left alone.
func (b *echoBench) idle(ctx context.Context, t *echoTarget, line *EchoResult) error {
	if b.plan.idle <= 0 {
		return nil
	}
	fmt.Fprintf(b.progress, "%v: memory of %d idle connections\n", t, b.plan.idle)
	s, err := startEcho(t, b.dir, b.cpu)
	if err != nil {
		return err
	}
	defer s.kill()
	e, err := newEchoLoad(s.speaks, b.plan.size)
	if err != nil {
		return err
	}
	defer e.loop.close()
	line.IdleConnections, line.IdleEmptyBytes = b.plan.idle, s.resident()
	if err := e.connect(s.addresses[0], b.plan.idle, 1); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(s.stderr))
	}
	e.start(1)
	if err := e.drain(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.plan.quiet):
	}
	line.IdleBytes = s.resident()
	line.BytesPerIdle = float64(line.IdleBytes-line.IdleEmptyBytes) / float64(b.plan.idle)
	return nil
}

// round measures a target at every depth.
func (b *echoBench) round(ctx context.Context, t *echoTarget, series []*echoSeries) error {
	s, e, err := b.up(t, b.plan.connections, slices.Max(b.plan.depths))
	if err != nil {
		return err
	}
	defer s.kill()
	defer e.loop.close()
	for _, at := range series {
		at.line.Speaks = s.speaks
		for again := 0; ; again++ {
			f, err := b.once(ctx, s, e, at.line.Depth)
			if err != nil {
				return fmt.Errorf("%w (%s)", err, tail(s.stderr))
			}
			noise := noisy(f.stolen, f.foreign, b.cpus)
			if len(noise) > 0 && again < b.plan.repeats {
				at.line.Repeated++
				continue
			}
			at.line.Noisy = append(at.line.Noisy, noise...)
			at.figures = append(at.figures, f)
			at.latency.Merge(e.latency)
			break
		}
	}
	return nil
}

// once warms up and measures at a depth.
func (b *echoBench) once(ctx context.Context, s *target, e *echoLoad, depth int) (f echoFigures, err error) {
	e.start(depth)
	if err := e.until(ctx, b.plan.warmup); err != nil {
		return f, err
	}
	e.latency.Reset()
	began, echoed := e.loop.clock(), e.echoed
	server, load, ballast, stolen, foreign := s.cpu(), processCPU(os.Getpid()), b.ballast.cpu(), stolenTime(), foreignTime()
	if err := e.until(ctx, b.plan.round); err != nil {
		return f, err
	}
	f.server, f.load, f.ballast = s.cpu()-server, processCPU(os.Getpid())-load, b.ballast.cpu()-ballast
	f.messages, f.seconds = e.echoed-echoed, float64(e.loop.clock()-began)/1e9
	f.stolen, f.foreign = (stolenTime()-stolen).Seconds()/f.seconds, (foreignTime()-foreign).Seconds()/f.seconds
	return f, e.drain()
}

// summarize fills in the line from its rounds and those of the bare echoes.
func (s *echoSeries) summarize(c, goBare *echoSeries) {
	l := &s.line
	of := func(figure func(f *echoFigures) float64) Spread {
		var values []float64
		for i := range s.figures {
			values = append(values, figure(&s.figures[i]))
		}
		return SpreadOf(values)
	}
	for i := range s.figures {
		f := &s.figures[i]
		l.Messages += f.messages
		l.Seconds += f.seconds
		l.StolenCores, l.ForeignCores = max(l.StolenCores, f.stolen), max(l.ForeignCores, f.foreign)
		if why := f.wasLimit(l.Pinned); why != "" {
			l.Invalid = append(l.Invalid, fmt.Sprintf("round %d: %s", i+1, why))
		}
		if f.messages == 0 {
			l.Invalid = append(l.Invalid, fmt.Sprintf("round %d: no message came back", i+1))
		}
	}
	if !l.Pinned {
		l.Invalid = append(l.Invalid, "server and load shared a processor: there is only one")
	}
	l.Valid = len(l.Invalid) == 0
	l.PerSecond = of(func(f *echoFigures) float64 { return float64(f.messages) / f.seconds })
	l.PerCPUSecond = of((*echoFigures).perCPUSecond)
	l.ServerCPUUs = of(func(f *echoFigures) float64 { return f.server.Seconds() * 1e6 / float64(max(f.messages, 1)) })
	l.LoadCPUUs = of(func(f *echoFigures) float64 { return f.load.Seconds() * 1e6 / float64(max(f.messages, 1)) })
	l.ServerCores = of(func(f *echoFigures) float64 { return f.server.Seconds() / f.seconds })
	l.LoadCores = of(func(f *echoFigures) float64 { return f.load.Seconds() / f.seconds })
	l.BallastCores = of(func(f *echoFigures) float64 { return f.ballast.Seconds() / f.seconds })
	l.Latency = percentiles(s.latency)
	if raw, err := s.latency.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err == nil {
		l.Histogram = string(raw)
	}
	l.RatioToC, l.RatioToGo = s.ratio(c), s.ratio(goBare)
	if c != nil {
		var capacity []float64
		for i := range c.figures {
			capacity = append(capacity, float64(c.figures[i].messages)/max(c.figures[i].load.Seconds(), 1.0/ticksASec))
		}
		l.LoadCapacity = SpreadOf(capacity).Median
	}
}

// ratio compares round by round: neighbours in time share their machine's mood.
func (s *echoSeries) ratio(to *echoSeries) *Spread {
	if to == nil {
		return nil
	}
	var values []float64
	for i := range s.figures {
		if per := to.figures[i].perCPUSecond(); per > 0 {
			values = append(values, s.figures[i].perCPUSecond()/per)
		}
	}
	r := SpreadOf(values)
	return &r
}

func writeLines(w io.Writer, lines []EchoResult) error {
	out := json.NewEncoder(w)
	for i := range lines {
		if err := out.Encode(&lines[i]); err != nil {
			return err
		}
	}
	return nil
}
