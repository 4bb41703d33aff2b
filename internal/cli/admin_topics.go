package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/pipeline/kafka"
)

// adminTopics makes the topics of the log, or says what is wrong with them.
func adminTopics(ctx context.Context, env *Env, args []string) int {
	var create, check bool
	var spec kafka.Spec
	var epoch uint16
	o, code, ok := loadKafka(env, "admin topics", args, func(fs *pflag.FlagSet) {
		fs.BoolVar(&create, "create", false, "make the topics that are missing; those that exist stay as they are")
		fs.BoolVar(&check, "check", false, "only look at the topics (without --create this is what is done)")
		fs.IntVar(&spec.Partitions, "partitions", 16, "partitions of the topic of records; fixed when it is made")
		fs.IntVar(&spec.Replicas, "replicas", 3, "brokers that hold each partition; all but one have to have a record before it is acknowledged")
		fs.DurationVar(&spec.Retention, "retention", 7*24*time.Hour, "how long records are kept, whatever their size")
		fs.Uint16Var(&epoch, "epoch", 0, "epoch of positions: another one is another topic, which everything uses when it starts again")
	})
	if !ok {
		return code
	}
	if create && check {
		env.Errorf("admin topics: --create and --check exclude each other")
		return ExitUsage
	}
	if create {
		spec.Epoch = epoch
		created, err := kafka.CreateTopics(ctx, o, spec)
		for _, name := range created {
			fmt.Fprintf(env.Stdout, "made  %s\n", name)
		}
		if err != nil {
			return failLines(env, ExitFailed, err)
		}
	}
	topics, err := kafka.CheckTopics(ctx, o)
	if err != nil {
		return failLines(env, ExitUnreachable, err)
	}
	return printTopics(env, topics, o.Prefix)
}

// printTopics lists topics, then what is wrong with them.
func printTopics(env *Env, topics []kafka.Topic, prefix string) int {
	code := ExitOK
	for _, t := range topics {
		word := "right"
		if t.Faults != nil {
			word = "WRONG"
		}
		fmt.Fprintf(env.Stdout, "%s  %s  %d partitions, %d replicas\n", word, t.Name, t.Partitions, t.Replicas)
	}
	for _, t := range topics {
		if t.Faults != nil {
			code = failLines(env, ExitFailed, t.Faults)
		}
	}
	if len(topics) < 2 {
		env.Errorf("admin topics: topics are missing, --create makes them")
		code = ExitFailed
	}
	return code
}

// loadKafka reads the configuration for a command about the log on Kafka.
func loadKafka(env *Env, command string, args []string, extra func(*pflag.FlagSet)) (o kafka.Options, code int, ok bool) {
	c, code, ok := loadBackend(env, command, args, extra)
	if !ok {
		return o, code, false
	}
	if c.Pipeline.URL == "local" {
		env.Errorf("%s: the log is local; --log kafka://host:port,host:port/prefix names one on Kafka", command)
		return o, ExitConfig, false
	}
	o, err := backend.Kafka(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return o, failLines(env, ExitConfig, err), false
	}
	return o, ExitOK, true
}

// failLines says each fault of an error in a line.
func failLines(env *Env, code int, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		env.Errorf("%s", line)
	}
	return code
}
