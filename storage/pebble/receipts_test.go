package pebble

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// TestReadReceipts reads receipts in any order, from memory and from tables, and
// leaves those alone that are not stored.
func TestReadReceipts(t *testing.T) {
	s := openFS(t, vfs.NewMem())
	stored := func(n int) storage.ReceiptAt {
		return storage.ReceiptAt{Receipt: chat.Receipt{
			User: "alice", Peer: chat.User(fmt.Sprint("peer", n)), Delivered: chat.Position(n + 2), Read: chat.Position(n + 1),
		}, Pos: 1}
	}
	for n := range 40 {
		mustApply(t, s, &storage.Batch{Receipts: []storage.ReceiptAt{stored(2 * n)}})
		if n == 20 {
			if err := errors.Join(s.db.Flush(), s.db.Compact(t.Context(), []byte{0}, []byte{255}, false)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var asked, want []storage.ReceiptAt
	for n := 79; n >= 0; n-- {
		r := storage.ReceiptAt{Receipt: chat.Receipt{User: "alice", Peer: chat.User(fmt.Sprint("peer", n))}}
		other := storage.ReceiptAt{Receipt: chat.Receipt{User: "alic", Peer: r.Peer}}
		asked = append(asked, r, other)
		if n%2 == 0 {
			r = stored(n)
		}
		want = append(want, r, other)
	}
	if err := s.ReadReceipts(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	for i := range asked {
		if asked[i] != want[i] {
			t.Errorf("%+v, want %+v", asked[i], want[i])
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadReceipts(t.Context(), asked); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
