package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/shard"
)

const deadLettersUsage = "rookery admin deadletters list|replay [flags]"

// adminDeadLetters shows what could not be decoded, and appends it again.
func adminDeadLetters(ctx context.Context, env *Env, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "list":
			return deadLettersList(ctx, env, args[1:])
		case "replay":
			return deadLettersReplay(ctx, env, args[1:])
		case "help", "-h", "--help":
			fmt.Fprintf(env.Stdout, "Usage: %s\n\n  list    print what of the log could not be decoded\n  replay  append such a record again, mended or to a newer version\n", deadLettersUsage)
			return ExitOK
		}
	}
	env.Errorf("usage: %s", deadLettersUsage)
	return ExitUsage
}

func deadLettersList(ctx context.Context, env *Env, args []string) int {
	var raw bool
	o, code, ok := loadKafka(env, "admin deadletters list", args, func(fs *pflag.FlagSet) {
		fs.BoolVar(&raw, "raw", false, "print the bytes too, as quoted text")
	})
	if !ok {
		return code
	}
	n := 0
	err := kafka.DeadLetters(ctx, o, func(d kafka.DeadLetter) error {
		n++
		state := "kept"
		if d.Replayed {
			state = "replayed"
		}
		fmt.Fprintf(env.Stdout, "%d  %s  %s  partition %d position %v  %d bytes  %s: %s\n",
			d.Offset, d.At.UTC().Format(time.DateTime), d.Topic, d.Partition, d.Position, len(d.Raw), state, d.Reason)
		if raw {
			fmt.Fprintf(env.Stdout, "   %q\n", d.Raw)
		}
		return nil
	})
	if err != nil {
		return failLines(env, ExitFailed, err)
	}
	if n == 0 {
		fmt.Fprintln(env.Stdout, "there are none")
	}
	return ExitOK
}

// replay is what to append again.
type replay struct {
	number int64
	from   string // a file with the record; "" is as it was
}

func deadLettersReplay(ctx context.Context, env *Env, args []string) int {
	var r replay
	o, code, ok := loadKafka(env, "admin deadletters replay", args, func(fs *pflag.FlagSet) {
		fs.Int64Var(&r.number, "number", -1, "which one: the number that list prints first")
		fs.StringVar(&r.from, "from", "", "file with the mended record; else it is appended as it was")
	})
	if !ok {
		return code
	}
	if r.number < 0 {
		env.Errorf("admin deadletters replay: --number says which one")
		return ExitUsage
	}
	if err := r.run(ctx, env, o); err != nil {
		return failLines(env, ExitFailed, err)
	}
	return ExitOK
}

func (r *replay) run(ctx context.Context, env *Env, o kafka.Options) error {
	var letter *kafka.DeadLetter
	err := kafka.DeadLetters(ctx, o, func(d kafka.DeadLetter) error {
		if d.Offset == r.number {
			letter = &d
		}
		return nil
	})
	if err != nil {
		return err
	}
	if letter == nil {
		return fmt.Errorf("there is no dead letter %d", r.number)
	}
	bytes := letter.Raw
	if r.from != "" {
		if bytes, err = os.ReadFile(r.from); err != nil {
			return err
		}
	}
	// Else it would be a dead letter again.
	var rec record.Record
	if err := rec.Decode(bytes); err != nil {
		return fmt.Errorf("this version cannot decode it either (%w): mend it and name the file with --from", err)
	}
	l, err := kafka.Open(ctx, o)
	if err != nil {
		return err
	}
	defer l.Close()
	partition, err := partitionOf(l, letter, &rec)
	if err != nil {
		return err
	}
	place, err := l.Replay(ctx, *letter, partition, bytes)
	if place != 0 {
		fmt.Fprintf(env.Stdout, "appended at partition %d position %v\n", partition, place)
	}
	return err
}

// partitionOf is where a letter is appended: where it was, or, if that was in an
// earlier epoch, where its user is now. Only a message means the same there: a
// mark is made again by its device, and what owners derive is known by the
// position that it comes from.
func partitionOf(l *kafka.Log, d *kafka.DeadLetter, r *record.Record) (int, error) {
	switch {
	case d.Topic == l.Topic():
		return d.Partition, nil
	case r.Kind != record.Message:
		return 0, fmt.Errorf("the letter is of %s, the log is %s now: only messages can be appended to a later epoch, and this is a record of kind %d", d.Topic, l.Topic(), r.Kind)
	}
	return shard.NewRing(l.Partitions(), l.Key()).Partition(r.User), nil
}
