package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

// Both users see one number. When a user has another identity nothing is sent until
// it is accepted, by all devices of the folder.
func TestSafety(t *testing.T) {
	s := startTestServer(t)
	run := func(code int, args ...string) string {
		t.Helper()
		got, out, errOut := s.run(args...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d; stderr:\n%s", args, got, code, errOut)
		}
		return out + errOut
	}
	s.hasKeys("alice", "bob")
	number := func(as, of string) string {
		line, _, _ := strings.Cut(run(ExitOK, "safety", "--as", as, of), "\n")
		return line
	}
	before := number("alice", "bob")
	if len(before) != 71 || before != number("bob", "alice") {
		t.Fatalf("alice sees %q, bob %q", before, number("bob", "alice"))
	}
	if out := run(ExitOK, "safety", "--as", "alice", "--verified", "bob", "--json"); !strings.Contains(out, `"verified":true`) {
		t.Errorf("noted: %s", out)
	}
	code := func(as, of string) string {
		_, rest, _ := strings.Cut(run(ExitOK, "safety", "--as", as, of, "--json"), `"qr":"`)
		qr, _, _ := strings.Cut(rest, `"`)
		return qr
	}
	if out := run(ExitOK, "safety", "--as", "bob", "--scanned", code("alice", "bob"), "alice", "--json"); !strings.Contains(out, `"verified":true`) {
		t.Errorf("scanned: %s", out)
	}
	s.hasKeys("carol")
	if out := run(ExitFailed, "safety", "--as", "alice", "--scanned", code("alice", "carol"), "bob"); !strings.Contains(out, "somebody stands in between") {
		t.Errorf("another's code: %s", out)
	}
	if out := run(ExitFailed, "safety", "--as", "alice", "--scanned", before, "bob"); !strings.Contains(out, "no safety code") {
		t.Errorf("the digits as a code: %s", out)
	}
	whileInUse := func(args ...string) {
		t.Helper()
		tail := s.start(nil, "tail", "--as", "alice", "--json")
		for tail.record()["type"] != "caught_up" {
		}
		run(ExitOK, args...)
		if out := run(ExitFailed, "safety", "--as", "alice", "--accept", "bob"); !strings.Contains(out, "another command has the device") {
			t.Errorf("while the device is in use: %s", out)
		}
		tail.stop()
		tail.wantExit(ExitOK)
	}
	whileInUse("send", "--as", "alice", "--to", "bob", "one", "--wait", "durable")

	// Bob begins anew, on another machine.
	elsewhere := []string{"--state", filepath.Join(t.TempDir(), "bob")}
	if out := run(ExitRefused, append([]string{"send", "--as", "bob", "--to", "alice", "x"}, elsewhere...)...); !strings.Contains(out, "device reset") {
		t.Errorf("with another identity: %s", out)
	}
	run(ExitOK, append([]string{"device", "reset", "--as", "bob"}, elsewhere...)...)
	if out := run(ExitFailed, "send", "--as", "alice", "--to", "bob", "two"); !strings.Contains(out, "--accept") {
		t.Errorf("to another identity: %s", out)
	}
	run(ExitOK, "safety", "--as", "alice", "--accept", "bob")
	if after := number("alice", "bob"); after == before || after != strings.SplitN(run(ExitOK, append([]string{"safety", "--as", "bob", "alice"}, elsewhere...)...), "\n", 2)[0] {
		t.Errorf("the number was %q and is %q", before, after)
	}
	run(ExitOK, "send", "--as", "alice", "--to", "bob", "three", "--wait", "durable")
	whileInUse("send", "--as", "alice", "--to", "bob", "four", "--wait", "durable")
	for _, args := range [][]string{{"safety", "--as", "alice"}, {"safety", "--as", "alice", "bob", "--plain"}, {"safety", "--as", "alice", "a", "b"}} {
		run(ExitUsage, args...)
	}
}
