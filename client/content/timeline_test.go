package content

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

func FuzzParse(f *testing.F) {
	for _, v := range makeVectors().Bodies {
		f.Add([]byte(v.Hex))
	}
	f.Add([]byte{0x95, 1, 4, 0xa1, 'x', 0xc4, 16, 1, 2, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := Parse(in)
		if err != nil || b.Kind == KindNewer {
			return
		}
		out, err := b.Append(nil)
		if err != nil {
			t.Fatalf("%x was read as %+v, which has no bytes: %v", in, b, err)
		}
		again, err := Parse(out)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(b) {
			t.Fatalf("%+v becomes %+v, %v", b, again, err)
		}
	})
}

func text(second int, from chat.User, s string) (chat.Message, Body) {
	return chat.Message{ID: at(second, from), From: from}, Body{Kind: KindText, Text: s}
}

// Changes of messages that never come are dropped, the oldest first.
func TestPendingIsBounded(t *testing.T) {
	tl := NewTimeline()
	ids := make([]chat.ID, MaxPending+1)
	for i := range ids {
		ids[i] = chat.NewID(uint64(1000+i), 1, chat.Node{1})
		tl.Put(chat.Message{ID: at(1, "alice"), From: "alice"}, Body{Kind: KindEdit, Text: "edited", Target: ids[i]})
	}
	if tl.waiting != MaxPending || len(tl.pending) != MaxPending || len(tl.targets) != MaxPending {
		t.Fatalf("%d wait, for %d messages of %d", tl.waiting, len(tl.pending), len(tl.targets))
	}
	for _, c := range []struct {
		id   chat.ID
		want string
	}{{ids[0], "sent"}, {ids[1], "edited"}, {ids[MaxPending], "edited"}} {
		tl.Put(chat.Message{ID: c.id, From: "alice"}, Body{Kind: KindText, Text: "sent"})
		if got := tl.Item(c.id).Body.Text; got != c.want {
			t.Errorf("message %v says %q, want %q", c.id, got, c.want)
		}
	}
	if tl.waiting != MaxPending-2 {
		t.Errorf("%d wait after two came", tl.waiting)
	}
	for i := range MaxPending + 10 { // one user, one message: the newest stands for all
		tl.Put(chat.Message{ID: chat.NewID(uint64(9000+i), 1, chat.Node{1}), From: "mallory"}, Body{Kind: KindReaction, Text: "x", Target: ids[5]})
	}
	if tl.waiting != MaxPending-1 {
		t.Errorf("%d wait after one user said much of one message", tl.waiting)
	}
}

func TestReactionsAreBounded(t *testing.T) {
	m, b := text(1, "alice", "hi")
	it := NewItem(m, b)
	for i := range MaxReactions + 1 {
		it.Apply(at(2, "bob"), chat.User(fmt.Sprintf("u%05d", i)), Body{Kind: KindReaction, Text: "x"})
	}
	if len(it.Reactions) != MaxReactions {
		t.Errorf("%d reactions are kept", len(it.Reactions))
	}
	if !it.Apply(at(3, "bob"), "u00001", Body{Kind: KindReaction, Text: "y"}) {
		t.Error("who is among them cannot say something else")
	}
}

func TestExpire(t *testing.T) {
	tl := NewTimeline()
	stays, b := text(1, "alice", "stays")
	tl.Put(stays, b)
	byServer, b := text(2, "alice", "the server's time")
	byServer.Expires = byServer.ID.UnixMilli() + 5000
	tl.Put(byServer, b)
	bySender, b := text(3, "alice", "the sender's time")
	bySender.Expires = bySender.ID.UnixMilli() + 3600_000 // a server that keeps it longer
	b.Seconds = 7
	tl.Put(bySender, b)

	start := stays.ID.Time()
	gone, next := tl.Expire(start)
	if len(gone) != 0 || !next.Equal(start.Add(6*time.Second)) {
		t.Fatalf("gone %v, next %v", gone, next)
	}
	gone, next = tl.Expire(next)
	if !slices.Equal(gone, []chat.ID{byServer.ID}) || !next.Equal(start.Add(9*time.Second)) {
		t.Fatalf("gone %v, next %v", gone, next)
	}
	gone, next = tl.Expire(next)
	if !slices.Equal(gone, []chat.ID{bySender.ID}) || !next.IsZero() {
		t.Fatalf("gone %v, next %v", gone, next)
	}
	if items := tl.Items(); len(items) != 1 || items[0].ID != stays.ID {
		t.Fatalf("left are %v", items)
	}
}

func TestForget(t *testing.T) {
	tl := NewTimeline()
	for i := range 5 {
		m, b := text(i, "alice", "x")
		m.Content = bytes.Repeat([]byte("x"), 10)
		if id, ok := tl.Put(m, b); !ok || id != m.ID || tl.Item(id).Content != nil {
			t.Fatalf("put %v, %v", id, ok)
		}
	}
	tl.Forget(at(3, "alice"))
	if items := tl.Items(); len(items) != 2 || items[0].ID != at(3, "alice") || tl.Item(at(2, "alice")) != nil {
		t.Fatalf("left are %d", len(items))
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, b := range []Body{{}, {Kind: KindFile}, {Kind: KindEdit, Text: "x"}, {Kind: KindText, Text: "\xff"}} {
		if out, err := b.Append(nil); chat.CodeOf(err) != chat.CodeBadPacket {
			t.Errorf("%+v has bytes: %x", b, out)
		}
	}
}
