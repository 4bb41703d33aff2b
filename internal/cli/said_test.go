package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// Two encrypted conversations without a terminal: replies, reactions, edits and
// deletions, each seen by the other.
func TestChatSaysMore(t *testing.T) {
	s := startTestServer(t)
	aliceIn, aliceTypes, _ := os.Pipe()
	bobIn, bobTypes, _ := os.Pipe()
	alice := s.start(aliceIn, "chat", "--as", "alice", "--with", "bob")
	bob := s.start(bobIn, "chat", "--as", "bob", "--with", "alice", "--json")
	until := func(suffix string) {
		t.Helper()
		for line := ""; !strings.HasSuffix(line, suffix); {
			line = alice.line()
		}
	}
	next := func(kind string) map[string]any {
		t.Helper()
		for {
			if r := bob.record(); r["type"] == "message" {
				if got := fmt.Sprint(r["kind"]); got != kind {
					t.Fatalf("bob got %v, want a %s", r, kind)
				}
				return r
			}
		}
	}
	// Who has no keys yet cannot be written to: bob's are there when his words are.
	fmt.Fprintln(bobTypes, "hi")
	until("  bob: hi")
	fmt.Fprintln(aliceTypes, "/reply hello")
	if r := next("text"); r["content"] != "hello" || r["target"] == nil {
		t.Fatalf("bob got %v", r)
	}
	fmt.Fprintln(aliceTypes, "/edit hello, bob")
	edit := next("edit")
	if edit["content"] != "hello, bob" {
		t.Fatalf("bob got %v", edit)
	}
	fmt.Fprintln(bobTypes, "/react 👍")
	until(fmt.Sprintf("bob: [reacts to %s: 👍]", edit["target"]))
	fmt.Fprintln(aliceTypes, "/delete")
	if r := next("delete"); r["target"] != edit["target"] {
		t.Fatalf("bob got %v", r)
	}
	fmt.Fprintln(aliceTypes, "/disappear 1h")
	if r := next("timer"); r["seconds"] != 3600.0 {
		t.Fatalf("bob got %v", r)
	}
	fmt.Fprintln(aliceTypes, "soon gone")
	if r := next("text"); r["seconds"] != 3600.0 || r["expires"] == nil {
		t.Fatalf("bob got %v", r)
	}
	end := func() {
		t.Helper()
		aliceTypes.Close()
		bobTypes.Close()
		alice.wantExit(ExitOK)
		bob.wantExit(ExitOK)
	}
	end()

	// The next conversation goes by that timer, though its message does not come again.
	aliceIn, aliceTypes, _ = os.Pipe()
	bobIn, bobTypes, _ = os.Pipe()
	alice = s.start(aliceIn, "chat", "--as", "alice", "--with", "bob")
	bob = s.start(bobIn, "chat", "--as", "bob", "--with", "alice", "--json")
	fmt.Fprintln(aliceTypes, "gone too")
	if r := next("text"); r["seconds"] != 3600.0 || r["expires"] == nil {
		t.Fatalf("bob got %v", r)
	}
	fmt.Fprintln(aliceTypes, "/disappear 9000h") // longer than the server takes, by default
	next("timer")
	fmt.Fprintln(aliceTypes, "gone in a year")
	if r := next("text"); r["seconds"] != 365*24*3600.0 || r["expires"] == nil {
		t.Fatalf("bob got %v", r)
	}
	end()
}

func TestCommands(t *testing.T) {
	id := chat.NewID(1, 1, chat.Node{1})
	for line, want := range map[string]chatCommand{
		"/edit new words":              {name: "/edit", text: "new words"},
		"/react " + id.String() + " 👍": {name: "/react", target: id, text: "👍"},
		"/delete " + id.String():       {name: "/delete", target: id},
		"/delete":                      {name: "/delete"},
	} {
		if got, ok := chatCommandOf(line); !ok || got != want {
			t.Errorf("%q is %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"/etc/passwd", "edit this", "/", "/editing"} {
		if got, ok := chatCommandOf(line); ok {
			t.Errorf("%q is %+v", line, got)
		}
	}
}

// Who is blocked is listed until that is taken back.
func TestBlockCommand(t *testing.T) {
	s := startTestServer(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, ""}, {[]string{"mallory", "trent"}, "mallory\ntrent\n"}, {[]string{"--undo", "trent"}, "mallory\n"}, {nil, "mallory\n"},
	} {
		code, out, errOut := s.run(append([]string{"block", "--as", "alice"}, c.args...)...)
		if code != ExitOK || out != c.want {
			t.Errorf("block %v exits with %d and prints %q and %q, want %q", c.args, code, out, errOut, c.want)
		}
	}
}
