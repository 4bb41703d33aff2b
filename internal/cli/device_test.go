package cli

import (
	"strings"
	"testing"
)

// A device of another machine is linked by a code, reads what comes, and is taken
// away again.
func TestDeviceCommands(t *testing.T) {
	s, other := startTestServer(t), t.TempDir()
	run := func(code int, args ...string) string {
		t.Helper()
		got, out, errOut := s.run(args...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d; stderr:\n%s", args, got, code, errOut)
		}
		return out + errOut
	}
	run(ExitOK, "send", "--as", "alice", "--to", "alice", "a note", "--wait", "durable") // who has keys then
	run(ExitOK, "send", "--as", "bob", "--to", "alice", "--wait", "durable", "the carpenter")
	run(ExitOK, "send", "--as", "carol", "--to", "alice", "--wait", "durable", "the oysters")
	run(ExitOK, "tail", "--as", "alice", "--count", "3")
	old := s.start(nil, "device", "link", "--as", "alice", "--without", "carol")
	code := old.line()
	if len(code) != 47 {
		t.Fatalf("the code is %q", code)
	}
	laptop := []string{"--as", "alice", "--device", "laptop", "--state", other}
	if out := run(ExitOK, append([]string{"device", "link", code}, laptop...)...); !strings.Contains(out, "linked laptop\nhistory of 2 sessions\n") {
		t.Errorf("the new device prints %q", out)
	}
	if line := old.line(); line != "linked laptop" {
		t.Errorf("the old device prints %q", line)
	}
	if line := old.line(); line != "history of 2 sessions" {
		t.Errorf("the old device prints %q", line)
	}
	old.wantExit(ExitOK)
	if out := run(ExitOK, append([]string{"history", "--with", "bob"}, laptop...)...); !strings.Contains(out, "the carpenter") {
		t.Errorf("the history is %q", out)
	}
	if out := run(ExitOK, append([]string{"history", "--with", "carol"}, laptop...)...); strings.Contains(out, "the oysters") {
		t.Errorf("the history that was left out is %q", out)
	}
	// By another device, which looks anew who alice's are.
	run(ExitOK, "send", "--as", "bob", "--device", "pen", "--to", "alice", "--wait", "durable", "the walrus")
	if out := run(ExitOK, append([]string{"tail", "--count", "1"}, laptop...)...); !strings.Contains(out, "the walrus") {
		t.Errorf("the new device reads %q", out)
	}

	run(ExitOK, "device", "label", "--as", "alice", "laptop", "Alice's laptop")
	run(ExitRefused, "device", "label", "--as", "alice", "none", "x")
	run(ExitOK, "device", "revoke", "--as", "alice", "laptop")
	// Who wrote to it is told: they get a share that is for no device.
	if out := run(ExitOK, "tail", "--as", "carol", "--device", "spy", "--plain", "--json", "--count", "1"); !strings.Contains(out, `"suite":2`) {
		t.Errorf("carol is told %q", out)
	}
	list := run(ExitOK, "device", "list", "--as", "alice")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], "terminal-") || !strings.Contains(lines[0], "revoked") || !strings.HasSuffix(lines[0], "Alice's laptop") {
		t.Errorf("list prints\n%s", list)
	}
	if out := run(ExitOK, "device", "list", "--as", "alice", "--json"); strings.Count(out, `"type":"device"`) != 2 || strings.Count(out, `"revoked":`) != 1 {
		t.Errorf("list prints\n%s", out)
	}
	if out := run(ExitRefused, append([]string{"tail"}, laptop...)...); !strings.Contains(out, "revoked") {
		t.Errorf("a revoked device's tail prints %q", out)
	}
	for _, args := range [][]string{{"device"}, {"device", "link", "--as", "bob", "--no-history", "CODE"}, {"device", "lst"}, {"device", "revoke", "--as", "bob"}, {"device", "link", "--as", "bob", "--plain"},
		{"device", "link", "--as", "bob", "--token", "t"}, {"device", "list", "--as", "bob", "x"}} {
		run(ExitUsage, args...)
	}
	if out := run(ExitFailed, "device", "link", "--as", "bob", "--device", "laptop", "no code"); !strings.Contains(out, "no code for linking") {
		t.Errorf("no code: %q", out)
	}
}
