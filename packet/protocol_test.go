package packet

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

const protocolFile = "../docs/protocol.md"

func readProtocol(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(protocolFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var quoted = regexp.MustCompile("<!-- vector: ([a-z0-9-]+) -->\n(```hex\n[^`]*```\n)?")

// Every vector stands in the document, as its bytes are.
func TestProtocolQuotesTheVectors(t *testing.T) {
	blocks := map[string]string{}
	for _, e := range examples() {
		blocks[e.name] = "```hex\n" + dump(e.is) + "```\n"
	}
	doc := readProtocol(t)
	if *update {
		doc = quoted.ReplaceAllStringFunc(doc, func(old string) string {
			name := quoted.FindStringSubmatch(old)[1]
			return "<!-- vector: " + name + " -->\n" + blocks[name]
		})
		if err := os.WriteFile(protocolFile, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, m := range quoted.FindAllStringSubmatch(doc, -1) {
		seen[m[1]] = true
		if m[2] != blocks[m[1]] {
			t.Errorf("the example %s is not its vector: go test ./packet -update", m[1])
		}
	}
	for name := range blocks {
		if !seen[name] {
			t.Errorf("the vector %s is not in the document", name)
		}
	}
}

var hexBlock = regexp.MustCompile("(?s)```hex\n(.*?)```")

// Every hex example decodes, and is what its packets are encoded as.
func TestProtocolExamplesDecode(t *testing.T) {
	blocks := hexBlock.FindAllStringSubmatch(readProtocol(t), -1)
	if len(blocks) < len(examples()) {
		t.Errorf("only %d examples", len(blocks))
	}
	for _, m := range blocks {
		var digits strings.Builder
		for line := range strings.Lines(m[1]) {
			bytes, _, _ := strings.Cut(line, "  ")
			digits.WriteString(strings.ReplaceAll(strings.TrimSpace(bytes), " ", ""))
		}
		msg, err := hex.DecodeString(digits.String())
		if err != nil || len(msg) == 0 {
			t.Errorf("%v in\n%s", err, m[1])
			continue
		}
		if again := roundTrip(t, msg); !bytes.Equal(again, msg) {
			t.Errorf("% x is encoded as\n% x", msg, again)
		}
	}
}

// The table of each packet names its fields in order.
func TestProtocolTables(t *testing.T) {
	doc := readProtocol(t)
	types := map[string]reflect.Type{"row": reflect.TypeFor[Row](), "chat row": reflect.TypeFor[ChatRow](),
		"pre-key row": reflect.TypeFor[PreKey](), "device row": reflect.TypeFor[DeviceRef](), "device keys row": reflect.TypeFor[DeviceKeys](),
		"user keys row": reflect.TypeFor[UserKeys](), "claimed key row": reflect.TypeFor[ClaimedKey](), "member row": reflect.TypeFor[MemberRow](),
		"own device row": reflect.TypeFor[OwnDevice]()}
	for typ, empty := range codecs {
		types[fmt.Sprintf("%s (%d)", typ, typ)] = reflect.TypeOf(empty()).Elem()
	}
	cell := regexp.MustCompile("(?m)^\\| ([0-9]+) \\| `([a-z_]+)` \\|")
	for heading, typ := range types {
		_, section, found := strings.Cut(doc, "\n#### "+heading+"\n")
		if !found {
			t.Errorf("no section %q", heading)
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		var got, want []string
		for _, m := range cell.FindAllStringSubmatch(section, -1) {
			got = append(got, m[1]+" "+m[2])
		}
		first := 1
		if strings.Contains(heading, "row") {
			first = 0
		}
		for i := range typ.NumField() {
			want = append(want, fmt.Sprint(i+first, " ", fieldName(typ, i)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the table of %s has\n%q, the packet\n%q", heading, got, want)
		}
	}
}

var actionNames = map[chat.Action]string{
	chat.ActionStop: "stop", chat.ActionRetry: "retry", chat.ActionReconnect: "reconnect", chat.ActionLogin: "login",
}

// The table of codes is the code's.
func TestProtocolCodes(t *testing.T) {
	_, table, found := strings.Cut(readProtocol(t), "<!-- codes -->\n")
	if !found {
		t.Fatal("no table of codes")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	row := regexp.MustCompile("(?m)^\\| ([0-9]+) \\| `([a-z_]+)` \\| ([a-z]+) \\| ([^|]+) \\| ([^|]+) \\|$")
	var got, want []string
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		got = append(got, m[1]+" "+m[2]+" "+m[3])
	}
	for _, c := range chat.Codes() {
		if c != chat.CodeOK {
			want = append(want, fmt.Sprintf("%d %s %s", c, c, actionNames[c.Action()]))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%q\nthe code\n%q", got, want)
	}
}

// The table of limits names the keys of the welcome, in order.
func TestProtocolLimits(t *testing.T) {
	_, table, found := strings.Cut(readProtocol(t), "<!-- limits -->\n")
	if !found {
		t.Fatal("no table of limits")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, LimitNames) {
		t.Errorf("the table has %q, the code %q", got, LimitNames)
	}
	for _, c := range []string{fmt.Sprintf("%d arrays and maps", MaxDepth), fmt.Sprintf("%d elements", MaxElements), Subprotocol} {
		if !strings.Contains(readProtocol(t), c) {
			t.Errorf("the document does not say %q", c)
		}
	}
}
