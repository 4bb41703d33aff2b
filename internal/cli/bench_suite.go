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
func benchAll(ctx context.Context, env *Env, dir string, o bench.Options, c suite.Choice) int {
	p, err := suite.NewPlan(c)
	if err != nil {
		env.Errorf("%v", err)
		return ExitUsage
	}
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
	if _, err := os.Stat(peersDocument); err != nil { // not in the source tree, where its page goes
		return ExitOK
	}
	return writeReport(env, dir, reportPage)
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

// peersDocument has the table of the peers' settings and why they are so.
var peersDocument = filepath.Join("bench", "peers", "README.md")

// reportPage is where a run's page goes.
var reportPage = filepath.Join("bench", "report", "index.html")

// cmdBenchReport writes the page of a run.
func cmdBenchReport(_ context.Context, env *Env, args []string) int {
	fs := pflag.NewFlagSet("bench report", pflag.ContinueOnError)
	out := fs.String("out", reportPage, "the page")
	if code, ok := parseFlags(env, fs, "rookery bench report FOLDER [flags]\n\nOne page of a run, finished or not, that needs no server and asks nobody else.", args); !ok {
		return code
	}
	if fs.NArg() != 1 {
		env.Errorf("bench report takes the folder of a run")
		return ExitUsage
	}
	return writeReport(env, fs.Arg(0), *out)
}

func writeReport(env *Env, dir, out string) int {
	settings, err := os.ReadFile(peersDocument)
	if err != nil {
		env.Errorf("the peers' settings: %v (run it in the source tree)", err)
		return ExitFailed
	}
	if err = os.MkdirAll(filepath.Dir(out), 0o777); err == nil {
		err = suite.WritePageFile(out, dir, string(settings))
	}
	if err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	fmt.Fprintln(env.Stdout, out)
	return ExitOK
}

// cmdBenchReadme puts the figures of a run into the documents that have a place
// for them.
func cmdBenchReadme(_ context.Context, env *Env, args []string) int {
	fs := pflag.NewFlagSet("bench readme", pflag.ContinueOnError)
	usage := "rookery bench readme RUN DOCUMENT...\n\nWrites a run's figures, with its date, commit and machine, into the marked place of documents such as README.md."
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	if fs.NArg() < 2 {
		env.Errorf("bench readme takes a run and documents")
		return ExitUsage
	}
	s, err := suite.Load(fs.Arg(0))
	if err != nil {
		env.Errorf("%v", err)
		return ExitUsage
	}
	for _, path := range fs.Args()[1:] {
		if err := replaceFigures(path, s); err != nil {
			env.Errorf("%s: %v", path, err)
			return ExitFailed
		}
	}
	return ExitOK
}

func replaceFigures(path string, s *suite.Summary) error {
	was, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	now, err := suite.ReplaceBlock(string(was), s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(now), 0o666)
}
