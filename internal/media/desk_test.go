package media_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/media"
	"github.com/rookery-chat/rookery/internal/media/folder"
)

const octets = "application/octet-stream"

// desk is one over a folder, whose URLs are served.
func desk(t *testing.T, change func(*media.Limits)) *media.Desk {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	names := media.NewNames([]byte("names"))
	f, err := folder.Open(t.TempDir(), names, []byte("urls"), srv.URL+"/media/")
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/media/", http.StripPrefix("/media", f))
	l := media.Limits{Bytes: 100_000, Quota: 200_000, Types: []string{octets}, Messages: 24 * time.Hour, URLs: time.Minute}
	if change != nil {
		change(&l)
	}
	return media.NewDesk(names, f, l)
}

func code(t *testing.T, err error, want chat.Code) {
	t.Helper()
	if got := chat.CodeOf(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

func begin(t *testing.T, d *media.Desk, u chat.User, size int64) *media.Slot {
	t.Helper()
	s, err := d.Begin(t.Context(), u, size, octets, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func upload(t *testing.T, d *media.Desk, u chat.User, text string) string {
	t.Helper()
	s := begin(t, d, u, int64(len(text)))
	r, _ := http.NewRequest("PUT", s.URLs[0], strings.NewReader(text))
	r.Header.Set("Content-Type", octets)
	res, err := http.DefaultClient.Do(r)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(err, res)
	}
	res.Body.Close()
	if err := d.End(t.Context(), u, s.Name); err != nil {
		t.Fatal(err)
	}
	return s.Name
}

func TestLimits(t *testing.T) {
	d := desk(t, nil)
	for _, c := range []struct {
		size int64
		kind string
		ttl  time.Duration
		want chat.Code
	}{
		{0, octets, 0, chat.CodeBadMedia}, {-1, octets, 0, chat.CodeBadMedia}, {100_001, octets, 0, chat.CodeTooLarge},
		{1, "text/html", 0, chat.CodeBadMedia}, {1, "", 0, chat.CodeBadMedia}, {1, octets, -1, chat.CodeBadTTL}, {100_000, octets, 0, chat.CodeOK},
	} {
		_, err := d.Begin(t.Context(), "ann", c.size, c.kind, c.ttl)
		code(t, err, c.want)
	}
}

// TestQuota fills a user's to the byte, with blobs and uploads alike.
func TestQuota(t *testing.T) {
	d := desk(t, nil)
	first := begin(t, d, "ann", 100_000)
	begin(t, d, "ann", 100_000-media.LeastCharge)
	upload(t, d, "ann", "x")
	_, err := d.Begin(t.Context(), "ann", 1, octets, 0)
	code(t, err, chat.CodeQuota)
	begin(t, d, "bob", 1)
	begin(t, d, "tenant/ann", 1) // another user of the same name
	if err := d.Drop(t.Context(), "ann", first.Name); err != nil {
		t.Fatal(err)
	}
	begin(t, d, "ann", 100_000)
	if n := d.Stats.OverQuota.Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}
}

// TestOthers holds who may do what with a name.
func TestOthers(t *testing.T) {
	d := desk(t, nil)
	name := upload(t, d, "ann", "hello")
	if _, err := d.URL(t.Context(), "bob", name); err != nil {
		t.Errorf("a receiver: %v", err)
	}
	code(t, d.Drop(t.Context(), "bob", name), chat.CodeForbidden)
	code(t, d.End(t.Context(), "bob", name), chat.CodeForbidden)
	_, err := d.Resume(t.Context(), "bob", name)
	code(t, err, chat.CodeForbidden)
	_, err = d.URL(t.Context(), "tenant/bob", name)
	code(t, err, chat.CodeNotFound)
	for _, bad := range []string{"", "x", name[:len(name)-1], name + "A", strings.Repeat("A", 1000), "../" + name} {
		_, err := d.URL(t.Context(), "ann", bad)
		code(t, err, chat.CodeNotFound)
	}
	slot := begin(t, d, "ann", 5)
	code(t, d.End(t.Context(), "ann", slot.Name), chat.CodeBadMedia)
	code(t, d.Drop(t.Context(), "ann", slot.Name), chat.CodeOK)
	_, err = d.Resume(t.Context(), "ann", slot.Name)
	code(t, err, chat.CodeNotFound)
}

// TestLife holds that a blob lives as long as the message that names it may.
func TestLife(t *testing.T) {
	d := desk(t, nil)
	for ttl, want := range map[time.Duration]time.Duration{
		0: 4 * 24 * time.Hour, time.Hour: 25 * time.Hour, 1000 * time.Hour: 4 * 24 * time.Hour,
	} {
		s, err := d.Begin(t.Context(), "ann", 1, octets, ttl)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(s.Expires); got > want || got < want-time.Minute {
			t.Errorf("with a ttl of %v it lives %v, want %v", ttl, got, want)
		}
	}
}

func TestCDN(t *testing.T) {
	d := desk(t, func(l *media.Limits) { l.CDN = "https://cdn.example.org" })
	l, err := d.URL(t.Context(), "ann", upload(t, d, "ann", "hello"))
	link := l.URL
	if err != nil || !strings.HasPrefix(link, "https://cdn.example.org/media/d/") || !strings.Contains(link, "signature=") {
		t.Errorf("%s %v", link, err)
	}
}

func FuzzParse(f *testing.F) {
	names := media.NewNames([]byte("names"))
	b, err := names.New("ann", 7, octets, time.Unix(1_800_000_000, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Name, b.Key())
	f.Add("", "d//")
	f.Fuzz(func(t *testing.T, name, key string) {
		if got, err := names.Parse("", name); err == nil && got.Name != b.Name {
			t.Errorf("%q was taken", name)
		}
		if got, err := names.ParseKey(key); err == nil && got.Key() != key {
			t.Errorf("%q became %q", key, got.Key())
		}
	})
}
