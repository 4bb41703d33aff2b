package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A picture that an admin sets from a file is what members save, and whoever joins
// later; the group's name stays, and what is no such picture changes nothing.
func TestGroupPicture(t *testing.T) {
	s := startTestServer(t)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	png := append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, maxPicture-8)...)
	most, over, text := write("most.png", png), write("over.png", append(png, 0)), write("walrus.txt", []byte("the walrus"))
	s.hasKeys("bob", "carol")
	code, out, errOut := s.run("group", "create", "--as", "alice", "bob", "--name", "the walrus club")
	if code != ExitOK {
		t.Fatal(code, errOut)
	}
	group := strings.TrimSpace(out)
	// types types lines into a conversation, when it has shown one that ends so.
	types := func(user, with, after string, lines ...string) (said string) {
		t.Helper()
		in, typing, _ := os.Pipe()
		defer in.Close()
		c := s.start(in, "chat", "--as", user, "--with", with)
		for line := ""; !strings.HasSuffix(line, after); {
			line = c.line()
		}
		typing.WriteString(strings.Join(lines, "\n"))
		typing.Close()
		c.wantExit(ExitOK)
		return c.errOut.String()
	}
	want := func(got string, all ...string) {
		t.Helper()
		for _, w := range all {
			if !strings.Contains(got, w) {
				t.Errorf("there is no %q in\n%s", w, got)
			}
		}
	}
	want(types("alice", group, "", "/picture", "/picture save "+filepath.Join(dir, "none.png"),
		"/picture set "+over, "/picture set "+text, "/picture set "+filepath.Join(dir, "missing.png"), "/picture draw", "/picture set"),
		"the group has no picture", "the group has none", "over.png has more than 8192 bytes", "walrus.txt is no picture but text/plain",
		"missing.png: no such file", "/picture set FILE, save FILE or nothing")
	want(types("alice", "bob", "", "/picture set "+most), "pictures are of groups")
	want(types("alice", group, "", "/picture set "+most), "the group's picture: image/png, 8192 bytes")

	const named = "alice: <named the group the walrus club, with a picture>"
	saved, later := filepath.Join(dir, "saved.png"), filepath.Join(dir, "later.png")
	want(types("bob", group, named, "/picture", "/picture save "+saved, "/picture save "+saved, "/picture set "+most),
		"the group's picture: image/png, 8192 bytes", "saved as "+saved, "file exists", "only an admin")
	if code, _, errOut := s.run("group", "invite", "--as", "alice", group, "carol"); code != ExitOK {
		t.Fatal(code, errOut)
	}
	types("carol", group, named, "/picture save "+later)
	for _, path := range []string{saved, later} {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, png) {
			t.Errorf("%s has %d bytes, %v", path, len(got), err)
		}
	}
}
