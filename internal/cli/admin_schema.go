package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/storage/cql"
)

// adminSchema brings the tables of a store on Cassandra or ScyllaDB up to this
// program, or says what that would take.
func adminSchema(ctx context.Context, env *Env, args []string) int {
	var check, dryRun bool
	var replication string
	var patience time.Duration
	o, code, ok := loadCQL(env, "admin schema", args, func(fs *pflag.FlagSet) {
		fs.BoolVar(&check, "check", false, "only say whether the schema is up to date; exit 1 when it is not")
		fs.BoolVar(&dryRun, "dry-run", false, "print the statements that would be run")
		fs.StringVar(&replication, "replication", "", "copies, for a keyspace that is made: a number for every data centre, or DC:NUMBER,DC:NUMBER (default 3, fewer where there are fewer nodes)")
		fs.DurationVar(&patience, "patience", 10*time.Minute, "how long to wait, also for another that migrates")
	})
	if !ok {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if check || dryRun {
		return showSchema(ctx, env, o, replication, check)
	}
	s, err := cql.Migrate(ctx, o, replication)
	if err != nil {
		return failLines(env, ExitFailed, err)
	}
	if len(s.Statements) == 0 {
		fmt.Fprintf(env.Stdout, "keyspace %s has version %d of the schema, as this program needs\n", o.Keyspace, s.Have)
		return ExitOK
	}
	fmt.Fprintf(env.Stdout, "keyspace %s: from version %d of the schema to %d\n", o.Keyspace, s.Have, s.Want)
	return ExitOK
}

// showSchema changes nothing.
func showSchema(ctx context.Context, env *Env, o cql.Options, replication string, check bool) int {
	s, err := cql.ReadSchema(ctx, o, replication)
	if err != nil {
		return failLines(env, ExitFailed, err)
	}
	if !check {
		for _, statement := range s.Statements {
			fmt.Fprintf(env.Stdout, "%s;\n\n", statement)
		}
		return ExitOK
	}
	fmt.Fprintf(env.Stdout, "keyspace %s has version %d of the schema, this program needs %d\n", o.Keyspace, s.Have, s.Want)
	if s.Have < s.Want {
		env.Errorf("admin schema: run it without --check")
		return ExitFailed
	}
	return ExitOK
}

// loadCQL reads the configuration for a command about the store on CQL.
func loadCQL(env *Env, command string, args []string, extra func(*pflag.FlagSet)) (o cql.Options, code int, ok bool) {
	c, code, ok := loadBackend(env, command, args, extra)
	if !ok {
		return o, code, false
	}
	if c.Store.URL == "pebble" {
		env.Errorf("%s: the store is embedded and has no schema to migrate; --store cql://host:port,host:port/keyspace names one on Cassandra or ScyllaDB", command)
		return o, ExitConfig, false
	}
	o, err := backend.CQL(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return o, failLines(env, ExitConfig, err), false
	}
	return o, ExitOK, true
}
