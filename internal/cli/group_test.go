package cli

import (
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// TestGroupCommands makes a group, writes to it, changes it and leaves it.
func TestGroupCommands(t *testing.T) {
	s := startTestServer(t).plain()
	run := func(code int, args ...string) string {
		t.Helper()
		got, out, errOut := s.run(args...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d; stderr:\n%s", args, got, code, errOut)
		}
		return out + errOut
	}
	group := strings.TrimSpace(run(ExitOK, "group", "create", "--as", "alice", "bob", "carol"))
	if !chat.ValidGroupName([]byte(group)) {
		t.Fatalf("the group is %q", group)
	}
	bob := s.start(strings.NewReader(""), "tail", "--as", "bob", "--count", "2")
	if line := bob.line(); !strings.HasSuffix(line, "alice in "+group+": <made the group, with bob, carol>") {
		t.Errorf("bob sees %q", line)
	}
	carol := s.start(strings.NewReader(""), "tail", "--as", "carol", "--count", "2")
	carol.line()
	out := run(ExitOK, "send", "--as", "alice", "--to", group, "--wait", "read", "hello all")
	if !strings.Contains(out, "read") {
		t.Errorf("send prints\n%s", out)
	}
	if line := bob.line(); !strings.HasSuffix(line, "hello all") {
		t.Errorf("bob sees %q", line)
	}
	bob.wantExit(ExitOK)
	carol.wantExit(ExitOK)

	run(ExitOK, "group", "invite", "--as", "alice", group, "dave")
	run(ExitOK, "group", "remove", "--as", "alice", group, "carol")
	run(ExitOK, "group", "admin", "--as", "alice", group, "bob")
	run(ExitOK, "group", "member", "--as", "bob", group, "alice")
	run(ExitOK, "group", "leave", "--as", "dave", group)
	list := run(ExitOK, "group", "list", "--as", "bob", group)
	if lines := strings.Split(strings.TrimSpace(list), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "alice            member") || !strings.Contains(lines[1], "bob              admin") {
		t.Errorf("list prints\n%s", list)
	}
	if out := run(ExitRefused, "group", "list", "--as", "carol", group); !strings.Contains(out, "forbidden") {
		t.Errorf("list of who was removed prints\n%s", out)
	}
	if out := run(ExitRefused, "group", "invite", "--as", "alice", group, "carol"); !strings.Contains(out, "not_admin") {
		t.Errorf("an invitation by a plain member prints\n%s", out)
	}
	if out := run(ExitOK, "history", "--as", "carol", "--with", group); !strings.Contains(out, "hello all") || strings.Contains(out, "admins") {
		t.Errorf("history of who was removed prints\n%s", out)
	}
	s.flags = nil
	if out := run(ExitFailed, "send", "--as", "bob", "--to", group, "secret"); !strings.Contains(out, "no keys") {
		t.Errorf("an encrypted send to who has no keys prints\n%s", out)
	}
	s.plain()
	talk := s.start(strings.NewReader("in a conversation\n"), "chat", "--as", "bob", "--with", group)
	talk.wantExit(ExitOK)
	direct := s.start(strings.NewReader(""), "chat", "--as", "alice", "--with", "bob", "--json") // what bob says to the group is not for here
	direct.wantExit(ExitOK)
	if out := run(ExitOK, "history", "--as", "alice", "--with", group, "--limit", "1"); !strings.Contains(out, "bob: in a conversation") {
		t.Errorf("history prints\n%s", out)
	}
	for _, args := range [][]string{{"group"}, {"group", "creat"}, {"group", "leave", "--as", "bob"}, {"group", "leave", "--as", "bob", group, "x"}, {"group", "create", "--as", "bob"}} {
		run(ExitUsage, args...)
	}
}

// A group that another device of the user's names is told as sent, not as what came.
func TestGroupNamedByOwnDevice(t *testing.T) {
	s := startTestServer(t)
	s.hasKeys("alice", "bob")
	tail := s.start(nil, "tail", "--as", "alice", "--json")
	for tail.record()["type"] != "caught_up" {
	}
	if code, _, errOut := s.run("group", "create", "--as", "alice", "bob", "--name", "the walrus club"); code != ExitOK { // a spare device
		t.Fatal(code, errOut)
	}
	r := tail.record()
	for r["content"] == nil {
		r = tail.record()
	}
	if r["type"] != "copy" || r["from"] != "alice" || r["content"] != "<named the group the walrus club>" {
		t.Errorf("%v", r)
	}
}

// TestEncryptedGroup: a group whose name and messages are for its members alone.
func TestEncryptedGroup(t *testing.T) {
	s := startTestServer(t)
	run := func(args ...string) string {
		t.Helper()
		code, out, errOut := s.run(args...)
		if code != ExitOK {
			t.Fatalf("%v: exit %d; stderr:\n%s", args, code, errOut)
		}
		return out
	}
	s.hasKeys("bob")
	group := strings.TrimSpace(run("group", "create", "--as", "alice", "bob", "--name", "the walrus club"))
	run("send", "--as", "alice", "--to", group, "the carpenter", "--wait", "durable")
	out := run("tail", "--as", "bob", "--count", "4")
	for _, want := range []string{"made the group", "named the group the walrus club", "alice in " + group + ": the carpenter"} {
		if !strings.Contains(out, want) {
			t.Errorf("bob does not see %q:\n%s", want, out)
		}
	}
	// Alice, who has seen the group by tail and sends now, encrypts for whom bob has invited meanwhile.
	s.hasKeys("carol")
	run("send", "--as", "bob", "--to", group, "hello", "--wait", "durable")
	run("tail", "--as", "alice", "--count", "1")
	run("group", "admin", "--as", "alice", group, "bob")
	run("group", "invite", "--as", "bob", group, "carol")
	run("send", "--as", "alice", "--to", group, "welcome", "--wait", "durable")
	if out := run("tail", "--as", "carol", "--count", "4"); !strings.Contains(out, "alice in "+group+": welcome") {
		t.Errorf("carol reads\n%s", out)
	}
	if code, _, errOut := s.run("group", "create", "--as", "alice", "bob", "--name", "x", "--plain"); code != ExitUsage || !strings.Contains(errOut, "--plain") {
		t.Errorf("a name in the clear: %d %s", code, errOut)
	}
}
