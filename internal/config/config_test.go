package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite the generated parts of the documents")

// load is Load on a file's text ("" for none), variables and arguments.
func load(t *testing.T, file string, environ []string, args ...string) (*Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "rookery.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		environ = append(environ, "ROOKERY_CONFIG="+path)
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(fs, environ)
}

func TestDefaultsHold(t *testing.T) {
	c, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:8080" || c.Session.Heartbeat != time.Minute || c.Session.ContentBytes != 64<<10 ||
		c.Retention.Messages != 1825*24*time.Hour || !reflect.DeepEqual(c.Auth.Algorithms, []string{"EdDSA"}) {
		t.Errorf("defaults: %+v", c)
	}
	if !c.UseDevKey() {
		t.Error("no development key on loopback")
	}
}

// TestEveryKeyHasAField sets each key to something else and looks for a change
// in exactly one field.
func TestEveryKeyHasAField(t *testing.T) {
	flags, envs := map[string]bool{}, map[string]bool{}
	for _, k := range Keys() {
		if flags[k.Flag()] || envs[k.Env()] {
			t.Errorf("%s: its flag or variable is another key's too", k.Name)
		}
		flags[k.Flag()], envs[k.Env()] = true, true
		if len(k.Doc) < 10 || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: no sentence of documentation", k.Name)
		}
		c := Default()
		if got := k.Value(c); got != k.Default && k.Kind != Memory {
			t.Errorf("%s: default %q comes back as %q", k.Name, k.Default, got)
		}
		if err := k.set(c, []string{another(&k)}); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		for _, other := range Keys() {
			changed := other.Value(c) != other.Value(Default())
			if changed != (other.Name == k.Name) {
				t.Errorf("setting %s: %s changed: %v", k.Name, other.Name, changed)
			}
		}
	}
	if c := Default(); countFields(reflect.ValueOf(*c)) != len(keys) {
		t.Errorf("the struct has %d fields, the table %d keys", countFields(reflect.ValueOf(*c)), len(keys))
	}
}

// TestBounds crosses every bound by one, and stands on it.
func TestBounds(t *testing.T) {
	for _, k := range Keys() {
		if k.Max == 0 {
			continue
		}
		unit := ""
		if k.Kind == Duration {
			unit = "ns"
		}
		for n, good := range map[int64]bool{k.Min - 1: false, k.Min: true, k.Max: true, k.Max + 1: false} {
			v := strconv.FormatInt(n, 10) + unit
			if err := k.set(Default(), []string{v}); (err == nil) != good {
				t.Errorf("%s = %s: %v", k.Name, v, err)
			}
		}
	}
}

func another(k *Key) string {
	switch k.Kind {
	case Bool:
		return "true"
	case Choice:
		return k.Choices[len(k.Choices)-1]
	case List:
		return "HS256"
	case Address:
		return "127.0.0.1:9999"
	case Text:
		return "elsewhere"
	case Memory:
		return "off"
	}
	return k.format(k.Max)
}

func countFields(v reflect.Value) int {
	n := 0
	for i := range v.NumField() {
		switch {
		case !v.Type().Field(i).IsExported():
		case v.Field(i).Kind() == reflect.Struct:
			n += countFields(v.Field(i))
		default:
			n++
		}
	}
	return n
}

func TestPrecedence(t *testing.T) {
	file := "session:\n  window: 10\n  watches: 11\n  inflight: 12\n"
	env := []string{"ROOKERY_SESSION_WATCHES=21", "ROOKERY_SESSION_INFLIGHT=22", "HOME=/", "ROOKERYX=1"}
	c, err := load(t, file, env, "--session-inflight", "32")
	if err != nil {
		t.Fatal(err)
	}
	if c.Session.HistoryRows != 100 || c.Session.Window != 10 || c.Session.Watches != 21 || c.Session.Inflight != 32 {
		t.Errorf("got %d %d %d %d", c.Session.HistoryRows, c.Session.Window, c.Session.Watches, c.Session.Inflight)
	}
	for key, suffix := range map[string]string{"session.history_rows": "default", "session.window": "rookery.yaml:2",
		"session.watches": "ROOKERY_SESSION_WATCHES", "session.inflight": "--session-inflight"} {
		if got := c.Origin(key); !strings.HasSuffix(got, suffix) {
			t.Errorf("origin of %s: %q", key, got)
		}
	}
}

func TestBoolFlagNeedsNoValue(t *testing.T) {
	for arg, want := range map[string]bool{"--session-deflate": true, "--session-deflate=true": true, "--session-deflate=false": false} {
		if c, err := load(t, "session: {deflate: false}\n", nil, arg); err != nil || c.Session.Deflate != want {
			t.Errorf("%s: %v, %v", arg, c.Session.Deflate, err)
		}
	}
}

func TestFlagNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	os.WriteFile(path, []byte("data: /elsewhere\n"), 0o600)
	c, err := load(t, "data: /wrong\n", nil, "--config", path)
	if err != nil || c.Data != "/elsewhere" || c.File != path {
		t.Errorf("%q %q %v", c.Data, c.File, err)
	}
}

// TestFaultsTogether holds that one load names all there is to mend, each with
// its place and the nearest key.
func TestFaultsTogether(t *testing.T) {
	file := `
sesion:
  heartbeat: 10s
session:
  hartbeat: 10s
  window: many
  window_bytes: [1KiB, 2KiB]
  content_bytes: 9MiB
engine: 7
listen: {host: x}
`
	_, err := load(t, file, []string{"ROOKERY_LISTN=x", "ROOKERY_LOG_LEVEL=loud"},
		"--admin", "8081", "--drain-grace=soon", "--retention-inbox=20d", "--retention-messages=10d")
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	want := []string{
		`rookery.yaml:2: no such key: sesion; did you mean "session"?`,
		`rookery.yaml:5: no such key: session.hartbeat; did you mean "session.heartbeat"?`,
		`rookery.yaml:6: session.window: "many" is no whole number`,
		`rookery.yaml:7: session.window_bytes: takes one value, not a list`,
		`rookery.yaml:8: session.content_bytes: 9MiB is out of range: 64 to 8MiB`,
		`rookery.yaml:9: engine takes keys of its own, not a value`,
		`rookery.yaml:10: listen takes a value of type address`,
		`ROOKERY_LOG_LEVEL: "loud" is none of debug, info, warn, error`,
		`ROOKERY_LISTN: no such variable; did you mean "ROOKERY_LISTEN"?`,
		`--admin: "8081" is no host:port`,
		`--drain-grace: "soon" is no duration`,
		`retention.messages has to be at least retention.inbox`,
	}
	if len(faults) != len(want) {
		t.Errorf("%d faults, want %d:\n%v", len(faults), len(want), err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("missing %q in\n%v", w, err)
		}
	}
}

func TestFileFaults(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"syntax":          {"a: [", "rookery.yaml"},
		"list at the top": {"- a\n", "the file takes keys of its own"},
		"twice":           {"data: a\ndata: b\n", "data"},
		"config inside":   {"config: x\n", "no such key: config"},
		"two documents":   {"data: a\n---\ndata: b\n", "a second document"},
		"null":            {"data:\n", "takes a value of type text"},
	} {
		if _, err := load(t, c.file, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := load(t, "", nil, "--config", "/nowhere/x.yaml"); err == nil || !strings.Contains(err.Error(), "/nowhere/x.yaml") {
		t.Errorf("missing file: %v", err)
	}
	for _, empty := range []string{"\n", "# nothing\n", "---\n", "session:\n"} {
		if _, err := load(t, empty, nil); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestCrossChecks(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--media=s3:/x", "--media-endpoint=http://x"}, "media.url"}, {[]string{"--media=ftp://x"}, "media.url"}, {[]string{"--media=s3://x"}, "media.endpoint"},
		{[]string{"--media=s3://x", "--media-endpoint=x:1"}, "media.endpoint"}, {[]string{"--media-cdn=x"}, "media.cdn"},
		{[]string{"--media-bytes=1GiB", "--media-quota=1MiB"}, "media.quota"},
		{[]string{"--web=127.0.0.1:8081"}, "web.listen is the same address"},
		{[]string{"--web-cert=x.pem"}, "web.cert and web.key go together"},
		{[]string{"--web-url=chat.example.org"}, "web.url"}, {[]string{"--web-url=https://chat.example.org/x"}, "web.url"},
		{[]string{"--web-sockets=https://chat.example.org"}, "web.sockets"},
		{[]string{"--listen=0.0.0.0:1", "--admin=0.0.0.0:1", "--auth-dev-key=true"}, "the same address"},
		{[]string{"--data="}, "data is empty"},
		{[]string{"--auth-algorithms="}, "auth.algorithms is empty"},
		{[]string{"--auth-algorithms=ES256"}, "auth.algorithms leaves out EdDSA"},
		{[]string{"--listen=0.0.0.0:8080"}, "nobody could connect to 0.0.0.0:8080"},
		{[]string{"--auth-dev-key=false"}, "nobody could connect"},
		{[]string{"--listen-proxy=proxy", "--auth-dev-key=true"}, "listen_proxy needs listen_trusted"},
		{[]string{"--listen-trusted=127.0.0.1,10.0.0.0/33,balancer"}, `"10.0.0.0/33" is no address and no network such as 10.0.0.0/8; "balancer" is no`},
		{[]string{"--listen-proxy=forwarded", "--listen-trusted=127.0.0.1"}, "nobody could connect to 127.0.0.1:8080"},
		{[]string{"--auth-origins=example.org"}, "is no origin"},
		{[]string{"--auth-origins=https://example.org/chat"}, "is no origin"},
		{[]string{"--session-idle=100s"}, "session.idle has to be"},
		{[]string{"--session-content-bytes=256KiB"}, "session.message_bytes has to be"},
		{[]string{"--shard-batch-bytes=4KiB"}, "shard.batch_bytes has to be"},
		{[]string{"--session-window-bytes=2MiB"}, "session.window_bytes has to be"},
		{[]string{"--engine-out-bytes-per-connection=1GiB"}, "engine.out_bytes_total has to be"},
		{[]string{"--session-rate-burst=1"}, "session.rate_burst has to be"},
		{[]string{"--retention-messages=1d"}, "retention.messages has to be"},
		{[]string{"--drain-url=http://x"}, "is no ws://"},
	} {
		_, err := load(t, "", nil, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.args, err)
		}
		if err != nil && strings.Count(err.Error(), "\n") != 0 {
			t.Errorf("%v: more than one fault:\n%v", c.args, err)
		}
	}
	// the same rules leave these alone
	for _, args := range [][]string{
		{"--listen=0.0.0.0:8080", "--auth-dev-key=true"},
		{"--listen=0.0.0.0:8080", "--auth-keys=keys.json"},
		{"--listen=[::1]:8080"}, {"--listen=localhost:8080"},
		{"--listen-proxy=proxy", "--listen-trusted=127.0.0.1,::1,10.0.0.0/8", "--auth-dev-key=true"},
		{"--listen=127.0.0.1:0", "--admin=127.0.0.1:0"},
		{"--auth-algorithms=ES256,HS256", "--auth-dev-key=false", "--auth-keys=keys.json"},
		{"--auth-origins=*"}, {"--auth-origins=https://a.example,http://localhost:5173"},
		{"--drain-url=wss://other.example"},
	} {
		if _, err := load(t, "", nil, args...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestValues(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "4096": 4096, "1B": 1, "64KiB": 64 << 10, "3MiB": 3 << 20, "2 GiB": 2 << 30, "1TiB": 1 << 40} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "1kb", "1.5MiB", "9999999TiB", "KiB", "1 2"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d", in, got)
		}
	}
	for in, want := range map[string]time.Duration{"0s": 0, "150ms": 150 * time.Millisecond, "30d": 720 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := parseDuration(in); err != nil || time.Duration(got) != want {
			t.Errorf("parseDuration(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "5", "-1d", "1.5d", "d", "9999999999d", "1w"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("parseDuration(%q) = %d", in, got)
		}
	}
}
