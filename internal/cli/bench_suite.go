package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/bench/suite"
)

// benchRuns is where the suite leaves its runs.
var benchRuns = filepath.Join(".cache", "bench")

// suiteFlags are what the suite takes beside profiles.
type suiteFlags struct{ run, only string }

func (f *suiteFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.run, "run", "", "everything: folder that keeps the rounds; a run in it goes on. Empty is one of this program's own in .cache/bench")
	fs.StringVar(&f.only, "only", "", "everything: the steps whose names begin so, such as echo/")
}

// benchAll measures everything, or goes on with it.
func benchAll(ctx context.Context, env *Env, f suiteFlags, o bench.Options, quick bool) int {
	p, err := suite.NewPlan(suite.Choice{Quick: quick, Peers: o.Peers, Cluster: o.Cluster, Only: f.only})
	if err != nil {
		env.Errorf("%v", err)
		return ExitUsage
	}
	dir := f.run
	if dir == "" {
		dir = filepath.Join(benchRuns, p.Name+"-"+bench.Fingerprint(o.Version).Binary)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := suite.Run(ctx, p, dir, o.Version, env.Stderr, isTerminal(env.Stderr))
	switch {
	case errors.Is(err, context.Canceled):
		env.Errorf("%s is kept: the same command goes on with it", dir)
		return ExitInterrupted
	case err != nil:
		env.Errorf("%v", err)
		return ExitFailed
	}
	suite.WriteTargets(env.Stdout, s)
	fmt.Fprintln(env.Stdout, dir)
	return ExitOK
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// cmdBenchDiff compares two runs. It fails when something got worse.
func cmdBenchDiff(_ context.Context, env *Env, args []string) int {
	fs := pflag.NewFlagSet("bench diff", pflag.ContinueOnError)
	usage := "rookery bench diff A B\n\nWhat changed from run A to run B beyond the spread of their rounds. A run is its folder, or the summary.json of it.\n" +
		"The exit code is 1 when something got worse."
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	if fs.NArg() != 2 {
		env.Errorf("bench diff takes two runs")
		return ExitUsage
	}
	var runs [2]*suite.Summary
	for i := range runs {
		var err error
		if runs[i], err = suite.Load(fs.Arg(i)); err != nil {
			env.Errorf("%v", err)
			return ExitUsage
		}
	}
	if suite.WriteDiff(env.Stdout, runs[0], runs[1], suite.Diff(runs[0], runs[1])) {
		return ExitFailed
	}
	return ExitOK
}
