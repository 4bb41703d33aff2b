package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/bench"
)

// cmdBenchGuard measures the stages, the loop and the whole path, and compares
// them with those that landed.
func cmdBenchGuard(ctx context.Context, env *Env, args []string) int {
	fs := pflag.NewFlagSet("bench guard", pflag.ContinueOnError)
	write := fs.Bool("write", false, "write the file instead: what is measured lands")
	usage := "rookery bench guard FILE [flags]\n\nMeasures the profile stages, the loop alone and the whole path, and fails when one takes much more processor time a message than the result in the file,\n" +
		"the least of its rounds as a multiple of the reference's least in the same run, or allocates more."
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	if fs.NArg() != 1 {
		env.Errorf("bench guard takes one file, such as bench/guard.json")
		return ExitUsage
	}
	landed := &bench.Result{}
	if !*write {
		text, err := os.ReadFile(fs.Arg(0))
		if err == nil {
			err = json.Unmarshal(text, landed)
		}
		if err == nil && len(landed.Stages) == 0 {
			err = fmt.Errorf("no result of stages is in it")
		}
		if err != nil {
			env.Errorf("%s: %v; bench guard --write makes it", fs.Arg(0), err)
			return ExitUsage
		}
	}
	measure := func() (*bench.Result, error) {
		return bench.MeasureGuard(ctx, bench.Options{Version: Version(), Progress: env.Stderr})
	}
	now, err := measure()
	if err == nil && !*write && len(bench.Guard(landed.Stages, now.Stages)) > 0 { // it may have been the machine's mood
		now, err = measure()
	}
	if err != nil {
		env.Errorf("%v", err)
		return ExitFailed
	}
	if *write {
		if err := bench.Landable(now); err != nil {
			env.Errorf("guard: nothing was written: %v", err)
			return ExitFailed
		}
		text, err := json.MarshalIndent(now, "", "\t")
		if err == nil {
			err = os.WriteFile(fs.Arg(0), append(text, '\n'), 0o666)
		}
		if err != nil {
			env.Errorf("%v", err)
			return ExitFailed
		}
		return ExitOK
	}
	for _, f := range now.Stages {
		fmt.Fprintf(env.Stdout, "%-10s %8.3f us at least  %6.2f of the reference  %6.2f allocations a message\n", f.Name, f.LeastUs, bench.LeastOfReference(now.Stages, f.Name), f.Allocations)
	}
	worse := bench.Guard(landed.Stages, now.Stages)
	for _, w := range worse {
		env.Errorf("guard: %s", w)
	}
	if len(worse) > 0 {
		return ExitFailed
	}
	return ExitOK
}
