package packet

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func loadAsyncAPI(t *testing.T) map[string]any {
	t.Helper()
	b, err := os.ReadFile("../docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at follows a path such as "components/messages/send".
func at(doc any, path string) any {
	for key := range strings.SplitSeq(path, "/") {
		m, _ := doc.(map[string]any)
		doc = m[key]
	}
	return doc
}

// Every packet is a message of the session, goes in its direction, and has its
// type and fields in order.
func TestAsyncAPIHasEveryPacket(t *testing.T) {
	doc := loadAsyncAPI(t)
	if v := fmt.Sprint(doc["asyncapi"]); v != "3.0.0" {
		t.Errorf("asyncapi: %s", v)
	}
	directions := map[bool]string{true: fmt.Sprint(at(doc, "operations/fromClient/messages")), false: fmt.Sprint(at(doc, "operations/fromServer/messages"))}
	for typ, name := range typeNames {
		want := []string{"type"}
		for i, x := 0, reflect.TypeOf(codecs[typ]()).Elem(); i < x.NumField(); i++ {
			want = append(want, fieldName(x, i))
		}
		items, got := at(doc, "components/messages/"+name+"/payload/items"), []string{}
		list, _ := items.([]any)
		for _, item := range list {
			got = append(got, fmt.Sprint(at(item, "title")))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, the packet %q", name, got, want)
			continue
		}
		if n := fmt.Sprint(at(list[0], "const")); n != fmt.Sprint(uint8(typ)) {
			t.Errorf("%s has the type %s", name, n)
		}
		ref := "#/channels/session/messages/" + name + "]"
		if at(doc, "channels/session/messages/"+name) == nil || !strings.Contains(directions[typ < TypeWelcome], ref) {
			t.Errorf("%s is no message of its direction", name)
		}
	}
}

// Every reference leads somewhere.
func TestAsyncAPIReferences(t *testing.T) {
	doc, found := loadAsyncAPI(t), 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				found++
				if at(any(doc), strings.TrimPrefix(ref, "#/")) == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(doc)
	if found < 100 {
		t.Errorf("only %d references", found)
	}
}
