package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/nearest"
)

// parseFlags parses a command's arguments into its set. usage is the line
// after "Usage: ". It returns true when the command goes on; else it has said
// why, and code is what to return.
func parseFlags(env *Env, fs *pflag.FlagSet, usage string, args []string) (code int, ok bool) {
	faults, help := parseAll(fs, args)
	switch {
	case help:
		fmt.Fprintf(env.Stdout, "Usage: %s\n\nFlags:\n%s", usage, fs.FlagUsages())
		return ExitOK, false
	case len(faults) > 0:
		for _, f := range faults {
			env.Errorf("%s", f)
		}
		env.Errorf("usage: %s", usage)
		return ExitUsage, false
	}
	return ExitOK, true
}

// parseAll parses and goes on after an unknown flag, so that all faults are
// told at once.
func parseAll(fs *pflag.FlagSet, args []string) (faults []string, help bool) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	args = slices.Clone(args)
	for {
		err := fs.Parse(args)
		var unknown *pflag.NotExistError
		switch {
		case err == nil:
			return faults, false
		case errors.Is(err, pflag.ErrHelp):
			return nil, true
		case !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "":
			return append(faults, err.Error()), false
		}
		name := unknown.GetSpecifiedName()
		faults = append(faults, fmt.Sprintf("unknown flag --%s%s", name, nearest.Hint("--"+name, flagNames(fs))))
		i := slices.IndexFunc(args, func(a string) bool { return a == "--"+name || strings.HasPrefix(a, "--"+name+"=") })
		if i < 0 {
			return faults, false
		}
		args = slices.Delete(args, i, i+1)
	}
}

func flagNames(fs *pflag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}

// loadConfig reads the configuration that a command's arguments, the
// environment and the file give. extra may add flags of the command itself.
// When ok is false it has said why, and code is what to return.
func loadConfig(env *Env, command string, args []string, extra func(*pflag.FlagSet)) (c *config.Config, code int, ok bool) {
	return loadSome(env, command, args, extra, func(config.Fault) bool { return true })
}

// loadBackend is loadConfig for a command that looks after one server of others
// and needs to know of no more: how the parts of serve go together is no matter.
func loadBackend(env *Env, command string, args []string, extra func(*pflag.FlagSet)) (c *config.Config, code int, ok bool) {
	return loadSome(env, command, args, extra, func(f config.Fault) bool {
		return f.Where != "" || f.Key != "role" && f.Key != "presence.url"
	})
}

func loadSome(env *Env, command string, args []string, extra func(*pflag.FlagSet), counts func(config.Fault) bool) (c *config.Config, code int, ok bool) {
	fs := pflag.NewFlagSet(command, pflag.ContinueOnError)
	if extra != nil {
		extra(fs)
	}
	config.AddFlags(fs)
	unknown, help := parseAll(fs, args)
	if help {
		fmt.Fprintf(env.Stdout, "Usage: rookery %s [flags]\n\nFlags:\n", command)
		config.WriteFlags(env.Stdout, fs)
		return nil, ExitOK, false
	}
	if len(unknown) == 0 && fs.NArg() > 0 {
		unknown = append(unknown, fmt.Sprintf("%s takes no arguments, got %q", command, fs.Args()))
	}
	c, err := config.Load(fs, env.environ())
	for _, f := range unknown {
		env.Errorf("%s", f)
	}
	var faults config.Faults
	if errors.As(err, &faults) {
		faults = slices.DeleteFunc(faults, func(f config.Fault) bool { return !counts(f) })
		for _, f := range faults {
			env.Errorf("%s", f)
		}
	}
	switch {
	case len(faults) > 0:
		return nil, ExitConfig, false
	case len(unknown) > 0:
		return nil, ExitUsage, false
	}
	return c, ExitOK, true
}

// environ returns the environment's variables as os.Environ does.
func (e *Env) environ() []string {
	if e.Environ != nil {
		return e.Environ()
	}
	var variables []string
	for _, k := range config.Keys() {
		if v := e.Getenv(k.Env()); v != "" {
			variables = append(variables, k.Env()+"="+v)
		}
	}
	return variables
}
