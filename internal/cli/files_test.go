package cli

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// A file that is sent is saved where it comes, and a second one of its name
// beside it.
func TestSendAndSaveFile(t *testing.T) {
	s := startTestServer(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir, text := t.TempDir(), bytes.Repeat([]byte("the walrus "), 10_000)
	path := filepath.Join(t.TempDir(), "walrus.txt")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.hasKeys("bob")
	for range 2 {
		code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "look", "--file", path, "--web", s.web, "--wait", "durable")
		if code != ExitOK || !strings.Contains(errOut, "uploaded ") {
			t.Fatal(code, errOut)
		}
	}
	code, out, errOut := s.run("tail", "--as", "bob", "--count", "3", "--save", dir, "--web", s.web)
	if code != ExitOK || strings.Count(out, "look [file saved as "+dir) != 2 {
		t.Errorf("%d: %s%s", code, out, errOut)
	}
	saved, _ := filepath.Glob(filepath.Join(dir, "*walrus.txt"))
	if len(saved) != 2 {
		t.Fatalf("saved were %v", saved)
	}
	for _, name := range saved {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s has %d bytes, %v", name, len(got), err)
		}
	}
	if code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "--file", path, "--web", s.web, "--plain"); code == ExitOK || !strings.Contains(errOut, "--plain") {
		t.Errorf("a file in the clear: %d %s", code, errOut)
	}
	if code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "--file", path, "--web", "http://127.0.0.1:1"); code == ExitOK || !strings.Contains(errOut, "web listener") {
		t.Errorf("no listener: %d %s", code, errOut)
	}
}

// blobs are the files of the server's store of media.
func (s *testServer) blobs() (found []string) {
	filepath.WalkDir(filepath.Join(s.data, "media"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// A file that its sender deletes for everyone in a conversation cannot be fetched
// any more.
func TestChatDeletesFile(t *testing.T) {
	s := startTestServer(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	path := filepath.Join(t.TempDir(), "walrus.txt")
	if err := os.WriteFile(path, []byte("the walrus"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.hasKeys("bob")
	in, types, _ := os.Pipe()
	alice := s.start(in, "chat", "--as", "alice", "--with", "bob", "--web", s.web)
	fmt.Fprintln(types, "first") // so that the conversation has her device, and the file comes of another
	for line := ""; !strings.Contains(line, "first"); {
		line = alice.line()
	}
	if code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", "--file", path, "--web", s.web, "--wait", "durable"); code != ExitOK || len(s.blobs()) != 1 {
		t.Fatal(code, errOut, s.blobs())
	}
	for line := ""; !strings.Contains(line, "[file walrus.txt"); {
		line = alice.line()
	}
	fmt.Fprintln(types, "/delete")
	types.Close()
	alice.wantExit(ExitOK)
	if left := s.blobs(); len(left) != 0 {
		t.Errorf("after the deletion there is %v", left)
	}
}

// So it is with a file of a message from before the conversation, which it has not
// seen; a text of before has no file, and what is no message neither.
func TestChatDeletesFileOfBefore(t *testing.T) {
	s := startTestServer(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	path := filepath.Join(t.TempDir(), "walrus.txt")
	if err := os.WriteFile(path, []byte("the walrus"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.hasKeys("bob")
	for _, say := range [][]string{{"a text"}, {"look", "--file", path, "--web", s.web}, {"and", "one", "more"}} {
		if code, _, errOut := s.run(append([]string{"send", "--as", "alice", "--to", "bob", "--wait", "durable"}, say...)...); code != ExitOK {
			t.Fatal(code, errOut)
		}
	}
	_, out, _ := s.run("history", "--as", "alice", "--with", "bob")
	ids := map[string]string{"nothing": chat.NewID(1, 1, chat.Node{1}).String()}
	for line := range strings.Lines(out) {
		id, _, _ := strings.Cut(line, " ")
		for _, what := range []string{"a text", "look"} {
			if strings.Contains(line, what) {
				ids[what] = id
			}
		}
	}
	for _, what := range []string{"nothing", "a text", "look"} {
		if found := s.blobs(); len(found) != 1 {
			t.Fatalf("before the deletion of %s there is %v", what, found)
		}
		alice := s.start(strings.NewReader("/delete "+ids[what]+"\n"), "chat", "--as", "alice", "--with", "bob", "--web", s.web)
		alice.wantExit(ExitOK)
		if said := alice.errOut.String(); said != "" {
			t.Errorf("the deletion of %s says %s", what, said)
		}
	}
	if left := s.blobs(); len(left) != 0 {
		t.Errorf("after the deletion there is %v", left)
	}
}
