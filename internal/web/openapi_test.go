package web

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// document is docs/openapi.yaml.
func document(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// at goes down a path of keys.
func at(t *testing.T, v any, path ...string) any {
	t.Helper()
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok || m[key] == nil {
			t.Fatalf("the document has no %v", path)
		}
		v = m[key]
	}
	return v
}

// TestOpenAPIHasEveryCall holds that the document and the listener have the same
// calls, by method, path and the handler's name.
func TestOpenAPIHasEveryCall(t *testing.T) {
	var documented, served []string
	for path, methods := range at(t, document(t), "paths").(map[string]any) {
		for method := range methods.(map[string]any) {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for pattern := range new(Server).calls() {
		served = append(served, pattern)
	}
	slices.Sort(documented)
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("documented:\n%s\nserved:\n%s", strings.Join(documented, "\n"), strings.Join(served, "\n"))
	}
}

// TestOpenAPIFields holds that answers have the documented fields and no others.
func TestOpenAPIFields(t *testing.T) {
	d := document(t)
	slot := []string{"components", "responses", "slot", "content", "application/json", "schema", "properties"}
	for _, c := range []struct {
		value any
		at    []string
	}{
		{message{}, []string{"components", "schemas", "message", "properties"}},
		{event{}, []string{"components", "schemas", "event", "properties"}},
		{failure{}, []string{"components", "responses", "error", "content", "application/json", "schema", "properties"}},
		{mediaSlot{}, slot},
		{mediaPart{}, append(slot, "missing", "items", "properties")},
		{mediaAsk{}, []string{"paths", "/v1/media", "post", "requestBody", "content", "application/json", "schema", "properties"}},
		{mediaLink{}, []string{"paths", "/v1/media/{name}", "get", "responses", "200", "content", "application/json", "schema", "properties"}},
	} {
		var fields, documented []string
		for f := range reflect.TypeOf(c.value).Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				fields = append(fields, name)
			}
		}
		for name := range at(t, d, c.at...).(map[string]any) {
			documented = append(documented, name)
		}
		slices.Sort(fields)
		slices.Sort(documented)
		if !slices.Equal(fields, documented) {
			t.Errorf("%T has %v, the document %v", c.value, fields, documented)
		}
	}
}

// TestOpenAPIReferences holds that each reference leads somewhere.
func TestOpenAPIReferences(t *testing.T) {
	d := document(t)
	found := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				found++
				at(t, d, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			}
			for _, w := range v {
				walk(w)
			}
		case []any:
			for _, w := range v {
				walk(w)
			}
		}
	}
	walk(d)
	if found < 20 {
		t.Errorf("only %d references", found)
	}
}
