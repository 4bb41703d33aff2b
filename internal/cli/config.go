package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/nearest"
)

const configUsage = `Usage: rookery config default            print a file with every key and its default
       rookery config check [flags]      check flags, environment and file together
       rookery config explain [KEY...]   say what keys are, and their values here
`

func cmdConfig(_ context.Context, env *Env, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(env.Stderr, configUsage)
		return ExitUsage
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "default":
		return configDefault(env, rest)
	case "check":
		return configCheck(env, rest)
	case "explain":
		return configExplain(env, rest)
	case "-h", "--help":
		fmt.Fprint(env.Stdout, configUsage)
		return ExitOK
	default:
		env.Errorf("config: unknown verb %q%s", verb, nearest.Hint(verb, []string{"default", "check", "explain"}))
		return ExitUsage
	}
}

func configDefault(env *Env, args []string) int {
	if len(args) > 0 {
		env.Errorf("config default takes no arguments, got %q", args)
		return ExitUsage
	}
	config.WriteDefault(env.Stdout)
	return ExitOK
}

// configCheck takes the flags of serve and tells what is not the default.
func configCheck(env *Env, args []string) int {
	c, code, ok := loadConfig(env, "config check", args, nil)
	if !ok {
		return code
	}
	set := 0
	for _, k := range config.Keys() {
		if origin := c.Origin(k.Name); origin != "default" {
			fmt.Fprintf(env.Stdout, "%s = %s (%s)\n", k.Name, k.Value(c), origin)
			set++
		}
	}
	fmt.Fprintf(env.Stdout, "ok: keys set: %d, at their defaults: %d\n", set, len(config.Keys())-set)
	return ExitOK
}

// configExplain explains the named keys or groups, or all. A configuration
// that is faulty elsewhere does not stop it.
func configExplain(env *Env, args []string) int {
	fs := pflag.NewFlagSet("explain", pflag.ContinueOnError)
	file := fs.String("config", "", "the YAML file")
	if code, ok := parseFlags(env, fs, "rookery config explain [--config FILE] [KEY...]", args); !ok {
		return code
	}
	environ := env.environ()
	if *file != "" {
		environ = append(environ, "ROOKERY_CONFIG="+*file)
	}
	c, err := config.Load(nil, environ)
	if err != nil {
		env.Errorf("the configuration is faulty ('rookery config check' says where); values below may be defaults")
	}
	wanted := fs.Args()
	if len(wanted) == 0 {
		wanted = []string{""}
	}
	for _, name := range wanted {
		if code := explainOne(env, c, name); code != ExitOK {
			return code
		}
	}
	return ExitOK
}

func explainOne(env *Env, c *config.Config, name string) int {
	names, shown := []string{}, 0
	for _, k := range config.Keys() {
		names = append(names, k.Name)
		if name == "" || k.Name == name || strings.HasPrefix(k.Name, name+".") {
			if shown++; shown > 1 {
				fmt.Fprintln(env.Stdout)
			}
			config.Explain(env.Stdout, k, c)
		}
	}
	if shown == 0 {
		env.Errorf("no such key: %s%s", name, nearest.Hint(name, names))
		return ExitUsage
	}
	return ExitOK
}
