package cql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/storage"
)

// TestZombie: an owner that was paused past its ownership writes what it has
// built meanwhile, and changes nothing.
func TestZombie(t *testing.T) {
	s := open(t, fresh(t))
	m := text("alice", "bob", day0, 40)
	batch := func(p chat.Position) *storage.Batch {
		return &storage.Batch{
			Partition: 3, Messages: []chat.Message{m}, Inbox: []chat.Entry{entryOf(m)},
			Receipts: []storage.ReceiptAt{{Receipt: chat.Receipt{User: "bob", Peer: "alice", Delivered: p, Read: p}, Pos: p}},
			Reads:    []storage.ReadMark{{User: "bob", Peer: "alice", ReadTo: p, Pos: p}},
			Cursors:  []storage.UserCursor{{User: "bob", Cursor: storage.Cursor{Device: "phone", Position: p}}},
			Applied:  p, Mark: storage.Mark{Log: [16]byte{byte(p)}, Position: p, Owner: fmt.Sprint(p)},
		}
	}
	later := chat.NewPosition(1, 50) // of the next epoch, and a smaller number of records
	must(t, s.Apply(t.Context(), batch(later)))
	want := state(t, s)
	for _, p := range []chat.Position{60, 41, chat.NewPosition(1, 49)} {
		must(t, s.Apply(t.Context(), batch(p)))
		if got := state(t, s); got != want {
			t.Fatalf("an owner at %v changed\n%s\nto\n%s", p, want, got)
		}
	}
	must(t, s.Apply(t.Context(), batch(later+1)))
	if got := state(t, s); got == want {
		t.Fatal("the owner itself changes nothing any more")
	}
}

// state is what TestZombie's batches write, but for the rows that never change.
func state(t *testing.T, s *Store) string {
	t.Helper()
	r := []storage.ReceiptAt{{Receipt: chat.Receipt{User: "bob", Peer: "alice"}}}
	err1 := s.ReadReceipts(t.Context(), r)
	readTo, err2 := s.ReadTo(t.Context(), "bob", "alice")
	cursors, err3 := s.Cursors(t.Context(), "bob")
	mark, err4 := s.Mark(t.Context(), 3)
	applied, err5 := s.Applied(t.Context(), 3)
	heads, err6 := s.Heads(t.Context(), []chat.User{"bob"}, nil)
	must(t, errors.Join(err1, err2, err3, err4, err5, err6))
	return fmt.Sprint(r, readTo, cursors, mark, applied, heads)
}

// TestStamps: the order of positions over all epochs, none of it in the future.
func TestStamps(t *testing.T) {
	positions := []chat.Position{0, 1, 255, chat.MaxOffset, chat.NewPosition(1, 1), chat.NewPosition(0x7fff, 1), maxPosition}
	for i, p := range positions[1:] {
		if stamp(p) <= stamp(positions[i]) || firstStamp(p) >= firstStamp(positions[i]) || stamp(p) >= 0 || stamp(p) == math.MinInt64 {
			t.Errorf("stamp of %v is %d", p, stamp(p))
		}
	}
}

// TestPositionTooFar: what does not fit a bigint is refused before anything is
// written.
func TestPositionTooFar(t *testing.T) {
	far := maxPosition + 1
	for _, b := range []storage.Batch{
		{Applied: far}, {Mark: storage.Mark{Position: far}}, {Messages: []chat.Message{{Place: far}}},
		{Inbox: []chat.Entry{{Pos: far}}}, {Receipts: []storage.ReceiptAt{{Pos: far}}},
	} {
		if err := checkPositions(&b); err == nil {
			t.Errorf("%+v is taken", b)
		}
	}
	if err := checkPositions(&storage.Batch{Applied: maxPosition}); err != nil {
		t.Error(err)
	}
}

// TestSplit: a batch that is too wide for one request is split, by rows and by
// bytes, and a row that is larger than any batch goes alone.
func TestSplit(t *testing.T) {
	o := fresh(t)
	o.BatchRows, o.BatchBytes = 10, 4<<10
	s := open(t, o)
	var b storage.Batch
	for i := range 95 {
		m := text("alice", "bob", day0+int64(i), chat.Position(i+1))
		b.Messages = append(b.Messages, m)
	}
	big := text("alice", "bob", day0+99, 99)
	big.Content = bytes.Repeat([]byte("x"), 1<<20)
	b.Messages = append(b.Messages, big)
	before := s.Stats()
	must(t, s.Apply(t.Context(), &b))
	after := s.Stats()
	// 96 rows of the chat in 10 requests and the large one; the chat's day in 3.
	if got := after.RequestsTotal - before.RequestsTotal; got < 12 || got > 24 {
		t.Errorf("%d requests", got)
	}
	if got := after.RowsTotal - before.RowsTotal; got != 99 {
		t.Errorf("%d rows", got)
	}
	ms, err := s.History(t.Context(), big.Chat(), chat.ID{}, 200, 0, nil)
	must(t, err)
	if len(ms) != 96 || len(ms[0].Content) != 1<<20 {
		t.Errorf("%d messages, the newest of %d bytes", len(ms), len(ms[0].Content))
	}
}

// TestHotChat: a chat of years lies in many partitions, and its history goes
// over them as over one, also where some hold nothing.
func TestHotChat(t *testing.T) {
	o := fresh(t)
	s := open(t, o)
	var b storage.Batch
	var want []chat.ID
	for i := range int64(60) { // two a bucket, then 200 days of nothing, and again
		ms := day0 + i*5*dayMs + i/30*200*dayMs
		m := text("alice", "bob", ms, chat.Position(i+1))
		b.Messages = append(b.Messages, m)
		want = append(want, m.ID)
	}
	must(t, s.Apply(t.Context(), &b))
	slices.Reverse(want)
	for _, limit := range []int{1, 7, 60, 61} {
		var got []chat.ID
		var before chat.ID
		for {
			page, err := s.History(t.Context(), b.Messages[0].Chat(), before, limit, 0, nil)
			must(t, err)
			for _, m := range page {
				got = append(got, m.ID)
			}
			if len(page) < limit {
				break
			}
			before = page[len(page)-1].ID
		}
		if !slices.Equal(got, want) {
			t.Fatalf("by pages of %d: %d of %d messages, or in another order", limit, len(got), len(want))
		}
	}
	direct := session(t, o, o.Keyspace)
	defer direct.Close()
	var partitions, partition int
	rows := direct.Query("SELECT bucket FROM chat_buckets").Iter()
	for rows.Scan(&partition) {
		partitions++
	}
	must(t, rows.Close())
	if partitions < 30 {
		t.Errorf("%d partitions", partitions)
	}
}

// TestLives: what a row says of its end, whatever the clock says when it is
// written.
func TestLives(t *testing.T) {
	o := fresh(t)
	o.Now = func() int64 { return day0 + dayMs } // as in a replay of a day ago
	s := open(t, o)
	lasts, expires, over := text("a", "b", day0, 1), text("a", "b", day0+1, 2), text("a", "b", day0+2, 3)
	expires.Expires, over.Expires = day0+3*dayMs, day0+1000
	must(t, s.Apply(t.Context(), &storage.Batch{
		Messages: []chat.Message{lasts, expires, over}, Inbox: []chat.Entry{entryOf(lasts)},
	}))
	direct := session(t, o, o.Keyspace)
	defer direct.Close()
	near := func(what string, got int, want time.Duration) {
		t.Helper()
		if off := time.Duration(got)*time.Second - want; off < -time.Minute || off > 2*time.Hour {
			t.Errorf("%s lives for %v, not %v", what, time.Duration(got)*time.Second, want)
		}
	}
	life := func(m chat.Message, column string) (ttl int) {
		t.Helper()
		must(t, direct.Query("SELECT TTL("+column+") FROM messages WHERE chat = ? AND bucket = ? AND id = ?",
			chatBytes(m), bucketOf(m.ID.UnixMilli()), gocql.UUID(m.ID)).Scan(&ttl))
		return ttl
	}
	near("a message", life(lasts, "content"), defaultMessagesFor-day)
	near("content", life(expires, "content"), 2*day)
	near("its stub", life(expires, "place"), 30*day)
	var entry int
	must(t, direct.Query("SELECT TTL(id) FROM inbox WHERE user = 'b' AND pos = 1").Scan(&entry))
	near("an entry", entry, defaultInboxFor-day)

	eventually(t, func(ctx context.Context) error {
		m, found, err := s.Message(ctx, over.Chat(), over.ID, 0)
		if err != nil || !found || len(m.Content) > 0 || m.Place != 3 {
			return fmt.Errorf("of what was over: %+v, %v, %v", m, found, err)
		}
		return nil
	})
}

func chatBytes(m chat.Message) []byte {
	c := m.Chat()
	return c[:]
}

// TestTruncatedByTime: rows that died of age are told from rows that never were.
func TestTruncatedByTime(t *testing.T) {
	o := fresh(t)
	s := open(t, o)
	send := func(user chat.User, places ...chat.Position) {
		var b storage.Batch
		prev := chat.Position(0)
		for _, p := range places {
			m := text("alice", user, day0+int64(p), p)
			e := entryOf(m)
			e.Prev, prev = prev, p+1 // a receipt lies between
			b.Messages, b.Inbox = append(b.Messages, m), append(b.Inbox, e)
		}
		must(t, s.Apply(t.Context(), &b))
	}
	send("all", 5, 9)
	send("some", 5, 9, 14)
	send("none", 5, 9)
	direct := session(t, o, o.Keyspace)
	defer direct.Close()
	must(t, direct.Query("DELETE FROM inbox WHERE user = 'all'").Exec())
	must(t, direct.Query("DELETE FROM inbox WHERE user = 'some' AND pos < 14").Exec())
	for user, upTo := range map[chat.User]chat.Position{"all": 9, "some": 10, "none": 0, "nobody": 0} {
		for after := range chat.Position(20) {
			want := upTo
			if upTo <= after {
				want = 0
			}
			got, err := s.Truncated(t.Context(), user, after)
			must(t, err)
			if got != want {
				t.Errorf("after %d the inbox of %s is truncated up to %d, not %d", after, user, got, want)
			}
		}
	}
}

// TestReadsOfAHello: each question that a gateway asks when a device comes back is
// one request, and one more for the messages of a chat. All users of a gateway
// that was killed ask at once.
func TestReadsOfAHello(t *testing.T) {
	o := fresh(t)
	o.SweepRefresh = time.Hour // which makes requests too
	s := open(t, o)
	had, waits := text("alice", "bob", day0, 5), text("alice", "bob", day0+1, 9)
	must(t, s.PutDevice(t.Context(), "bob", storage.Device{Name: "phone", Created: day0}))
	must(t, s.Apply(t.Context(), &storage.Batch{
		Messages: []chat.Message{had, waits}, Inbox: []chat.Entry{entryOf(had), entryOf(waits)},
		Cursors:  []storage.UserCursor{{User: "bob", Cursor: storage.Cursor{Device: "phone", Position: 5}}},
		Receipts: []storage.ReceiptAt{{Receipt: chat.Receipt{User: "bob", Peer: "alice", Delivered: 3}, Pos: 11}},
		Applied:  20,
	}))
	for _, c := range []struct {
		what     string
		requests uint64
		ask      func(ctx context.Context) (any, error)
		want     any
	}{
		{"devices with their cursors", 1, func(ctx context.Context) (any, error) { return s.Devices(ctx, "bob") },
			[]storage.Device{{Name: "phone", Created: day0, Cursor: 5}}},
		{"applied", 1, func(ctx context.Context) (any, error) { return s.Applied(ctx, 0) }, chat.Position(20)},
		{"an inbox with something new", 2, func(ctx context.Context) (any, error) {
			entries, _, err := s.Inbox(ctx, "bob", 5, 20, 256, 0, nil)
			return len(entries), err
		}, 1},
		{"an inbox with nothing new", 1, func(ctx context.Context) (any, error) {
			entries, _, err := s.Inbox(ctx, "bob", 9, 20, 256, 0, nil)
			return len(entries), err
		}, 0},
		{"truncated", 1, func(ctx context.Context) (any, error) { return s.Truncated(ctx, "bob", 5) }, chat.Position(0)},
		{"receipts", 1, func(ctx context.Context) (any, error) {
			receipts, err := s.Receipts(ctx, "bob", 5, 20, "", 256, nil)
			return len(receipts), err
		}, 1},
	} {
		before := s.Stats().RequestsTotal
		got, err := c.ask(t.Context())
		must(t, err)
		if n := s.Stats().RequestsTotal - before; n != c.requests || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %d requests, want %d; got %v, want %v", c.what, n, c.requests, got, c.want)
		}
	}
}

// TestSweptElsewhere: another process leaves out what this one has swept.
func TestSweptElsewhere(t *testing.T) {
	o := fresh(t)
	o.SweepRefresh = 20 * time.Millisecond
	s := open(t, o)
	other, err := Open(o)
	must(t, err)
	defer other.Close()
	m := text("alice", "bob", day0, 1)
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: []chat.Message{m}}))
	if _, err := s.Sweep(t.Context(), 0, 0, day0+dayMs); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) error {
		if ms, err := other.History(ctx, m.Chat(), chat.ID{}, 9, 0, nil); err != nil || len(ms) > 0 {
			return fmt.Errorf("%d messages, %v", len(ms), err)
		}
		return nil
	})
}

// TestTLS: the log-in goes over TLS, and neither a wrong password nor a server
// that cannot show its certificate is taken.
func TestTLS(t *testing.T) {
	srv := services.Get(t)
	o := fresh(t)
	o.Hosts, o.CAFile = []string{srv.CassandraTLS}, srv.TLSCA
	s := open(t, o)
	must(t, s.Ping(t.Context()))

	wrong := o
	wrong.Password += "!"
	if _, err := Open(wrong); err == nil || !strings.Contains(err.Error(), "refuses the log-in") || strings.Contains(err.Error(), wrong.Password) {
		t.Errorf("with a wrong password: %v", err)
	}
	stranger := o
	stranger.CAFile, stranger.Secure = "", true
	if _, err := Open(stranger); err == nil || !strings.Contains(err.Error(), "do not agree on TLS") {
		t.Errorf("a certificate of nobody's: %v", err)
	}
}

// TestInboxBytes: a page ends where it has grown large, and goes on from there.
func TestInboxBytes(t *testing.T) {
	s := open(t, fresh(t))
	const n = inboxChunk + 10
	var b storage.Batch
	for i := range int64(n) {
		m := text("alice", "bob", day0+i, chat.Position(i+1))
		m.Content = bytes.Repeat([]byte("x"), maxInboxBytes/inboxChunk)
		b.Messages, b.Inbox = append(b.Messages, m), append(b.Inbox, entryOf(m))
	}
	must(t, s.Apply(t.Context(), &b))
	first, last, err := s.Inbox(t.Context(), "bob", 0, n, 2*n, 0, nil)
	must(t, err)
	if len(first) != inboxChunk || last != inboxChunk {
		t.Errorf("%d entries up to %d", len(first), last)
	}
	rest, last, err := s.Inbox(t.Context(), "bob", last, n, 2*n, 0, nil)
	must(t, err)
	if len(rest) != n-inboxChunk || last != n || rest[0].Prev != inboxChunk {
		t.Errorf("then %d entries up to %d", len(rest), last)
	}
}
