package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
)

// asServe makes the test program a server, as rookery is one.
func asServe() {
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		return
	}
	if err := serve(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := config.Load(flags, nil)
	if err != nil {
		return err
	}
	s, err := server.Start(ctx, c, server.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	fmt.Printf("sockets  ws://%s/ws/<user>\nadmin    http://%s/\nready\n", s.Addr(), s.AdminAddr())
	<-ctx.Done()
	return s.Stop(context.Background())
}
