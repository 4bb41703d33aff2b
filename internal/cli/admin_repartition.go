package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/presence/redis"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/shard"
	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/cql"
)

// adminRepartition gives the log another number of partitions (law 16). The
// gateways have to be stopped, and the processors to have stored all.
func adminRepartition(ctx context.Context, env *Env, args []string) int {
	var to int
	var dryRun bool
	c, code, ok := loadBackend(env, "admin repartition", args, func(fs *pflag.FlagSet) {
		fs.IntVar(&to, "to", 0, "partitions that there are to be")
		fs.BoolVar(&dryRun, "dry-run", false, "say which users move, and whether it could be done now; change nothing")
	})
	if !ok {
		return code
	}
	if to < 1 || to > 1024 {
		env.Errorf("admin repartition: --to is %d, it has to be 1 to 1024", to)
		return ExitUsage
	}
	r := &repartition{env: env, to: to, dryRun: dryRun}
	if err := r.open(ctx, c); err != nil {
		r.close()
		return failLines(env, ExitUnreachable, err)
	}
	defer r.close()
	if err := r.run(ctx); err != nil {
		return failLines(env, ExitFailed, err)
	}
	return ExitOK
}

// repartition is one run of the command.
type repartition struct {
	env       *Env
	to        int
	dryRun    bool
	kafka     kafka.Options
	log       *kafka.Log
	store     storage.Store
	directory *redis.Directory
}

func (r *repartition) open(ctx context.Context, c *config.Config) (err error) {
	quiet := slog.New(slog.DiscardHandler)
	if r.kafka, err = backend.Kafka(c, quiet); err != nil {
		return err
	}
	if r.log, err = kafka.Open(ctx, r.kafka); err != nil {
		return err
	}
	o, err := backend.CQL(c, quiet)
	if err != nil {
		return err
	}
	if r.store, err = cql.Open(o); err != nil {
		return err
	}
	p, err := backend.Redis(c, quiet)
	if err != nil {
		return err
	}
	r.directory, err = redis.Open(p)
	return err
}

func (r *repartition) close() {
	if r.directory != nil {
		r.directory.Close()
	}
	if r.store != nil {
		r.store.Close()
	}
	if r.log != nil {
		r.log.Close()
	}
}

func (r *repartition) run(ctx context.Context) error {
	from := r.log.Partitions()
	fmt.Fprintf(r.env.Stdout, "from %d partitions (epoch %d) to %d (epoch %d)\n", from, r.log.Epoch(), r.to, r.log.Epoch()+1)
	for _, m := range shard.Moves(from, r.to) {
		fmt.Fprintf(r.env.Stdout, "  partition %3d -> %3d  %5.2f %% of all users\n", m.From, m.To, 100*m.Share)
	}
	fmt.Fprintln(r.env.Stdout, "what is stored stays where it is; positions of the new epoch are above all that there were")
	newest, err := r.ready(ctx)
	if err != nil {
		return err
	}
	if r.dryRun {
		fmt.Fprintln(r.env.Stdout, "it could be done now; nothing was changed")
		return nil
	}
	return r.begin(ctx, newest)
}

// ready says why it cannot be done now, nil when it can.
func (r *repartition) ready(ctx context.Context) (newest uint64, err error) {
	if newest, err = shard.Ended(ctx, r.log, r.store); err != nil {
		return 0, fmt.Errorf("%w: stop the gateways and wait for the processors", err)
	}
	alive, err := r.gateways(ctx)
	if err != nil {
		return 0, err
	}
	if len(alive) > 0 {
		return 0, fmt.Errorf("gateways are at work: %s: stop them, as they would go on appending to the old partitions", strings.Join(alive, ", "))
	}
	return newest, nil
}

func (r *repartition) gateways(ctx context.Context) (names []string, err error) {
	wait := time.NewTicker(50 * time.Millisecond)
	defer wait.Stop()
	for range 100 { // the directory connects in the background
		all, err := r.directory.Gateways(ctx)
		if err == nil {
			for _, g := range all {
				names = append(names, g.ID)
			}
			return names, nil
		}
		<-wait.C
	}
	return nil, fmt.Errorf("whether gateways are at work is not known: %w", r.directory.Health())
}

func (r *repartition) begin(ctx context.Context, newest uint64) error {
	topics, err := kafka.CheckTopics(ctx, r.kafka)
	if err != nil {
		return err
	}
	spec := kafka.Spec{Epoch: r.log.Epoch() + 1, Partitions: r.to, Replicas: topics[len(topics)-1].Replicas}
	if _, err := kafka.CreateTopics(ctx, r.kafka, spec); err != nil {
		return err
	}
	next, err := kafka.Open(ctx, r.kafka)
	if err != nil {
		return err
	}
	defer next.Close()
	if err := shard.Begin(ctx, next, next.Epoch(), newest, r.store); err != nil {
		return fmt.Errorf("%w; run the command again, before anything is started", err)
	}
	fmt.Fprintf(r.env.Stdout, "done: start processors and gateways; they use epoch %d\n", next.Epoch())
	return nil
}
