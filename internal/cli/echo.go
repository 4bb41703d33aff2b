package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/echo"
)

// cmdEcho serves until SIGTERM or SIGINT. It prints its address as a URL when it is
// ready.
func cmdEcho(ctx context.Context, env *Env, args []string) int {
	fs := pflag.NewFlagSet("echo", pflag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:8080", "address, host:port; port 0 takes a free one")
	loops := fs.Int("loops", 0, "event loops; 0 is one a processor")
	level := fs.String("log-level", "info", "debug, info, warn or error")
	if code, ok := parseFlags(env, fs, "rookery echo [flags]", args); !ok {
		return code
	}
	if err := (engine.Options{Listen: *listen, Loops: *loops}).Validate(); err != nil {
		env.errorLines(errors.New(strings.NewReplacer("engine: Listen", "--listen", "engine: Loops", "--loops").Replace(err.Error())))
		return ExitUsage
	}
	logger, _, err := admin.NewLogger(env.Stderr, "text", *level)
	if err != nil {
		env.Errorf("%s", err)
		return ExitUsage
	}
	spareProcessors(loops, 1) // beside the loops' own, for what waits in one
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err = echo.Run(ctx, echo.Options{Listen: *listen, Loops: *loops, Logger: logger, Ready: func(a net.Addr) {
		fmt.Fprintf(env.Stdout, "ready: ws://%s\n", a)
	}})
	if err != nil {
		env.Errorf("%s", err)
		return ExitFailed
	}
	return ExitOK
}
