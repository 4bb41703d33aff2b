package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/internal/nearest"
)

// cmdBench measures a server that it starts itself, and prints one line of JSON.
func cmdBench(ctx context.Context, env *Env, args []string) int {
	o := bench.Options{Version: Version(), Progress: env.Stderr}
	fs := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	fs.IntVar(&o.Connections, "connections", 0, "sessions; 0 is the profile's own number")
	fs.Float64Var(&o.Rate, "rate", 0, "messages a second; 0 is the profile's own")
	fs.IntVar(&o.PerWrite, "per-write", 0, "messages a write; 0 is the profile's own")
	fs.IntVar(&o.Size, "size", 100, "bytes of content")
	fs.DurationVar(&o.Warmup, "warmup", 0, "time before it counts; 0 is 3s")
	fs.DurationVar(&o.Duration, "duration", 0, "time that counts; 0 is the profile's own")
	fs.StringVar(&o.Dir, "dir", "", "folder for the server's data; empty is a temporary one")
	fs.StringArrayVar(&o.ServerFlags, "server-flag", nil, "flag for the server, such as --server-flag=--engine-loops=1")
	usage := "rookery bench PROFILE [flags]\n\nProfiles:\n" + benchProfiles()
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	if fs.NArg() != 1 {
		env.Errorf("bench takes one profile of: %s", strings.Join(benchNames(), ", "))
		return ExitUsage
	}
	o.Profile = fs.Arg(0)
	if !known(o.Profile, benchNames()) {
		env.Errorf("no such profile: %s%s", o.Profile, nearest.Hint(o.Profile, benchNames()))
		return ExitUsage
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	result, err := bench.Run(ctx, o)
	if result != nil {
		result.WriteJSON(env.Stdout)
	}
	switch {
	case errors.Is(err, bench.ErrInvalid):
		env.Errorf("%v: %s", err, strings.Join(result.Invalid, "; "))
		return ExitFailed
	case err != nil:
		env.Errorf("%v", err)
		return ExitFailed
	}
	return ExitOK
}

func benchProfiles() string {
	var b strings.Builder
	for _, p := range bench.Profiles {
		fmt.Fprintf(&b, "  %-9s %s\n", p.Name, p.What)
	}
	return b.String()
}

func benchNames() []string {
	var names []string
	for _, p := range bench.Profiles {
		names = append(names, p.Name)
	}
	return names
}

func known(name string, names []string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
