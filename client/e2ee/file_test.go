package e2ee

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/internal/auth"
)

// media is a user's way to the store.
func (w *world) media(user string, carry http.RoundTripper) *client.Media {
	if carry == nil {
		carry = http.DefaultTransport
	}
	w.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &client.Media{
		Web: "http://" + w.server.WebAddr().String(), HTTP: &http.Client{Transport: carry},
		Token: func(context.Context) (string, error) {
			return w.server.DevKey().Sign(auth.NewClaims("", user, "", time.Hour))
		},
	}
}

// flaky loses every third request after it was made, and cuts every other
// answer of the store in the middle.
type flaky struct{ n int }

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	f.n++
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasPrefix(r.URL.Path, "/media/") {
		if f.n%3 == 0 {
			res.Body.Close()
			return nil, errors.New("the network went away")
		}
		if r.Method == http.MethodGet && f.n%2 == 0 {
			res.Body = &cut{res.Body, 3 << 20}
		}
	}
	return res, err
}

type cut struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	left int
}

func (c *cut) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("the network went away")
	}
	n, err := c.body.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

func (c *cut) Close() error { return c.body.Close() }

// TestFileTravels sends a file of several parts over a bad network, and looks
// for it in the clear.
func TestFileTravels(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	secret := bytes.Repeat([]byte("nobody between may read this. "), 700_000) // 21 MB
	path := filepath.Join(w.dir, "letter.txt")
	w.must(os.WriteFile(path, secret, 0o600))
	var told int64
	sent, err := alice.SendFile(w.ctx(), w.media("alice", &flaky{}), "bob", FileUpload{
		Path: path, Type: "text/plain", Text: "read this", Thumbnail: []byte{1, 2}, Progress: func(done, _ int64) { told = max(told, done) },
	}, client.SendOptions{})
	w.must(err)
	w.must(sent.Durable(w.ctx()))
	if told <= int64(len(secret)) {
		t.Errorf("the last progress was %d bytes", told)
	}
	typed, _ := w.next(bob).(Typed)
	f, err := FileOf(&typed.Message)
	w.must(err)
	if typed.Type != TypeFile || f.Name != "letter.txt" || f.Text != "read this" || len(f.Thumbnail) != 2 || typed.Message.Media != client.MediaPrefix+f.Blob {
		t.Errorf("it came as %+v, media %q", f, typed.Message.Media)
	}
	to := filepath.Join(w.dir, "saved.txt")
	w.must(SaveFile(w.ctx(), w.media("bob", &flaky{}), f, to, nil))
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%d bytes were saved: %v", len(got), err)
	}
	if err := SaveFile(w.ctx(), w.media("bob", nil), f, to, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file was written over: %v", err)
	}
	if _, err := os.Stat(to + ".part"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the encrypted part stayed")
	}
	for _, known := range []string{"nobody between may read", "letter.txt", "read this"} {
		if found := inFolder(t, w.data, known); found != "" {
			t.Errorf("%q lies in the clear in %s", known, found)
		}
	}
}

func inFolder(t *testing.T, dir, known string) (found string) {
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(known)) {
				found = name
			}
		}
		return nil
	})
	return found
}

// TestChangedFile holds that a store that changes a byte, or cuts, is found out,
// and that nothing is saved then.
func TestChangedFile(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.dir, "letter.bin")
	text := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{}).Read(text)
	w.must(os.WriteFile(path, text, 0o600))
	sealed, a, err := encryptFile(FileUpload{Path: path})
	w.must(err)
	defer os.Remove(sealed.Name())
	defer sealed.Close()
	media := w.media("alice", nil)
	info, err := sealed.Stat()
	w.must(err)
	blob, err := media.Upload(w.ctx(), sealed, client.Upload{Size: info.Size()})
	w.must(err)
	var stored string
	filepath.WalkDir(filepath.Join(w.data, "media", "blobs"), func(name string, d fs.DirEntry, _ error) error {
		if d.Type().IsRegular() {
			stored = name
		}
		return nil
	})
	b, err := os.ReadFile(stored)
	w.must(err)
	b[len(b)/2] ^= 1
	w.must(os.WriteFile(stored, b, 0o600))
	to := filepath.Join(w.dir, "saved.bin")
	if err := SaveFile(w.ctx(), media, File{Attachment: a, Blob: blob}, to, nil); !errors.Is(err, ErrAttachment) {
		t.Errorf("a changed byte: %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was saved")
	}
	w.must(media.Drop(w.ctx(), blob))
	if err := SaveFile(w.ctx(), media, File{Attachment: a, Blob: blob}, to, nil); chat.CodeOf(err) != chat.CodeNotFound {
		t.Errorf("a blob that is gone: %v", err)
	}
}

func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{
		"a.txt": "a.txt", "../../etc/passwd": "passwd", `c:\x\a.exe`: "a.exe", "": "file", "..": "file", ".": "file", "a\x1b[2Jb": "a_[2Jb",
		"gpj.\u202eexe": "gpj._exe", strings.Repeat("x", 300): strings.Repeat("x", 255), "dir/": "file",
	} {
		if got := plainName(name); got != want {
			t.Errorf("%q became %q, not %q", name, got, want)
		}
	}
}

// loses loses the first requests that drop a blob.
type loses struct{ n int }

func (l *loses) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodDelete && l.n > 0 {
		l.n--
		return nil, errors.New("the network went away")
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestDeletedFile deletes a file's message for everyone: its blob is there until
// the deletion is durable, and not after it, also where the network goes away in
// between. Nobody else's deletion drops it.
func TestDeletedFile(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.device("alice", "phone"), w.device("bob", "phone")
	path := filepath.Join(w.dir, "regretted.jpg")
	w.must(os.WriteFile(path, []byte("a picture"), 0o600))
	media := w.media("alice", &loses{n: 2})
	sent, err := alice.SendFile(w.ctx(), media, "bob", FileUpload{Path: path}, client.SendOptions{})
	w.must(err)
	w.must(sent.Durable(w.ctx()))
	typed, _ := w.next(bob).(Typed)
	f, err := FileOf(&typed.Message)
	w.must(err)
	there := func() error {
		_, err := w.media("bob", nil).Download(w.ctx(), f.Blob, new(bytes.Buffer), client.Download{})
		return err
	}
	deletes := func(c *Client, to string) *client.Sent {
		s, err := c.SendBody(w.ctx(), to, content.Body{Kind: content.KindDelete, Target: sent.ID()})
		w.must(err)
		return s
	}
	if err := w.media("bob", nil).DropAfter(w.ctx(), deletes(bob, "alice"), f.Blob); chat.CodeOf(err) != chat.CodeForbidden {
		t.Errorf("bob's own deletion dropped it: %v", err)
	}
	ended, end := context.WithCancel(w.ctx())
	end()
	deletion := deletes(alice, "bob")
	if media.DropAfter(ended, deletion, f.Blob) == nil {
		t.Error("it was dropped in no time")
	}
	w.must(there())
	w.must(media.DropAfter(w.ctx(), deletion, f.Blob))
	if status, _ := deletion.Status(); status < chat.Sent {
		t.Errorf("it was dropped when the deletion was %v", status)
	}
	if err := there(); chat.CodeOf(err) != chat.CodeNotFound {
		t.Errorf("after the deletion: %v", err)
	}
	w.must(media.DropAfter(w.ctx(), deletion, f.Blob)) // another device may have been first
}
