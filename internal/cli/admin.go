package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/rookery-chat/rookery/internal/nearest"
)

// adminCommands are the verbs of admin.
func adminCommands() map[string]command {
	return map[string]command{
		"certs":       {"certs", "make certificates with which processes know each other", adminCerts},
		"deadletters": {"deadletters", "show what of the log could not be decoded, and append it again", adminDeadLetters},
		"repartition": {"repartition", "give the log another number of partitions, or say which users would move", adminRepartition},
		"schema":      {"schema", "make or migrate the tables of a store on Cassandra or ScyllaDB", adminSchema},
		"topics":      {"topics", "make the topics of a log on Kafka, or say what is wrong with them", adminTopics},
	}
}

func cmdAdmin(ctx context.Context, env *Env, args []string) int {
	commands := adminCommands()
	if len(args) == 0 {
		adminHelp(env.Stderr)
		return ExitUsage
	}
	verb, rest := args[0], args[1:]
	if c, ok := commands[verb]; ok {
		return c.run(ctx, env, rest)
	}
	if verb == "-h" || verb == "--help" || verb == "help" {
		adminHelp(env.Stdout)
		return ExitOK
	}
	env.Errorf("admin: unknown command %q%s", verb, nearest.Hint(verb, slices.Collect(maps.Keys(commands))))
	return ExitUsage
}

func adminHelp(w io.Writer) {
	fmt.Fprint(w, "Usage: rookery admin COMMAND [flags]\n\nCommands:\n")
	commands := adminCommands()
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		fmt.Fprintf(w, "  %-12s %s\n", name, commands[name].summary)
	}
	fmt.Fprint(w, "\n'rookery admin COMMAND --help' lists a command's flags.\n")
}
