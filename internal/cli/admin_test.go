package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestAdmin(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		word string
	}{
		{nil, ExitUsage, "certs"},
		{[]string{"--help"}, ExitOK, "certs"},
		{[]string{"cert"}, ExitUsage, `did you mean "certs"`},
		{[]string{"certs", "--help"}, ExitOK, "--force"},
		{[]string{"certs"}, ExitUsage, "--dir"},
		{[]string{"certs", "--dir", "x", "--name", "y", "z"}, ExitUsage, "usage"},
	} {
		code, out, errOut := runCommand(t, nil, append([]string{"admin"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errOut, c.word) {
			t.Errorf("admin %v: exit %d\n%s%s", c.args, code, out, errOut)
		}
	}
}

func TestAdminCerts(t *testing.T) {
	args := []string{"admin", "certs", "--dir", filepath.Join(t.TempDir(), "certs"), "--name", "gateway-1", "--host", "127.0.0.1"}
	code, out, errOut := runCommand(t, nil, args...)
	if code != ExitOK || errOut != "" {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	for _, w := range []string{"ca.pem", "gateway-1.pem", "gateway-1.key", "until 20", "its own CA"} {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
	if code, _, errOut = runCommand(t, nil, args...); code != ExitFailed || !strings.Contains(errOut, "--force") {
		t.Errorf("again: exit %d: %s", code, errOut)
	}
	if code, out, _ = runCommand(t, nil, append(args, "--force")...); code != ExitOK || !strings.Contains(out, "kept") {
		t.Errorf("with --force: exit %d\n%s", code, out)
	}
}
