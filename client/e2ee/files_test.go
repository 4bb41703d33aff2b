package e2ee

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

func mustOpen(t *testing.T, path, passphrase string) *vault {
	t.Helper()
	v, err := openVault(path, passphrase, 2)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "alice.keys")
	v := mustOpen(t, path, "pass")
	v.set("a", []byte("one"))
	v.set("b", []byte("secret"))
	must(t, v.sync())
	v.add("a", []byte(" two"))
	v.drop("b")
	must(t, v.close())
	if v.set("c", nil); v.sync() == nil {
		t.Error("written after the end")
	}
	b, _ := os.ReadFile(path)
	if bytes.Contains(b, []byte("one")) || bytes.Contains(b, []byte("AGE-SECRET")) {
		t.Error("the file is not sealed")
	}
	if i, _ := os.Stat(path); i.Mode().Perm() != 0o600 {
		t.Error(i.Mode())
	}
	for _, wrong := range []string{"", "other"} {
		if _, err := openVault(path, wrong, 2); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	v = mustOpen(t, path, "pass")
	if got := string(v.get("a")); got != "one two" || v.get("b") != nil || !reflect.DeepEqual(v.keys(""), []string{"a"}) {
		t.Errorf("%q", got)
	}
	// Past its size the file is written anew, and smaller.
	for range 40 {
		v.set("big", bytes.Repeat([]byte("x"), 20_000))
		must(t, v.sync())
	}
	if fileSize(t, path) > vaultCompact+50_000 {
		t.Errorf("the file has %d bytes", fileSize(t, path))
	}
	must(t, v.close())
	v = mustOpen(t, path, "pass")
	if len(v.get("big")) != 20_000 || string(v.get("a")) != "one two" {
		t.Error("lost by writing anew")
	}
	must(t, v.close())
}

// A tail that was being written is left out; damage before good data is not.
func TestVaultTornAndDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice.keys")
	v := mustOpen(t, path, "")
	var ends []int64
	for _, s := range []string{"one", "two"} {
		v.set("a", []byte(s))
		must(t, v.sync())
		ends = append(ends, fileSize(t, path))
	}
	must(t, v.close())
	whole, _ := os.ReadFile(path)
	for n := ends[0]; n < ends[1]; n += 17 {
		must(t, os.WriteFile(path, whole[:n], 0o600))
		v := mustOpen(t, path, "")
		if string(v.get("a")) != "one" || fileSize(t, path) != ends[0] {
			t.Fatalf("torn at %d: %q, %d bytes", n, v.get("a"), fileSize(t, path))
		}
		must(t, v.close())
	}
	bad := bytes.Clone(whole)
	bad[ends[0]-3] ^= 1
	must(t, os.WriteFile(path, bad, 0o600))
	if _, err := openVault(path, "", 0); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged in the middle: %v", err)
	}
	for _, b := range [][]byte{{}, []byte("no key file at all"), whole[:20]} {
		must(t, os.WriteFile(path, b, 0o600))
		if _, err := openVault(path, "", 0); err == nil {
			t.Errorf("%q was opened", b)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEnvelopes(t *testing.T) {
	s := sealed{session: sessionID{1, 2}, device: "phone", megolm: []byte("m")}
	if got, err := parseSealed(s.append(nil)); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v", got, err)
	}
	i := inner{kind: 3, id: chat.ID{9}, from: "alice", device: "phone", to: "bob", body: []byte("hi")}
	if got, err := parseInner(i.append(nil)); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("%+v, %v", got, err)
	}
	x := share{device: "phone", session: sessionID{7}, parts: []part{{own: true, device: "tablet", olm: 1, body: []byte("o")}, {device: "d", body: []byte{}}}}
	if got, err := parseShare(x.append(nil)); err != nil || !reflect.DeepEqual(got, x) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseShare(append(x.append(nil), 0)); err == nil {
		t.Error("a share with more behind it was taken")
	}
	y := told{kind: 1, from: "a", fromDevice: "b", to: "c", toDevice: "d", fromKey: make([]byte, 32), toKey: make([]byte, 32), peer: "c", session: sessionID{5}, index: 1 << 30, key: []byte("k")}
	if got, err := parseTold(y.append(nil)); err != nil || !reflect.DeepEqual(got, y) {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range len(y.append(nil)) - 1 {
		if _, err := parseTold(y.append(nil)[:n]); err == nil {
			t.Errorf("%d bytes were taken", n)
		}
	}
}

// FuzzEnvelopes: nothing panics, and what is taken comes back as it was.
func FuzzEnvelopes(f *testing.F) {
	f.Add((&sealed{device: "phone", megolm: []byte("m")}).append(nil))
	f.Add((&inner{from: "a", device: "b", to: "c", body: []byte("m")}).append(nil))
	f.Add((&share{device: "phone", parts: []part{{device: "d", body: []byte("x")}}}).append(nil))
	f.Add((&told{fromKey: make([]byte, 32), toKey: make([]byte, 32)}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSealed(b); err == nil && !bytes.Equal(s.append(nil), b) {
			t.Error("sealed")
		}
		if i, err := parseInner(b); err == nil && !bytes.Equal(i.append(nil), b) {
			t.Error("inner")
		}
		if x, err := parseTold(b); err == nil && !bytes.Equal(x.append(nil), b) {
			t.Error("told")
		}
		if s, err := parseShare(b); err == nil {
			if again, err := parseShare(s.append(nil)); err != nil || !reflect.DeepEqual(again, s) {
				t.Error("share")
			}
		}
		parseArchive(b)
		parseKey(tellKey, sessionID{}, b)
		parseKey(tellExport, sessionID{}, b)
		v := &vault{rows: map[string][]byte{}}
		v.apply(b)
		openHead(b, vaultMagic, "")
	})
}

func TestSafetyNumber(t *testing.T) {
	a, b := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	ours, theirs := safetyOf("alice", a, "bob", b), safetyOf("bob", b, "alice", a)
	if !reflect.DeepEqual(ours, theirs) || len(ours.Digits) != 71 || len(ours.Scan) != 68 {
		t.Errorf("%+v and %+v", ours, theirs)
	}
	for _, other := range []Safety{safetyOf("alice", b, "bob", a), safetyOf("alice", a, "carol", b), safetyOf("alice", a, "bob", a)} {
		if other.Digits == ours.Digits || bytes.Equal(other.Scan, ours.Scan) {
			t.Error("the same number for others")
		}
		if same, err := ours.Scanned(other.QR()); same || err != nil {
			t.Errorf("another's code was scanned: %v, %v", same, err)
		}
	}
	if same, err := ours.Scanned(theirs.QR()); !same || err != nil {
		t.Errorf("the other side's code was scanned: %v, %v", same, err)
	}
	for _, text := range []string{"", ours.Digits, qrBefore, ours.QR()[:100], ours.QR() + "A", ours.QR()[len(qrBefore):]} {
		if same, err := ours.Scanned(text); same || err == nil {
			t.Errorf("%q was taken for a code", text)
		}
	}
}

func TestAttachment(t *testing.T) {
	for _, size := range []int{0, 1, 100, 70_000, 200_001} {
		for _, pad := range []bool{false, true} {
			plain := bytes.Repeat([]byte("picture"), size/7+1)[:size]
			var there, back bytes.Buffer
			a, err := EncryptAttachment(&there, bytes.NewReader(plain), int64(size), pad)
			must(t, err)
			must(t, DecryptAttachment(&back, bytes.NewReader(there.Bytes()), a))
			if !bytes.Equal(back.Bytes(), plain) || size > 50 && bytes.Contains(there.Bytes(), []byte("picture")) {
				t.Errorf("%d bytes, padded %v", size, pad)
			}
			sent := there.Bytes()
			for what, b := range map[string][]byte{"cut off": sent[:len(sent)-1], "longer": append(bytes.Clone(sent), 0), "changed": flipped(sent, len(sent)/2), "nothing": nil} {
				if err := DecryptAttachment(&back, bytes.NewReader(b), a); !errors.Is(err, ErrAttachment) {
					t.Errorf("%s of %d: %v", what, size, err)
				}
			}
			b := a
			b.Digest = make([]byte, 32)
			if err := DecryptAttachment(&back, bytes.NewReader(sent), b); !errors.Is(err, ErrAttachment) {
				t.Errorf("another digest: %v", err)
			}
		}
	}
	if _, err := EncryptAttachment(&bytes.Buffer{}, bytes.NewReader(nil), 5, false); err == nil {
		t.Error("a short file was taken")
	}
	for _, n := range []int64{2, 1000, 123_457, 1 << 30} {
		if p := padded(n); p < n || p > n+n/8 || padded(p) != p {
			t.Errorf("%d is filled up to %d", n, p)
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}
