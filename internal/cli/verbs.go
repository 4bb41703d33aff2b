package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/rookery-chat/rookery/internal/nearest"
)

// verb is a word behind a command's name, what comes after it, and what it does.
type verb struct{ name, args, summary string }

func (v verb) about() verb { return v }

// verbs are those of a command.
type verbs[V interface{ about() verb }] struct {
	command string
	flags   string // that all take, for the line of usage
	note    string // at the end of help
	named   map[string]V
}

func verbsOf[V interface{ about() verb }](command, flags, note string, list ...V) verbs[V] {
	t := verbs[V]{command, flags, note, map[string]V{}}
	for _, v := range list {
		t.named[v.about().name] = v
	}
	return t
}

// pick finds the verb that a command's arguments begin with. When ok is false it
// has said why, and code is what to return.
func (t verbs[V]) pick(env *Env, args []string) (v V, code int, ok bool) {
	if len(args) == 0 {
		t.help(env.Stderr)
		return v, ExitUsage, false
	}
	if v, ok = t.named[args[0]]; ok {
		return v, ExitOK, true
	}
	switch args[0] {
	case "-h", "--help", "help":
		t.help(env.Stdout)
		return v, ExitOK, false
	}
	env.Errorf("%s: unknown command %q%s", t.command, args[0], nearest.Hint(args[0], slices.Collect(maps.Keys(t.named))))
	return v, ExitUsage, false
}

func (t verbs[V]) help(w io.Writer) {
	fmt.Fprintf(w, "Usage: rookery %s COMMAND %s\n\nCommands:\n", t.command, t.flags)
	columns := 0
	for _, v := range t.named {
		columns = max(columns, len(v.about().name+" "+v.about().args))
	}
	for _, name := range slices.Sorted(maps.Keys(t.named)) {
		v := t.named[name].about()
		fmt.Fprintf(w, "  %-*s %s\n", columns, v.name+" "+v.args, v.summary)
	}
	fmt.Fprintf(w, "\n%s'rookery %s COMMAND --help' lists a command's flags.\n", t.note, t.command)
}
