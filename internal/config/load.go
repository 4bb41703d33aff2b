package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/nearest"
)

// Fault is one thing that is wrong.
type Fault struct {
	Where string // the flag, variable, or file and line; "" for the whole
	Key   string // "" where no key is concerned; of a rule between several the first
	Text  string
}

// String returns the fault on one line.
func (f Fault) String() string {
	if f.Where == "" {
		return f.Text
	}
	return f.Where + ": " + f.Text
}

// Faults is everything that is wrong, as one error with a line for each.
type Faults []Fault

// Error joins the faults by newlines.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// AddFlags adds a flag for every key. They take any text; Load judges it.
func AddFlags(fs *pflag.FlagSet) {
	for i := range keys {
		k := &keys[i]
		flag := fs.VarPF(&flagValue{key: k}, k.Flag(), "", k.Doc)
		flag.DefValue = k.Default
		if k.Kind == Bool {
			flag.NoOptDefVal = "true"
		}
	}
}

// flagValue keeps what the command line says of a key until Load.
type flagValue struct {
	key    *Key
	values []string
}

func (v *flagValue) String() string { return strings.Join(v.values, ",") }
func (v *flagValue) Type() string   { return v.key.Kind.String() }
func (v *flagValue) Set(s string) error {
	if v.key.Kind != List {
		v.values = nil
	}
	v.values = append(v.values, s)
	return nil
}

// Load reads all sources: flags is a parsed set that AddFlags filled (nil for
// none), environ is like os.Environ. The error is Faults, with all there are;
// the configuration is returned beside it, with what could be read.
func Load(flags *pflag.FlagSet, environ []string) (*Config, error) {
	l := &loader{c: Default()}
	variables := ours(environ)
	path := variables["ROOKERY_CONFIG"]
	if given := l.flag(flags, "config"); given != nil {
		path = given[0]
	}
	if path != "" {
		l.file(path)
	}
	l.environment(variables)
	for i := range keys {
		if values := l.flag(flags, keys[i].Flag()); values != nil {
			l.set(&keys[i], "--"+keys[i].Flag(), values)
		}
	}
	l.c.crossCheck(l)
	if len(l.faults) == 0 {
		return l.c, nil
	}
	return l.c, l.faults
}

// loader gathers values and faults.
type loader struct {
	c      *Config
	faults Faults
}

func (l *loader) fault(where, key, format string, args ...any) {
	l.faults = append(l.faults, Fault{where, key, fmt.Sprintf(format, args...)})
}

func (l *loader) set(k *Key, where string, values []string) {
	if err := k.set(l.c, values); err != nil {
		l.fault(where, k.Name, "%s", err)
		return
	}
	l.c.origins[k.Name] = where
}

func (l *loader) flag(flags *pflag.FlagSet, name string) []string {
	if flags == nil {
		return nil
	}
	f := flags.Lookup(name)
	if f == nil || !f.Changed {
		return nil
	}
	return f.Value.(*flagValue).values
}

// ours returns the variables with our prefix.
func ours(environ []string) map[string]string {
	variables := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "ROOKERY_") {
			variables[name] = value
		}
	}
	return variables
}

func (l *loader) environment(variables map[string]string) {
	names := []string{}
	for i := range keys {
		k := &keys[i]
		names = append(names, k.Env())
		if value, ok := variables[k.Env()]; ok {
			l.set(k, k.Env(), []string{value})
			delete(variables, k.Env())
		}
	}
	unknown := []string{}
	for name := range variables {
		unknown = append(unknown, name)
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		l.fault(name, "", "no such variable%s", nearest.Hint(name, names))
	}
}

func (l *loader) file(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		l.fault("", "config", "%s", err)
		return
	}
	l.yaml(path, text)
}
