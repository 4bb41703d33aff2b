package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/bench/suite"
	"github.com/rookery-chat/rookery/internal/nearest"
)

// What --quick measures with: enough to see that a profile runs.
const (
	quickConnections = 2000
	quickDuration    = 5 * time.Second
	quickWarmup      = time.Second
)

// benchCommands are what is said behind bench that is no profile.
var benchCommands = map[string]func(context.Context, *Env, []string) int{
	"agent": cmdBenchAgent, "diff": cmdBenchDiff, "report": cmdBenchReport, "readme": cmdBenchReadme, "guard": cmdBenchGuard,
}

// cmdBench measures a server that it starts itself, and prints one line of JSON
// for each profile that is named. Without any it measures everything.
func cmdBench(ctx context.Context, env *Env, args []string) int {
	if len(args) > 0 {
		if run, ok := benchCommands[args[0]]; ok {
			return run(ctx, env, args[1:])
		}
	}
	o := bench.Options{Version: Version(), Progress: env.Stderr}
	fs := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	fs.IntVar(&o.Connections, "connections", 0, "sessions; 0 is the profile's own number")
	fs.Float64Var(&o.Rate, "rate", 0, "messages a second; 0 is the profile's own")
	fs.IntVar(&o.PerWrite, "per-write", 0, "messages a write; 0 is the profile's own")
	fs.IntVar(&o.Size, "size", 100, "bytes of content")
	fs.BoolVar(&o.Encrypted, "encrypted", false, "trickle, firehose, real: messages of the suite of encrypted ones, with random content")
	fs.DurationVar(&o.Warmup, "warmup", 0, "time before it counts; 0 is 3s")
	fs.BoolVar(&o.Rise, "rise", false, "the rate rises to what it is through the warm-up, as it does where people come one after another")
	fs.DurationVar(&o.Duration, "duration", 0, "time that counts; 0 is the profile's own")
	fs.IntVar(&o.Contacts, "contacts", 0, "real: how many others a session writes to, as people do; 0 is everybody")
	fs.DurationVar(&o.LookEvery, "look-every", 0, "least time between two looks of the load at its schedule and its sockets, for loads of many processes, 1s at most: what it measures is later by as much")
	fs.BoolVar(&o.Silent, "silent", false, "idle: no session sends or receives a message")
	fs.DurationVar(&o.MarkEvery, "mark-every", 0, "least time between two marks of a receiver; 0 is the profile's own")
	fs.BoolVar(&o.Group, "group", false, "fanout: to the members of a group, instead of to devices of one user")
	fs.StringVar(&o.Cluster, "cluster", "", "folder of the cluster that real, or without a profile a run of its own, is to measure, such as .cache/cluster")
	fs.StringVar(&o.Dir, "dir", "", "folder for the server's data; empty is a temporary one")
	fs.IntVar(&o.Servers, "servers", 0, "idle, trickle: server processes, each for itself, that share the sessions; 0 is one")
	fs.IntVar(&o.Processes, "load-processes", 0, "processes that make the load; 0 is as many as their descriptors ask for")
	fs.StringArrayVar(&o.Agents, "agent", nil, "host:port of a `rookery bench agent` that makes the load instead; may be given several times")
	agentToken := fs.String("agent-token-file", "", "file with the secret that the agents know")
	fs.StringVar(&o.Listen, "server-listen", "", "IPv4 address of this machine where the server's sockets listen, for agents on other machines; empty is 127.0.0.1")
	fs.StringVar(&o.Peers, "peers", "", "echo: folder of the programs to compare with; empty is .cache/peers, which scripts/peers.sh build fills")
	fs.BoolVar(&o.PeerVariants, "peer-variants", false, "echo: measure each of a peer's settings instead of its best")
	fs.StringVar(&o.SDK, "sdk", "", "crypto: folder of the TypeScript SDK's part; empty is .cache/bench-crypto, which scripts/js.sh rounds fills")
	fs.StringArrayVar(&o.ServerFlags, "server-flag", nil, "flag for the server, such as --server-flag=--engine-loops=1")
	quick := fs.Bool("quick", false, "few sessions, some seconds: to see that a profile runs; of everything, what takes ten minutes")
	million := fs.Bool("million", false, "of everything, what takes a million sessions, on a machine of 24 GiB: 45 minutes")
	var all suiteFlags
	all.add(fs)
	usage := "rookery bench [PROFILE...] [flags]\n\nWithout a profile everything is measured in rounds that take turns; started again, it goes on where it was.\n" +
		"rookery bench diff, report and readme make something of such runs; bench guard compares stages with those that landed; bench agent makes load from another machine.\n\nProfiles:\n" + benchProfiles()
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	if err := agentsOf(&o, *agentToken); err != nil {
		env.Errorf("%v", err)
		return ExitUsage
	}
	profiles := fs.Args()
	cluster := o.Cluster != "" && len(profiles) == 0
	if *million && (*quick || cluster || len(profiles) > 0) || *quick && cluster {
		env.Errorf("--quick, --million and --cluster name a run of everything each: say one of them, and --million without a profile")
		return ExitUsage
	}
	if len(profiles) > 0 && all != (suiteFlags{}) {
		env.Errorf("--run and --only are of everything: say them without a profile")
		return ExitUsage
	}
	if len(profiles) == 0 {
		if flags := ofOneProfile(fs); len(flags) > 0 {
			env.Errorf("%s: for one profile, and none is named: say `rookery bench trickle %s ...`; without a profile everything is measured as its plan says", strings.Join(flags, ", "), flags[0])
			return ExitUsage
		}
		return benchAll(ctx, env, all.run, o, suite.Choice{Quick: *quick, Million: *million, Peers: o.Peers, Cluster: o.Cluster, Only: all.only})
	}
	if *quick {
		o.Connections, o.Duration, o.Warmup = quickConnections, quickDuration, quickWarmup
	}
	for _, p := range profiles {
		if !slices.Contains(benchNames(), p) {
			env.Errorf("no such profile: %s%s", p, nearest.Hint(p, benchNames()))
			return ExitUsage
		}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	worst := ExitOK
	for _, p := range profiles {
		o.Profile = p
		fmt.Fprintf(env.Stderr, "== %s\n", p)
		worst = max(worst, benchOne(ctx, env, o))
	}
	return worst
}

// ofEverything are the flags that bench takes without a profile.
var ofEverything = []string{"quick", "million", "run", "only", "peers", "cluster"}

// ofOneProfile are the flags that were given and that only a profile takes.
func ofOneProfile(fs *pflag.FlagSet) (flags []string) {
	fs.Visit(func(f *pflag.Flag) {
		if !slices.Contains(ofEverything, f.Name) {
			flags = append(flags, "--"+f.Name)
		}
	})
	return flags
}

func benchOne(ctx context.Context, env *Env, o bench.Options) int {
	result, err := bench.Run(ctx, o)
	if result != nil {
		result.WriteJSON(env.Stdout)
		for _, warning := range append(result.Noisy, result.Warnings...) {
			env.Errorf("bench: %s", warning)
		}
	}
	switch {
	case errors.Is(err, bench.ErrInvalid):
		env.Errorf("%v: %s", err, strings.Join(result.Invalid, "; "))
	case err != nil:
		env.Errorf("%v", err)
	default:
		return ExitOK
	}
	return ExitFailed
}

func benchProfiles() string {
	var b strings.Builder
	for _, p := range bench.Profiles() {
		fmt.Fprintf(&b, "  %-9s %s\n", p.Name, p.What)
	}
	return b.String()
}

func benchNames() []string {
	var names []string
	for _, p := range bench.Profiles() {
		names = append(names, p.Name)
	}
	return names
}
