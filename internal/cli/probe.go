package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/probe"
)

// probeFlags are probe's own.
type probeFlags struct {
	*clientFlags
	to, toToken string
	every       time.Duration
	timeout     time.Duration
	count       int
	metrics     string
}

// cmdProbe sends from one user to another again and again, and measures. It
// exits with 0 when every round was in time.
func cmdProbe(ctx context.Context, env *Env, args []string) int {
	f, fs := newProbeFlags()
	if code, ok := parseFlags(env, fs, "rookery probe --url URL [flags]", args); !ok {
		return code
	}
	o, err := f.options(env, fs.Args())
	if err != nil {
		env.errorLines(err)
		return ExitUsage
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	metrics, err := f.listen(env)
	if err != nil {
		env.Errorf("--metrics: %v", err)
		return ExitUsage
	}
	defer metrics.stop()
	p, err := probe.New(ctx, o)
	if err != nil {
		env.errorLines(err)
		return ExitUsage
	}
	metrics.serve(p)
	summary, err := p.Run(ctx)
	f.printSummary(env, &summary)
	switch {
	case err != nil:
		env.Errorf("%v", err)
		return exitOf(err)
	case !summary.OK():
		env.Errorf("%d of %d rounds were not in time", summary.Rounds-summary.InTime, summary.Rounds)
		return ExitFailed
	}
	return ExitOK
}

func newProbeFlags() (*probeFlags, *pflag.FlagSet) {
	common, fs := newClientFlags("probe")
	f := &probeFlags{clientFlags: common}
	fs.Lookup("as").DefValue, f.as = "probe-sender", "probe-sender"
	fs.Lookup("as").Usage = "the user that sends"
	fs.Lookup("token").Usage = "a JWT for --as, or @FILE that holds one; without it the development key in --data signs both"
	for _, name := range []string{"state", "plain", "passphrase"} { // nothing is kept, and nothing encrypted
		fs.MarkHidden(name)
	}
	fs.Lookup("device").Usage = "the device that both are (default: probe)"
	fs.StringVar(&f.to, "to", "probe-receiver", "the user that receives")
	fs.StringVar(&f.toToken, "to-token", "", "the same for --to")
	fs.DurationVar(&f.every, "every", time.Second, "from the begin of a round to that of the next")
	fs.DurationVar(&f.timeout, "timeout", 5*time.Second, "in which a round has to be done")
	fs.IntVar(&f.count, "count", 0, "end after so many rounds; 0: never")
	fs.StringVar(&f.metrics, "metrics", "", "serve Prometheus metrics here, host:port")
	return f, fs
}

// options makes the probe's options of the flags.
func (f *probeFlags) options(env *Env, args []string) (o probe.Options, err error) {
	o = probe.Options{Every: f.every, Timeout: f.timeout, Count: f.count, Report: func(r probe.Round) { f.print(env, &r) }}
	var faults []error
	if len(args) > 0 {
		faults = append(faults, fmt.Errorf("probe takes no arguments, got %q", args))
	}
	if (f.token == "") != (f.toToken == "") {
		faults = append(faults, errors.New("give --token and --to-token, or neither"))
	}
	if f.every <= 0 || f.timeout <= 0 || f.count < 0 {
		faults = append(faults, errors.New("--every and --timeout are longer than 0s, --count is not negative"))
	}
	if f.as == f.to {
		faults = append(faults, errors.New("--as and --to are two users"))
	}
	receiver := *f.clientFlags
	receiver.as, receiver.token = f.to, f.toToken
	stateless := func(c *client.Options) { c.State = "" }
	var err1, err2 error
	o.Sender, _, err1 = f.clientFlags.options(stateless)
	o.Receiver, _, err2 = receiver.options(stateless)
	if err1 != nil && err2 != nil && err1.Error() == err2.Error() {
		err2 = nil
	}
	return o, errors.Join(append(faults, err1, err2)...)
}

// probeMetrics serves a probe's metrics; nil serves none.
type probeMetrics struct {
	server *admin.Server
	ended  sync.WaitGroup
}

func (f *probeFlags) listen(env *Env) (*probeMetrics, error) {
	if f.metrics == "" {
		return nil, nil
	}
	s, err := admin.Listen(admin.Options{Listen: f.metrics, Version: Version(), Level: new(slog.LevelVar)})
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(env.Stderr, "metrics http://%s/metrics\n", s.Addr())
	return &probeMetrics{server: s}, nil
}

func (m *probeMetrics) serve(p *probe.Probe) {
	if m == nil {
		return
	}
	m.server.Register(admin.Probe(p.Stats))
	m.server.Started()
	m.ended.Go(func() { _ = m.server.Serve() })
}

func (m *probeMetrics) stop() {
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeWait)
	defer cancel()
	_ = m.server.Stop(ctx)
	m.ended.Wait()
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// print prints a round, with the times of the steps that were reached.
func (f *probeFlags) print(env *Env, r *probe.Round) {
	reached := probe.Step(probe.Steps)
	if r.Err != nil {
		reached = r.Failed
	}
	if f.json {
		line := map[string]any{"type": "round", "round": r.Number, "at": rfc3339(time.Now()), "in_time": r.Err == nil, "id": r.ID.String()}
		for step := range reached {
			line[step.String()+"_ms"] = millis(r.Took[step])
		}
		if r.Err != nil {
			line["failed"], line["error"] = r.Failed.String(), r.Err.Error()
		}
		env.printJSON(line)
		return
	}
	fmt.Fprintf(env.Stdout, "round %d", r.Number)
	for step := range reached {
		fmt.Fprintf(env.Stdout, "  %v %.1f ms", step, millis(r.Took[step]))
	}
	if r.Err != nil {
		fmt.Fprintf(env.Stdout, "  NOT %v in %v: %v", r.Failed, f.timeout, r.Err)
	}
	fmt.Fprintln(env.Stdout)
}

func (f *probeFlags) printSummary(env *Env, s *probe.Summary) {
	if f.json {
		line := map[string]any{"type": "summary", "rounds": s.Rounds, "in_time": s.InTime, "late": s.Late, "lost": s.Lost}
		for i := range s.P50 {
			line[probe.Step(i).String()+"_ms"] = map[string]float64{"p50": millis(s.P50[i]), "p99": millis(s.P99[i]), "max": millis(s.Max[i])}
		}
		env.printJSON(line)
		return
	}
	fmt.Fprintf(env.Stdout, "%d rounds, %d in time, %d received late, %d not received\n", s.Rounds, s.InTime, s.Late, s.Lost)
	for i := range s.P50 {
		fmt.Fprintf(env.Stdout, "%-9v  p50 %.1f ms  p99 %.1f ms  max %.1f ms\n", probe.Step(i), millis(s.P50[i]), millis(s.P99[i]), millis(s.Max[i]))
	}
}
