package cli

import (
	"context"
	"errors"
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

// adminRepartition gives the log another number of partitions while gateways and
// processors are at work (law 16). All it does is to make the new epoch's topic:
// the processes see it and do the rest. So it may be ended and run again at will.
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
	defer r.close()
	if err := r.open(ctx, c); err != nil {
		return failLines(env, ExitUnreachable, err)
	}
	if err := r.run(ctx); err != nil {
		return failLines(env, ExitFailed, err)
	}
	return ExitOK
}

// repartition is one run of the command.
type repartition struct {
	env    *Env
	to     int
	dryRun bool
	kafka  kafka.Options
	log    *kafka.Log // of the newest epoch
	store  storage.Store
	where  *redis.Directory
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
	d, err := backend.Redis(c, quiet)
	if err != nil {
		return fmt.Errorf("which gateways there are says presence.url: %w", err)
	}
	d.Timeout = answerWithin
	r.where, err = redis.Open(d)
	return err
}

func (r *repartition) close() {
	if r.where != nil {
		r.where.Close()
	}
	if r.store != nil {
		r.store.Close()
	}
	if r.log != nil {
		r.log.Close()
	}
}

func (r *repartition) run(ctx context.Context) error {
	begun, err := r.begun(ctx, r.log)
	if err != nil {
		return err
	}
	n := r.log.Partitions()
	switch {
	case begun < n && n != r.to:
		return fmt.Errorf("epoch %d has begun in %d of %d partitions: wait for it, or see why its owners do not", r.log.Epoch(), begun, n)
	case begun < n && r.dryRun, n == r.to && begun == n:
		fmt.Fprintf(r.env.Stdout, "epoch %d has %d partitions, of which %d have begun; nothing was changed\n", r.log.Epoch(), n, begun)
		return nil
	case begun < n: // an earlier run was ended
		return r.watch(ctx, r.log)
	}
	r.tellMoves()
	if err := r.allFollow(ctx); err != nil {
		return err
	}
	if r.dryRun {
		fmt.Fprintln(r.env.Stdout, "it could be done now; nothing was changed")
		return nil
	}
	return r.begin(ctx)
}

// answerWithin is how long the directory of presence may take to answer.
const answerWithin = 10 * time.Second

// allFollow says which processes would not go on in the new epoch by themselves,
// if there are any. One that dies meanwhile counts until its lease or its session
// with the group ends.
func (r *repartition) allFollow(ctx context.Context) error {
	names, err := r.log.Deaf(ctx)
	if err != nil {
		return err
	}
	if err := r.present(ctx); err != nil {
		return err
	}
	gateways, err := r.where.Deaf(ctx)
	if err != nil {
		return err
	}
	for _, g := range gateways {
		names = append(names, fmt.Sprintf("the gateway %s at %s", g.ID, g.Address))
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("nothing was changed: of a version that does not go on in another epoch, and to be upgraded before, %s", strings.Join(names, "; "))
}

// present waits until the directory is connected.
func (r *repartition) present(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		err := r.where.Health()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-look.C:
		}
	}
}

func (r *repartition) tellMoves() {
	from := r.log.Partitions()
	fmt.Fprintf(r.env.Stdout, "from %d partitions (epoch %d) to %d (epoch %d)\n", from, r.log.Epoch(), r.to, r.log.Epoch()+1)
	for _, m := range shard.Moves(from, r.to) {
		fmt.Fprintf(r.env.Stdout, "  partition %3d -> %3d  %5.2f %% of all users\n", m.From, m.To, 100*m.Share)
	}
	fmt.Fprintln(r.env.Stdout, "what is stored stays where it is; positions of the new epoch are above all that there were")
}

// begun is how many partitions of a log have begun. Where no other epoch was at
// work before it, all have.
func (r *repartition) begun(ctx context.Context, l *kafka.Log) (n int, err error) {
	if !l.Online() {
		return l.Partitions(), nil
	}
	for p := range l.Partitions() {
		at, err := r.store.Applied(ctx, shard.Row(l.Epoch(), p))
		if err != nil {
			return n, err
		}
		if at > 0 {
			n++
		}
	}
	return n, nil
}

// begin makes the topic, with which the new epoch begins.
func (r *repartition) begin(ctx context.Context) error {
	topics, err := kafka.CheckTopics(ctx, r.kafka)
	if err != nil {
		return err
	}
	spec := kafka.Spec{Epoch: r.log.Epoch() + 1, Partitions: r.to, Replicas: topics[len(topics)-1].Replicas, Online: true}
	if _, err := kafka.CreateTopics(ctx, r.kafka, spec); err != nil {
		return err
	}
	next, err := kafka.OpenEpoch(ctx, r.kafka, spec.Epoch)
	if err != nil {
		return err
	}
	defer next.Close()
	return r.watch(ctx, next)
}

// watchFor is how long the command looks on without anything going on.
const watchFor = time.Minute

var errNotBegun = errors.New("the new epoch has not begun everywhere: are the processors at work? It goes on by itself; run the command again to look on")

// watch tells how far processors are with an epoch, until it has begun.
func (r *repartition) watch(ctx context.Context, l *kafka.Log) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	told, news := -1, time.Now()
	for {
		begun, err := r.begun(ctx, l)
		if err != nil {
			return err
		}
		if begun != told {
			fmt.Fprintf(r.env.Stdout, "epoch %d has begun in %d of %d partitions\n", l.Epoch(), begun, l.Partitions())
			told, news = begun, time.Now()
		}
		if begun == l.Partitions() {
			fmt.Fprintln(r.env.Stdout, "done")
			return nil
		}
		if time.Since(news) > watchFor {
			return errNotBegun
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}
