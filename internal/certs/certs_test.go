package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

func mustMake(t *testing.T, r Request) *Made {
	t.Helper()
	m, err := Make(r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustOpen(t *testing.T, f Files, name string) *Source {
	t.Helper()
	s, err := Open(f, name, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake makes one connection and returns what each side says of it.
func shake(client, server *tls.Config) (clientErr, serverErr error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		b.Close()
		done <- err
	}()
	c := tls.Client(a, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1)) // TLS 1.3: a refused client learns it here
	}
	a.Close()
	return clientErr, <-done
}

func TestBothSidesAreVerified(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	a := mustOpen(t, mustMake(t, Request{Dir: ours, Name: "a"}).Files, "")
	b := mustOpen(t, mustMake(t, Request{Dir: ours, Name: "b", Hosts: []string{"127.0.0.1"}}).Files, "")
	stranger := mustOpen(t, mustMake(t, Request{Dir: theirs, Name: "b"}).Files, "")
	if err1, err2 := shake(a.Client(), b.Server()); err1 != nil || err2 != nil {
		t.Errorf("two of one CA: %v, %v", err1, err2)
	}
	if err, _ := shake(a.Client(), stranger.Server()); !isUnknown(err) {
		t.Errorf("a server of another CA: %v", err)
	}
	trusting := stranger.Client()
	trusting.InsecureSkipVerify = true
	if _, err := shake(trusting, b.Server()); !isUnknown(err) {
		t.Errorf("a client of another CA: %v", err)
	}
	nobody := a.Client()
	nobody.Certificates = nil
	if _, err := shake(nobody, b.Server()); err == nil {
		t.Error("a client without a certificate was taken")
	}
	old := a.Client()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := shake(old, b.Server()); err == nil {
		t.Error("TLS 1.2 was taken")
	}
}

func isUnknown(err error) bool {
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &unknown)
}

// TestNamesAreChecked holds that a certificate of the CA is not enough.
func TestNamesAreChecked(t *testing.T) {
	dir := t.TempDir()
	f := mustMake(t, Request{Dir: dir, Name: "a"}).Files
	usual, special := mustOpen(t, f, ""), mustOpen(t, f, "only-this")
	if err, _ := shake(special.Client(), usual.Server()); err == nil {
		t.Error("the client took a server of another name")
	}
	if _, err := shake(usual.Client(), special.Server()); err == nil {
		t.Error("the server took a client of another name")
	}
	named := mustOpen(t, f, "a")
	if err1, err2 := shake(named.Client(), named.Server()); err1 != nil || err2 != nil {
		t.Errorf("by its own name: %v, %v", err1, err2)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first := mustMake(t, Request{Dir: dir, Name: "a"})
	before := contents(t, dir)
	if !first.CAMade || len(before) != 4 {
		t.Fatalf("CA made: %v, files %d", first.CAMade, len(before))
	}
	for name := range before {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if _, err := Make(Request{Dir: dir, Name: "a"}); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a second time: %v", err)
	}
	if after := contents(t, dir); !equal(before, after) {
		t.Error("a refused call changed a file")
	}
	again := mustMake(t, Request{Dir: dir, Name: "a", Force: true})
	after := contents(t, dir)
	if again.CAMade || after["ca.pem"] != before["ca.pem"] || after["ca.key"] != before["ca.key"] {
		t.Error("the CA did not stay")
	}
	if after["a.pem"] == before["a.pem"] || after["a.key"] == before["a.key"] {
		t.Error("--force did not overwrite")
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(b)
	}
	return m
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func TestWhatIsMade(t *testing.T) {
	dir := t.TempDir()
	m := mustMake(t, Request{Dir: dir, Name: "gw-1", Hosts: []string{"::1", "gw.example.org"}})
	pair, err := tls.LoadX509KeyPair(m.Files.Cert, m.Files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gw-1", PeerName, "gw.example.org", "::1"} {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if !pair.Leaf.NotAfter.Equal(m.Ends.UTC().Truncate(time.Second)) || m.Ends.After(m.CAEnds) || pair.Leaf.IsCA {
		t.Errorf("ends %v, told %v, the CA %v", pair.Leaf.NotAfter, m.Ends, m.CAEnds)
	}
}

func TestFaultyRequests(t *testing.T) {
	dir := t.TempDir()
	for _, r := range []Request{
		{Name: "a"}, {Dir: dir}, {Dir: dir, Name: "../a"}, {Dir: dir, Name: "ca"}, {Dir: dir, Name: "A b"},
		{Dir: dir, Name: "a", Hosts: []string{"x:1"}}, {Dir: dir, Name: "a", Hosts: []string{""}},
	} {
		if _, err := Make(r); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
	if left := contents(t, dir); len(left) > 0 {
		t.Errorf("%d files were made", len(left))
	}
	mustMake(t, Request{Dir: dir, Name: "a"})
	os.Remove(filepath.Join(dir, "ca.key"))
	if _, err := Make(Request{Dir: dir, Name: "b"}); err == nil || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("half a CA: %v", err)
	}
}

func TestChangedFilesAreRead(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	f := mustMake(t, Request{Dir: dir, Name: "a"}).Files
	s := mustOpen(t, f, "")
	serialOf := func() string { return s.Server().Certificates[0].Leaf.SerialNumber.String() }
	first := serialOf()
	if serialOf() != first {
		t.Fatal("it changed by itself")
	}
	mustMake(t, Request{Dir: dir, Name: "a", Force: true})
	later(t, f.Cert)
	second := serialOf()
	if second == first {
		t.Error("a new certificate was not read")
	}
	key, _ := os.ReadFile(mustMake(t, Request{Dir: other, Name: "a"}).Files.Key)
	os.WriteFile(f.Key, key, 0o600)
	later(t, f.Key)
	if serialOf() != second {
		t.Error("a key that does not fit took the certificate away")
	}
}

// later makes a file look changed where the clock of files is coarse.
func later(t *testing.T, path string) {
	t.Helper()
	at := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	f := mustMake(t, Request{Dir: dir, Name: "a"}).Files
	for _, bad := range []Files{{CA: "x", Cert: f.Cert, Key: f.Key}, {CA: f.Key, Cert: f.Cert, Key: f.Key}, {CA: f.CA, Cert: f.CA, Key: f.Key}} {
		if _, err := Open(bad, "", quiet); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
