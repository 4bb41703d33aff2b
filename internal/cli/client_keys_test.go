package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is sent with --encrypt arrives with it, and nothing of it lies on the
// server or, with a passphrase, in the clients' folder.
func TestEncrypt(t *testing.T) {
	s := startTestServer(t)
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Bob's device publishes its keys, and goes.
	if code, _, errOut := s.run("send", "--as", "bob", "--to", "bob", "note", "--encrypt", "--device", "tail", "--wait", "durable"); code != ExitOK {
		t.Fatal(code, errOut)
	}
	code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "the walrus", "--encrypt", "--passphrase", "@"+pass, "--wait", "durable")
	if code != ExitOK {
		t.Fatal(code, errOut)
	}
	code, out, errOut := s.run("tail", "--as", "bob", "--encrypt", "--count", "2", "--json")
	if code != ExitOK || !strings.Contains(out, `"content":"the walrus"`) || !strings.Contains(out, `"suite":1`) {
		t.Errorf("%d: %s%s", code, out, errOut)
	}
	if code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "x", "--encrypt"); code == ExitOK || !strings.Contains(errOut, "passphrase") {
		t.Errorf("without the passphrase: %d %s", code, errOut)
	}
	if code, _, errOut := s.run("send", "--as", "carol", "--to", "nobody", "x", "--encrypt"); code == ExitOK || !strings.Contains(errOut, "no keys") {
		t.Errorf("to nobody: %d %s", code, errOut)
	}
	if code, _, errOut := s.run("send", "--as", "carol", "--to", "bob", "x", "--encrypt", "--passphrase", "word"); code == ExitOK || !strings.Contains(errOut, "@FILE") {
		t.Errorf("a passphrase on the command line: %d %s", code, errOut)
	}
}
