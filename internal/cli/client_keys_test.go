package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/client/e2ee"
)

// What is sent arrives encrypted, and with a passphrase nothing of it lies open in
// the clients' folder.
func TestEncrypted(t *testing.T) {
	s := startTestServer(t)
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.hasKeys("bob")
	code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "the walrus", "--passphrase", "@"+pass, "--wait", "durable")
	if code != ExitOK {
		t.Fatal(code, errOut)
	}
	code, out, errOut := s.run("tail", "--as", "bob", "--count", "2", "--json")
	if code != ExitOK || !strings.Contains(out, `"content":"the walrus"`) || !strings.Contains(out, `"suite":1`) {
		t.Errorf("%d: %s%s", code, out, errOut)
	}
	if code, out, errOut := s.run("history", "--as", "bob", "--with", "alice", "--plain"); code != ExitOK || !strings.Contains(out, "bytes, suite 1>") || strings.Contains(out, "walrus") {
		t.Errorf("without encryption: %d: %s%s", code, out, errOut)
	}
	if code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "x"); code == ExitOK || !strings.Contains(errOut, "--passphrase @FILE") {
		t.Errorf("without the passphrase: %d %s", code, errOut)
	}
	if code, _, errOut := s.run("send", "--as", "carol", "--to", "nobody", "x"); code == ExitOK || !strings.Contains(errOut, "no keys") || !strings.Contains(errOut, "--plain") {
		t.Errorf("to nobody: %d %s", code, errOut)
	}
	if code, _, errOut := s.run("send", "--as", "carol", "--to", "bob", "x", "--passphrase", "word"); code == ExitOK || !strings.Contains(errOut, "@FILE") {
		t.Errorf("a passphrase on the command line: %d %s", code, errOut)
	}
}

// All commands of a user are one device, and one that finds it in use is another:
// it sends, and reads history with the keys of the first.
func TestOneDevice(t *testing.T) {
	s := startTestServer(t)
	s.hasKeys("alice", "bob")
	bob := s.start(nil, "tail", "--as", "bob")
	if line := bob.line(); !strings.HasSuffix(line, "bob: note") {
		t.Fatalf("bob got %q", line)
	}
	for _, args := range [][]string{
		{"send", "--as", "alice", "--to", "bob", "one", "--wait", "durable"},
		{"send", "--as", "bob", "--to", "alice", "two", "--wait", "durable"}, // bob's tail has the device
	} {
		if code, _, errOut := s.run(args...); code != ExitOK {
			t.Fatal(code, errOut)
		}
	}
	for _, want := range []string{"alice: one", "to alice: two"} {
		if line := bob.line(); !strings.HasSuffix(line, want) {
			t.Fatalf("bob got %q, want %q", line, want)
		}
	}
	code, out, errOut := s.run("history", "--as", "bob", "--with", "alice")
	if code != ExitOK || !strings.Contains(out, "alice: one\n") || !strings.Contains(out, "bob: two  (sent)") {
		t.Errorf("history while the device is in use: %d\n%s%s", code, out, errOut)
	}
	bob.stop()
	bob.wantExit(ExitOK)
	names, err := devicesOf(filepath.Join(s.data, "clients"), "bob")
	if err != nil || len(names) != 1+deviceSpare {
		t.Fatal(names, err)
	}
	code, out, errOut = s.run("device", "list", "--as", "bob")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != ExitOK || len(lines) != 2 || !strings.HasPrefix(lines[0], names[0]+" ") || !strings.HasPrefix(lines[1], names[1]+" ") {
		t.Errorf("bob's devices are not %q:\n%s%s", names[:2], out, errOut)
	}
	if code, _, errOut := s.run("tail", "--as", "bob", "--plain", "--device", names[0]); code != ExitUsage || !strings.Contains(errOut, "has keys") {
		t.Errorf("a plain tail of a device with keys: %d %s", code, errOut)
	}
}

// What waits for the user is read by history, which takes nothing away: what tail
// shows afterwards is all of it, once.
func TestHistoryBeforeTail(t *testing.T) {
	s := startTestServer(t)
	s.hasKeys("alice", "bob")
	for _, text := range []string{"one", "two"} {
		if code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", text, "--wait", "durable"); code != ExitOK {
			t.Fatal(code, errOut)
		}
	}
	var out string
	for !strings.Contains(out, "alice: two\n") { // being durable is before being stored
		_, out, _ = s.run("history", "--as", "bob", "--with", "alice")
	}
	if !strings.Contains(out, "alice: one\n") {
		t.Errorf("history prints\n%s", out)
	}
	if _, out, errOut := s.run("chats", "--as", "bob"); !strings.Contains(out, "* alice ") || !strings.Contains(out, "alice: two\n") {
		t.Errorf("chats prints\n%s%s", out, errOut)
	}
	code, out, errOut := s.run("tail", "--as", "bob", "--count", "3")
	if code != ExitOK || strings.Count(out, "alice: one\n") != 1 || strings.Count(out, "alice: two\n") != 1 || strings.Contains(errOut, "rookery:") {
		t.Errorf("tail: %d\n%s%s", code, out, errOut)
	}
	code, out, errOut = s.run("tail", "--as", "bob", "--from", "start", "--count", "3")
	if code != ExitOK || strings.Count(out, "alice: one\n") != 1 || strings.Contains(errOut, "rookery:") {
		t.Errorf("tail from start: %d\n%s%s", code, out, errOut)
	}
}

// What comes without encryption is shown, and said to be so.
func TestPlainIsMarked(t *testing.T) {
	s := startTestServer(t)
	s.hasKeys("bob")
	if code, _, errOut := s.run("send", "--as", "bot", "--to", "bob", "beep", "--plain", "--wait", "durable"); code != ExitOK {
		t.Fatal(code, errOut)
	}
	if _, out, errOut := s.run("tail", "--as", "bob", "--count", "2"); !strings.Contains(out, "  bot: (not encrypted) beep\n") {
		t.Errorf("tail prints\n%s%s", out, errOut)
	}
	if _, out, errOut := s.run("history", "--as", "bob", "--with", "bot"); !strings.Contains(out, "  bot: (not encrypted) beep\n") {
		t.Errorf("history prints\n%s%s", out, errOut)
	}
	if _, out, errOut := s.run("chats", "--as", "bob"); !strings.Contains(out, "  bot: (not encrypted) beep\n") {
		t.Errorf("chats prints\n%s%s", out, errOut)
	}
	if code, _, errOut := s.run("chat", "--as", "bob", "--with", "bot"); code != ExitOK {
		t.Errorf("chat: %d %s", code, errOut)
	}
}

// A key file of which nobody says the passphrase is no history.
func TestHistoryWithoutPassphrase(t *testing.T) {
	s := startTestServer(t)
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := s.run("send", "--as", "bob", "--to", "bob", "note", "--wait", "durable", "--passphrase", "@"+pass); code != ExitOK {
		t.Fatal(code, errOut)
	}
	history := []string{"history", "--as", "bob", "--with", "bob"}
	var out string
	for !strings.Contains(out, "bob: note") { // being durable is before being stored
		_, out, _ = s.run(append(history, "--passphrase", "@"+pass)...)
	}
	if code, _, errOut := s.run(history...); code != ExitFailed || !strings.Contains(errOut, e2ee.ErrPassphrase.Error()) {
		t.Errorf("without: %d %s", code, errOut)
	}
}
