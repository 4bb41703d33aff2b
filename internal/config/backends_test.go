package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared are the keys of a process among others.
var shared = []string{"--log=kafka://a:1,b:2/p", "--store=cql://a:1/k", "--presence=redis://a:1", "--rpc-plaintext=true"}

// TestSharedBackEnds holds the rules between role, log, store, presence and the
// links between processes. want is "" where the settings hold.
func TestSharedBackEnds(t *testing.T) {
	with := func(more ...string) []string { return append(append([]string{}, shared...), more...) }
	certs := []string{"--rpc-ca=a", "--rpc-cert=b", "--rpc-key=c"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{with(), ""},
		{with("--role=gateway"), ""},
		{with("--role=processor"), ""},
		{append(with("--rpc-plaintext=false"), certs...), ""},
		{with("--kafka-sasl=plain", "--kafka-user=u", "--kafka-password-file=f"), ""},
		{[]string{"--role=gateway"}, "role gateway needs --log kafka://"},
		{with("--role=processor", "--store=pebble"), "role processor needs"},
		{with("--role=gateway", "--presence=memory"), "role gateway needs"},
		{with("--log=local"), "presence.url names Redis"},
		{with("--store=pebble"), "presence.url names Redis"},
		{with("--presence=memory"), "the log or the store is shared"},
		{[]string{"--store=cql://a:1/k"}, "the log or the store is shared"},
		{with("--rpc-plaintext=false"), "rpc.ca, rpc.cert and rpc.key"},
		{with(certs...), "rpc.ca, rpc.cert and rpc.key"},
		{with("--rpc-plaintext=false", "--rpc-ca=a", "--rpc-key=c"), "rpc.ca, rpc.cert and rpc.key"},
		{with("--kafka-sasl=plain"), "go together"},
		{with("--kafka-sasl=plain", "--kafka-user=u"), "go together"},
		{with("--kafka-user=u", "--kafka-password-file=f"), "go together"},
		{with("--log=redis://a:1"), "pipeline.url"},
		{with("--log=kafka://u:secret@a:1/p"), "holds a password"},
		{with("--store=cql://u:secret@a:1/k"), "holds a password"},
		{with("--presence=redis://u:secret@a:1"), "holds a password"},
		{with("--presence=http://a:1"), "write redis://host:port"},
		{with("--log=kafka:///p"), "write kafka://"},
		{with("--store=cql://a:1/k?x=1"), "write cql://"},
		{with("--log=kafka://a:1,,b:2/p"), "a host is empty"},
	} {
		_, err := load(t, "", nil, c.args...)
		var faults Faults
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.args, err)
		case c.want != "" && (!errors.As(err, &faults) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the password is shown: %v", c.args, err)
		}
	}
}

func TestParseBackend(t *testing.T) {
	b, err := ParseBackend("cql", "cql://u@a:1,b:2/k/")
	if err != nil || b.User != "u" || strings.Join(b.Hosts, " ") != "a:1 b:2" || b.Name != "k" {
		t.Errorf("%+v, %v", b, err)
	}
}

// What is refused shows no password, and what is taken has no empty host.
func FuzzParseBackend(f *testing.F) {
	for _, s := range []string{"kafka://a:1/p", "kafka://u:hunter2@a:1,b:2/p", "kafka://u:hunter2@a:x/p", "kafka://[::1]:1", "kafka://%zz:hunter2@", "", "://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBackend("kafka", text)
		if err == nil && (len(b.Hosts) == 0 || strings.Contains(strings.Join(b.Hosts, ",")+",", ",,")) {
			t.Errorf("%q: %+v", text, b)
		}
		if before, _, found := strings.Cut(text, "@"); err != nil && found && strings.Contains(before, ":hunter2") && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is shown: %v", err)
		}
	})
}

func TestPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	for text, want := range map[string]string{"x": "x", "x\n": "x", "x y \r\n": "x y ", "": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Password(file); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if got, err := Password(""); err != nil || got != "" {
		t.Errorf("no file: %q, %v", got, err)
	}
	if _, err := Password(file + "-not"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}
