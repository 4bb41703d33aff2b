package config

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// WriteDefault writes the default file: every key with what it is for. Loading
// it changes nothing.
func WriteDefault(w io.Writer) {
	fmt.Fprint(w, "# Rookery's configuration, with every default. A flag or an environment variable\n# wins over what stands here; 'rookery config explain KEY' names them.\n")
	group := ""
	for i := range keys {
		k := &keys[i]
		if !k.InFile() {
			continue
		}
		g, name, grouped := strings.Cut(k.Name, ".")
		indent := ""
		if grouped {
			indent = "  "
			if g != group {
				fmt.Fprintf(w, "\n# %s\n%s:\n", groupDocs[g], g)
				group = g
			}
		} else {
			name = k.Name
			fmt.Fprintln(w)
		}
		writeComment(w, indent, k.Doc+bounds(k, " ", "."))
		fmt.Fprintf(w, "%s%s: %s\n", indent, name, yamlValue(k))
	}
}

// yamlValue writes a default as YAML.
func yamlValue(k *Key) string {
	switch {
	case k.Kind == List:
		return "[" + strings.ReplaceAll(k.Default, ",", ", ") + "]"
	case k.Default == "" || k.Kind == Address:
		return fmt.Sprintf("%q", k.Default)
	}
	return k.Default
}

func writeComment(w io.Writer, indent, text string) {
	const width = 96
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width {
			fmt.Fprintln(w, line)
			line = indent + "#"
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

// bounds describes what values a key takes, "" where any text will do.
func bounds(k *Key, before, after string) string {
	switch {
	case k.Choices != nil:
		return before + "Of: " + strings.Join(k.Choices, ", ") + after
	case k.Kind == Int:
		return fmt.Sprintf("%s%s to %s %s%s", before, k.format(k.Min), k.format(k.Max), k.Unit, after)
	case k.Kind == Size || k.Kind == Duration || k.Kind == Memory:
		return fmt.Sprintf("%s%s to %s%s", before, k.format(k.Min), k.format(k.Max), after)
	}
	return ""
}

// Explain writes everything about a key, and its value in c.
func Explain(w io.Writer, k Key, c *Config) {
	fmt.Fprintf(w, "%s\n  %s\n\n", k.Name, k.Doc)
	fmt.Fprintf(w, "  value     %s (%s)\n", orEmpty(k.Value(c)), c.Origin(k.Name))
	fmt.Fprintf(w, "  default   %s\n", orEmpty(k.Default))
	fmt.Fprintf(w, "  type      %s\n", k.Kind)
	if b := bounds(&k, "", ""); b != "" {
		fmt.Fprintf(w, "  takes     %s\n", strings.TrimPrefix(b, "Of: "))
	}
	fmt.Fprintf(w, "  flag      --%s\n  variable  %s\n", k.Flag(), k.Env())
	if k.InFile() {
		fmt.Fprintf(w, "  file      %s\n", strings.ReplaceAll(k.Name, ".", ": "))
	}
}

func orEmpty(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

// WriteFlags writes the flags of a set that AddFlags filled, by group, for
// help. Flags that are no keys come first.
func WriteFlags(w io.Writer, fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		if _, isKey := f.Value.(*flagValue); !isKey {
			fmt.Fprintf(w, "  --%-38s %s\n", f.Name, f.Usage)
		}
	})
	group := ""
	for i := range keys {
		k := &keys[i]
		if g, _, grouped := strings.Cut(k.Name, "."); grouped && g != group {
			fmt.Fprintf(w, "\n%s\n", groupDocs[g])
			group = g
		}
		fmt.Fprintf(w, "  --%-38s %s (default %s)\n", k.Flag(), k.Doc, orEmpty(k.Default))
	}
}

// WriteMarkdown writes the table of docs/operations.md.
func WriteMarkdown(w io.Writer) {
	fmt.Fprint(w, "| key | type | default | takes | what it is |\n| --- | --- | --- | --- | --- |\n")
	for i := range keys {
		k := &keys[i]
		takes := strings.TrimPrefix(bounds(k, "", ""), "Of: ")
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", k.Name,
			strings.ReplaceAll(k.Kind.String(), "|", `\|`), code(k.Default), takes, strings.ReplaceAll(k.Doc, "|", `\|`))
	}
}

func code(s string) string {
	if s == "" {
		return "empty"
	}
	return "`" + s + "`"
}
