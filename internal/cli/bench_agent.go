package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/bench"
)

// cmdBenchAgent makes a part of a load for a bench that runs elsewhere: on
// another machine, or, without an address, as the parent of this process.
func cmdBenchAgent(ctx context.Context, env *Env, args []string) int {
	fs := pflag.NewFlagSet("bench agent", pflag.ContinueOnError)
	listen := fs.String("listen", "", "address for coordinators, host:port; empty: the parent process is the coordinator")
	file := fs.String("token-file", "", fmt.Sprintf("file with the secret that agents and coordinator share, at least %d random bytes", bench.SecretBytes))
	usage := "rookery bench agent --listen ADDRESS --token-file FILE\n\nMakes load for `rookery bench --agent ADDRESS --agent-token-file FILE` on another machine."
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	if (*listen == "") != (*file == "") {
		env.Errorf("--listen and --token-file go together: whoever knows the secret may make this machine send")
		return ExitUsage
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	if *listen == "" {
		err = bench.Agent(ctx, bench.StdLink{})
	} else {
		var secret []byte
		if secret, err = os.ReadFile(*file); err == nil {
			err = bench.ListenAgent(ctx, *listen, secret,
				func(at net.Addr) { fmt.Fprintf(env.Stdout, "ready: %s\n", at) },
				func(why error) { env.Errorf("%v", why) })
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		env.Errorf("%v", err)
		return ExitFailed
	}
	return ExitOK
}

// agentsOf takes the secret of agents on other machines into the options.
func agentsOf(o *bench.Options, file string) error {
	if (len(o.Agents) > 0) != (file != "") {
		return errors.New("--agent and --agent-token-file go together")
	}
	if file == "" {
		return nil
	}
	secret, err := os.ReadFile(file)
	o.Secret = secret
	return err
}
