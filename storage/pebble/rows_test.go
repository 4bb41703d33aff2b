package pebble

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func fullMessage() chat.Message {
	m := testMessage("alice", "acme/bob", chat.NewPosition(3, 1<<40))
	m.Expires, m.Suite, m.Media = m.At+1000, 255, "https://media.example/1"
	return m
}

func TestMessageRow(t *testing.T) {
	empty := chat.Message{From: "a", To: "b"}
	for _, want := range []chat.Message{fullMessage(), testMessage("a", "a", 1), empty} {
		row := appendMessage(nil, &want)
		got := chat.Message{ID: want.ID, Expires: 1, Media: "stale", Content: []byte("stale")}
		if err := decodeMessage(row, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded %+v, %v\nstored %+v", got, err, want)
		}
		if at, expires, err := timesOf(row); err != nil || at != want.At || expires != want.Expires {
			t.Fatalf("taken in at %d, expires %d, %v", at, expires, err)
		}
		clear(row)
		if string(got.Content) != string(want.Content) || got.Media != want.Media || got.From != want.From {
			t.Fatal("what was decoded lies in the row's bytes")
		}
	}
}

// TestRowCutOff cuts rows at every byte. A message without content still is
// one: the bytes before its content do not say how long that is.
func TestRowCutOff(t *testing.T) {
	m := fullMessage()
	row := appendMessage(nil, &m)
	for n := range len(row) - len(m.Content) {
		if err := decodeMessage(row[:n], &chat.Message{}); !errors.Is(err, errCorrupt) {
			t.Errorf("a message of the first %d bytes: %v", n, err)
		}
	}
	inbox := appendInbox(nil, &chat.Entry{Kind: chat.EntryMessage, Message: m})
	for n := range inboxRowHead {
		if _, err := decodeInbox(inbox[:n]); !errors.Is(err, errCorrupt) {
			t.Errorf("an inbox row of the first %d bytes: %v", n, err)
		}
	}
	device := appendDevice(nil, storage.Device{Seq: 1})
	for n := range len(device) {
		if err := decodeDevice(device[:n], &storage.Device{}); !errors.Is(err, errCorrupt) {
			t.Errorf("a device of the first %d bytes: %v", n, err)
		}
	}
	for _, b := range [][]byte{row, inbox, device} {
		b[0] = rowVersion + 1
	}
	_, inboxErr := decodeInbox(inbox)
	_, _, timesErr := timesOf(row)
	for _, err := range []error{decodeMessage(row, &m), inboxErr, timesErr, decodeDevice(device, &storage.Device{})} {
		if !errors.Is(err, errCorrupt) {
			t.Errorf("a row of a later version: %v", err)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	m := fullMessage()
	f.Add(appendMessage(nil, &m))
	f.Add([]byte{rowVersion, 0, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{rowVersion, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, row []byte) {
		var m, again chat.Message
		at, expires, timesErr := timesOf(row)
		if err := decodeMessage(row, &m); err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if timesErr != nil || at != m.At || expires != m.Expires {
			t.Fatalf("taken in at %d, expires %d, %v; the message says %d and %d", at, expires, timesErr, m.At, m.Expires)
		}
		if err := decodeMessage(appendMessage(nil, &m), &again); err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v written and read again is %+v, %v", m, again, err)
		}
	})
}

// TestMessageKeys: of a chat the newest comes first, and before is exact.
func TestMessageKeys(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	c := chat.DirectChat("a", "b")
	var ids []chat.ID
	for range 500 {
		ids = append(ids, chat.NewID(rnd.Uint64()&(1<<60-1)>>rnd.IntN(50), uint16(rnd.Uint32()), chat.Node{1, byte(rnd.Uint32())}))
	}
	slices.SortFunc(ids, func(a, b chat.ID) int { return b.Compare(a) })
	for i := range ids {
		key := appendMessageKey(nil, tableMessage, c, ids[i])
		if len(key) != messageKeyBytes || idOfSortID(key) != ids[i] {
			t.Fatalf("key %x of %s gives %s", key, ids[i], idOfSortID(key))
		}
		if i > 0 && bytes.Compare(appendMessageKey(nil, tableMessage, c, ids[i-1]), key) >= 0 {
			t.Fatalf("%s is not before the older %s", ids[i-1], ids[i])
		}
		if len(appendExpiryKey(nil, 5, c, ids[i])) != expiryKeyBytes {
			t.Fatal("the length of expiry keys is wrong")
		}
	}
}

func TestAfter(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"a", "b"}, {"ab", "ac"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"a\xffb", "a\xffc"},
	} {
		if got := string(after(nil, []byte(c.prefix))); got != c.want {
			t.Errorf("after %q comes %q, not %q", c.prefix, got, c.want)
		}
	}
}

// TestCorruptRows: a read that meets a row it cannot read says so.
func TestCorruptRows(t *testing.T) {
	m := testMessage("alice", "bob", 1)
	ctx := t.Context()
	for name, c := range map[string]struct {
		key  []byte
		read func(s *Store) error
	}{
		"message": {appendMessageKey(nil, tableMessage, m.Chat(), m.ID), func(s *Store) error {
			_, _, err := s.Message(ctx, m.Chat(), m.ID, 0)
			return err
		}},
		"history": {appendMessageKey(nil, tableMessage, m.Chat(), m.ID), func(s *Store) error {
			_, err := s.History(ctx, m.Chat(), chat.ID{}, 9, 0, nil)
			return err
		}},
		"chats": {appendMessageKey(nil, tableMessage, m.Chat(), m.ID), func(s *Store) error {
			_, err := s.Chats(ctx, "bob", chat.ID{}, 9, 0, nil)
			return err
		}},
		"inbox's message": {appendMessageKey(nil, tableMessage, m.Chat(), m.ID), func(s *Store) error {
			_, _, err := s.Inbox(ctx, "bob", 0, 9, 9, 0, nil)
			return err
		}},
		"inbox": {appendInboxKey(nil, tableInbox, "bob", 1), func(s *Store) error {
			_, _, err := s.Inbox(ctx, "bob", 0, 9, 9, 0, nil)
			return err
		}},
		"swept inbox": {appendInboxKey(nil, tableInbox, "bob", 1), func(s *Store) error {
			_, err := s.Sweep(ctx, 0, testStart, 0)
			return err
		}},
		"swept message": {appendMessageKey(nil, tableMessage, m.Chat(), m.ID), func(s *Store) error {
			_, err := s.Sweep(ctx, 0, 0, testStart+2)
			return err
		}},
		"receipts": {appendPairKey(nil, tableReceipt, "bob", "x"), func(s *Store) error {
			_, err := s.Receipts(ctx, "bob", 0, 9, "", 9, nil)
			return err
		}},
		"cursors": {appendPairKey(nil, tableCursor, "bob", "x"), func(s *Store) error {
			_, err := s.Delivered(ctx, "bob")
			return err
		}},
		"mark": {appendMarkKey(nil, 0), func(s *Store) error {
			_, err := s.Mark(ctx, 0)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openFS(t, memFS())
			mustApply(t, s, &storage.Batch{Messages: []chat.Message{m}, Inbox: []chat.Entry{{Kind: chat.EntryMessage, User: "bob", Pos: 1, Message: m}}})
			if err := s.db.Set(c.key, []byte{1, 2, 3}, nil); err != nil {
				t.Fatal(err)
			}
			if err := c.read(s); !errors.Is(err, errCorrupt) {
				t.Fatalf("read: %v", err)
			}
		})
	}
}
