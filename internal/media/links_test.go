package media_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/internal/media"
	"github.com/rookery-chat/rookery/internal/media/folder"
)

// TestLinks holds that who asks for a blob gets the URL that others got, until
// half of its life is over or too many others were asked for.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := media.NewNames([]byte("names"))
		f, err := folder.Open(t.TempDir(), names, []byte("urls"), "http://here/media/")
		if err != nil {
			t.Fatal(err)
		}
		d := media.NewDesk(names, f, media.Limits{URLs: time.Minute})
		link := func(name string) media.Link {
			t.Helper()
			l, err := d.URL(t.Context(), "ann", name)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(l.End); left < time.Minute/2 || left > time.Minute {
				t.Fatalf("it is good for %v", left)
			}
			return l
		}
		blob := func() string {
			t.Helper()
			b, err := names.New("bob", 1, octets, time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return b.Name
		}

		name := blob()
		first := link(name)
		if other := link(blob()); other.URL == first.URL {
			t.Error("two blobs have one URL")
		}
		time.Sleep(time.Minute / 2)
		if again := link(name); again.URL != first.URL || again.End != first.End {
			t.Errorf("after half of its life it is %v, was %v", again, first)
		}
		time.Sleep(time.Second)
		later := link(name)
		if later.URL == first.URL {
			t.Error("its end comes near, and it is given out yet")
		}
		for range media.MaxLinks {
			link(blob())
		}
		time.Sleep(time.Second) // what is signed anew has another end
		if fmt.Sprint(link(name)) == fmt.Sprint(later) {
			t.Errorf("after %d others it is remembered", media.MaxLinks)
		}
	})
}
