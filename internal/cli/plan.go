package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/nearest"
	"github.com/rookery-chat/rookery/internal/plan"
)

// planFlags are the arguments of rookery plan.
type planFlags struct {
	users, online, messages, retention, size string
	replication, peak                        float64
	measured, set                            []string
	compare, page, scenario, check           string
	simulate, json                           bool
	seed                                     uint64
}

// planOutput is what --json prints.
type planOutput struct {
	Plan     *plan.Plan      `json:"plan"`
	Outcomes []*plan.Outcome `json:"outcomes,omitempty"`
}

// cmdPlan computes a fleet from measured figures, plays what happens to it, or
// holds predictions against measurements.
func cmdPlan(_ context.Context, env *Env, args []string) int {
	var f planFlags
	fs := f.flags()
	usage := "rookery plan [--measured FILE.json...] [--set name=value...] [--simulate] [flags]\n       rookery plan --check FILE.json"
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	if faults := f.faults(fs); len(faults) > 0 {
		for _, fault := range faults {
			env.Errorf("%s", fault)
		}
		return ExitUsage
	}
	if f.check != "" {
		return f.runCheck(env)
	}
	load, err := f.load()
	if err != nil {
		env.Errorf("%v", err)
		return ExitUsage
	}
	lines, err := readMeasured(f.measured)
	if err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	return f.run(env, load, lines)
}

func (f *planFlags) flags() *pflag.FlagSet {
	fs := pflag.NewFlagSet("plan", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.StringVar(&f.users, "users", "500M", "people who use it")
	fs.StringVar(&f.online, "online", "20%", "of them connected at once")
	fs.StringVar(&f.messages, "messages", "100B/day", "messages, a second (/s), minute (/min), hour (/h) or /day")
	fs.StringVar(&f.retention, "retention", "5y", "how long messages are kept: days (d), weeks (w), years of 365 days (y)")
	fs.StringVar(&f.size, "size", "100", "bytes of content of a message")
	fs.Float64Var(&f.replication, "replication", 3, "copies in the store")
	fs.Float64Var(&f.peak, "peak", 1, "the busiest second, of the mean")
	fs.StringArrayVar(&f.measured, "measured", nil, "file of lines that rookery bench wrote; more may follow as arguments. Without, figures that are built in")
	fs.StringArrayVar(&f.set, "set", nil, "a figure or an assumption, such as --set cpu_use=60%")
	fs.StringVar(&f.compare, "compare", "", "set a fleet beside it: textbook")
	fs.BoolVar(&f.simulate, "simulate", false, "play what happens to the fleet")
	fs.StringVar(&f.scenario, "scenario", "all", "what happens: "+strings.Join(plan.ScenarioNames(), ", ")+" or all")
	fs.Uint64Var(&f.seed, "seed", 1, "of the simulation; the same one gives the same answer")
	fs.StringVar(&f.check, "check", "", "file of lines that rookery bench wrote: predict each from the others, by formula and by simulation")
	fs.BoolVar(&f.json, "json", false, "print JSON")
	fs.StringVar(&f.page, "html", "", "write a page, in one file, to this path")
	return fs
}

// faults are what is wrong with flags that parse.
func (f *planFlags) faults(fs *pflag.FlagSet) []string {
	var found []string
	if f.compare != "" && f.compare != "textbook" {
		found = append(found, fmt.Sprintf("--compare knows textbook, not %q%s", f.compare, nearest.Hint(f.compare, []string{"textbook"})))
	}
	if fs.NArg() > 0 && !fs.Changed("measured") {
		found = append(found, fmt.Sprintf("plan takes no arguments but more files after --measured, got %q", fs.Args()))
	}
	if fs.Changed("scenario") && !f.simulate {
		found = append(found, "--scenario is for --simulate")
	}
	if f.check != "" && (f.simulate || f.page != "" || len(f.measured) > 0) {
		found = append(found, "--check goes alone, or with --json and --seed")
	}
	f.measured = append(f.measured, fs.Args()...)
	return found
}

// load reads the mission's numbers; all faults are told together.
func (f *planFlags) load() (plan.Load, error) {
	l := plan.Load{Replication: f.replication, Peak: f.peak}
	var faults []error
	read := func(flag string, parse func(string) (float64, error), text string, to *float64) {
		var err error
		if *to, err = parse(text); err != nil {
			faults = append(faults, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	read("users", plan.ParseCount, f.users, &l.Users)
	read("online", plan.ParseShare, f.online, &l.Online)
	read("messages", plan.ParseRate, f.messages, &l.MessagesPerDay)
	read("retention", plan.ParseDays, f.retention, &l.RetentionDays)
	read("size", plan.ParseBytes, f.size, &l.SizeBytes)
	if len(faults) == 0 {
		return l, l.Validate()
	}
	return l, errors.Join(faults...)
}

func readMeasured(paths []string) ([]plan.Line, error) {
	var all []plan.Line
	for _, path := range paths {
		lines, err := readLines(path)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

func readLines(path string) ([]plan.Line, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return plan.ReadLines(file, path)
}

// run computes, plays and prints.
func (f *planFlags) run(env *Env, load plan.Load, lines []plan.Line) int {
	measured, err := plan.NewMeasured(lines)
	if err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	out := planOutput{}
	if out.Plan, err = plan.New(load, measured, f.set); err != nil {
		env.Errorf("%v", err)
		return ExitUsage
	}
	if f.compare != "" {
		out.Plan.CompareTextbook()
	}
	if f.simulate {
		if out.Outcomes, err = out.Plan.Simulate(f.scenario, f.seed); err != nil {
			env.Errorf("%v", err)
			return ExitUsage
		}
	}
	if f.page != "" {
		if err := writePage(f.page, out); err != nil {
			env.Errorf("%v", err)
			return ExitFailed
		}
		fmt.Fprintf(env.Stderr, "wrote %s\n", f.page)
	}
	if f.json {
		return writeJSON(env, out)
	}
	return f.print(env, out)
}

// print writes the plan, or with --simulate what happened to it.
func (f *planFlags) print(env *Env, out planOutput) int {
	err := error(nil)
	if !f.simulate {
		err = out.Plan.WriteText(env.Stdout)
	}
	for i, o := range out.Outcomes {
		if i > 0 {
			fmt.Fprintln(env.Stdout)
		}
		err = errors.Join(err, o.WriteText(env.Stdout))
	}
	if err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	return ExitOK
}

func writePage(path string, out planOutput) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(out.Plan.WritePage(file, out.Outcomes), file.Close())
}

func writeJSON(env *Env, v any) int {
	e := json.NewEncoder(env.Stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	return ExitOK
}

// runCheck holds predictions against a file of measurements.
func (f *planFlags) runCheck(env *Env) int {
	lines, err := readLines(f.check)
	if err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	checks, err := plan.CheckLines(lines, f.seed)
	if err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	if f.json {
		return writeJSON(env, checks)
	}
	if err := plan.WriteChecks(env.Stdout, checks, lines); err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	return ExitOK
}
