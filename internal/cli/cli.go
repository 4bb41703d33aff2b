// Package cli is the command line: the table of subcommands, help, and what
// they share. Each command is a function of its own file; cmd/rookery only
// calls Main.
package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/rookery-chat/rookery/internal/nearest"
)

// Env is what a command may touch of the process around it.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Environ        func() []string // nil: what Getenv knows of our variables
}

// Errorf writes one line to Stderr, "rookery: " before it.
func (e *Env) Errorf(format string, args ...any) {
	fmt.Fprintf(e.Stderr, "rookery: "+format+"\n", args...)
}

// command is one subcommand. run gets the arguments after its name and returns
// an exit code.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, env *Env, args []string) int
}

func (c command) about() verb { return verb{c.name, "", c.summary} }

// commands returns the table, in the order of help.
func commands() []command {
	return []command{
		{"serve", "run the server", cmdServe},
		{"send", "send a message and wait for its ticks", cmdSend},
		{"tail", "print what arrives for a user", cmdTail},
		{"chat", "a conversation in the terminal", cmdChat},
		{"history", "print older messages of a chat", cmdHistory},
		{"chats", "list a user's chats", cmdChats},
		{"block", "block users, or list who is blocked", cmdBlock},
		{"group", "make a group, change it, list its members", cmdGroup},
		{"safety", "show, compare and accept the identity of a user", cmdSafety},
		{"device", "list, name, link and revoke a user's devices", cmdDevice},
		{"config", "show, check and explain the configuration", cmdConfig},
		{"admin", "prepare and look after a deployment", cmdAdmin},
		{"probe", "watch a server from outside: send, receive and measure", cmdProbe},
		{"doctor", "look at this machine and say what to do", cmdDoctor},
		{"echo", "serve the same engine with nothing above it", cmdEcho},
		{"bench", "measure", cmdBench},
		{"plan", "compute a fleet from measured figures, and play what happens to it", cmdPlan},
		{"version", "print the version", cmdVersion},
	}
}

// Main runs the command that args (without the program's name) ask for and
// returns the process's exit code. It ends early when ctx does.
func Main(ctx context.Context, env *Env, args []string) int {
	if len(args) == 0 {
		printHelp(env.Stderr)
		return ExitUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "--help":
		return cmdHelp(ctx, env, rest)
	case "-v", "--version":
		name = "version"
	}
	if c, ok := find(name); ok {
		return c.run(ctx, env, rest)
	}
	env.Errorf("unknown command %q%s", name, nearest.Hint(name, commandNames()))
	env.Errorf("'rookery help' lists the commands")
	return ExitUsage
}

func find(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func commandNames() []string {
	names := []string{"help"}
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return names
}

func cmdHelp(ctx context.Context, env *Env, args []string) int {
	if len(args) == 0 || args[0] == "help" || strings.HasPrefix(args[0], "-") {
		printHelp(env.Stdout)
		return ExitOK
	}
	return Main(ctx, env, []string{args[0], "--help"})
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "Rookery carries chat messages over WebSockets and loses none.\n\nUsage: rookery COMMAND [flags]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\n'rookery COMMAND --help' lists a command's flags.\n\nExit codes:\n")
	for _, f := range exitFacts {
		fmt.Fprintf(w, "  %-4d %s\n", f.code, f.text)
	}
}
