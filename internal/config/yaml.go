package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/rookery-chat/rookery/internal/nearest"
)

// yaml walks the file's tree rather than decoding it into the struct, so that
// every fault is found in one go and has a line.
func (l *loader) yaml(path string, text []byte) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		l.fault(path, "", "%s", strings.TrimSpace(err.Error()))
		return
	}
	w := walker{loader: l, path: path, seen: map[string]bool{}}
	documents := 0
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if documents++; documents > 1 {
			l.fault(w.at(doc.Body), "", "a second document; one is read")
			return
		}
		w.group("", doc.Body)
	}
}

// walker walks one file's tree.
type walker struct {
	*loader
	path string
	seen map[string]bool
}

func (w *walker) at(n ast.Node) string {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return fmt.Sprintf("%s:%d", w.path, t.Position.Line)
	}
	return w.path
}

// group takes the mapping under a prefix, "" at the top.
func (w *walker) group(prefix string, n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			w.entry(prefix, v)
		}
	case *ast.MappingValueNode:
		w.entry(prefix, n)
	case *ast.NullNode:
	default:
		w.fault(w.at(n), "", "%s takes keys of its own, not a value", orTop(prefix))
	}
}

func orTop(prefix string) string {
	if prefix == "" {
		return "the file"
	}
	return strings.TrimSuffix(prefix, ".")
}

func (w *walker) entry(prefix string, v *ast.MappingValueNode) {
	name := prefix + v.Key.GetToken().Value
	if w.seen[name] {
		w.fault(w.at(v.Key), name, "%s stands here for the second time", name)
		return
	}
	w.seen[name] = true
	if _, isGroup := groupDocs[name]; isGroup && name != "" {
		w.group(name+".", v.Value)
		return
	}
	for i := range keys {
		if keys[i].Name == name && keys[i].InFile() {
			w.value(&keys[i], v)
			return
		}
	}
	w.fault(w.at(v.Key), "", "no such key: %s%s", name, nearest.Hint(name, fileNames()))
}

func (w *walker) value(k *Key, v *ast.MappingValueNode) {
	values, ok := scalars(v.Value)
	if !ok {
		w.fault(w.at(v.Value), k.Name, "%s takes a value of type %s", k.Name, k.Kind)
		return
	}
	if err := k.set(w.c, values); err != nil {
		w.fault(w.at(v.Key), k.Name, "%s: %s", k.Name, err)
		return
	}
	w.c.origins[k.Name] = w.at(v.Key)
}

// scalars returns a scalar's text, or the texts of a sequence of scalars.
func scalars(n ast.Node) ([]string, bool) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		text, ok := scalar(n)
		return []string{text}, ok
	}
	values := []string{}
	for _, item := range sequence.Values {
		text, ok := scalar(item)
		if !ok {
			return nil, false
		}
		values = append(values, text)
	}
	return values, true
}

func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// fileNames are the keys and groups that a file may have.
func fileNames() []string {
	names := []string{}
	for i := range keys {
		if keys[i].InFile() {
			names = append(names, keys[i].Name)
		}
	}
	for group := range groupDocs {
		if group != "" {
			names = append(names, group)
		}
	}
	return names
}
