package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
)

// cmdServe runs the server until SIGTERM or SIGINT, then drains. A second
// signal cuts the drain short. SIGHUP reads the key set again.
func cmdServe(ctx context.Context, env *Env, args []string) int {
	c, code, ok := loadConfig(env, "serve", args, nil)
	if !ok {
		return code
	}
	logger, level, err := admin.NewLogger(env.Stderr, c.Log.Format, c.Log.Level)
	if err != nil {
		env.Errorf("%v", err)
		return ExitConfig
	}
	if err := limitMemory(c, logger); err != nil {
		env.Errorf("%v", err)
		return ExitConfig
	}
	spareProcessors(&c.Engine.Loops, syncers)
	ctx, end := context.WithCancel(ctx)
	defer end()
	go giveBack(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	starting, started := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	s, err := server.Start(starting, c, server.Options{Version: Version(), Logger: logger, Level: level})
	started()
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(env.Stdout, "stopped")
		return ExitOK
	}
	if err != nil {
		env.Errorf("%v", err)
		if errors.Is(err, server.ErrData) {
			return ExitData
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			env.Errorf("another process has the address ('ss -ltnp' says which): end it, or give others with --listen, --web and --admin")
		}
		return ExitFailed
	}
	printReady(env, c, s)
	for {
		select {
		case <-ctx.Done():
			return stopServer(env, s, signals)
		case <-s.LoopsEnded():
			env.Errorf("the event loops have ended by themselves; the log says why")
			stopServer(env, s, signals)
			return ExitFailed
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return stopServer(env, s, signals)
			}
			if err := s.Reload(); err != nil {
				logger.Error("keys not reloaded", "err", err)
			}
		}
	}
}

func printReady(env *Env, c *config.Config, s *server.Server) {
	if s.Addr() != nil {
		fmt.Fprintf(env.Stdout, "sockets  ws://%s/ws/<user>\n", s.Addr())
	}
	if s.WebAddr() != nil {
		fmt.Fprintf(env.Stdout, "web      %s/\n", webURL(c, s))
	}
	fmt.Fprintf(env.Stdout, "admin    http://%s/\n", s.AdminAddr())
	if c.Clustered() {
		fmt.Fprintf(env.Stdout, "role     %s\nlog      %s\nstore    %s\npresence %s\n", c.Role, c.Pipeline.URL, c.Store.URL, c.Presence.URL)
	} else {
		fmt.Fprintf(env.Stdout, "data     %s\n", c.Data)
	}
	if s.DevKey() != nil {
		fmt.Fprintf(env.Stdout, "tokens of the development key in %s are taken: whoever reads that folder can be anybody\n", c.Data)
	}
	fmt.Fprintln(env.Stdout, "ready")
}

// stopServer drains; another signal meanwhile ends the grace.
func stopServer(env *Env, s *server.Server, signals <-chan os.Signal) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-signals:
			cancel()
		}
	}()
	if err := s.Stop(ctx); err != nil {
		env.Errorf("stopped with faults: %v", err)
		return ExitFailed
	}
	fmt.Fprintln(env.Stdout, "stopped")
	return ExitOK
}

// webURL is what to open in a browser.
func webURL(c *config.Config, s *server.Server) string {
	switch {
	case c.Web.URL != "":
		return c.Web.URL
	case c.Web.Cert != "":
		return "https://" + s.WebAddr().String()
	}
	return "http://" + s.WebAddr().String()
}
