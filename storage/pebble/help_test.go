package pebble

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openFS opens the store of a disk in memory, and closes it with the test.
func openFS(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := openMem(fs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustApply(t testing.TB, s *Store, b *storage.Batch) {
	t.Helper()
	if err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// testStart is when the messages of testMessage begin, ms since 1970.
const testStart = 1_750_000_000_000

// testMessage is a message whose time goes with its place.
func testMessage(from, to chat.User, place chat.Position) chat.Message {
	ms := testStart + int64(place)
	return chat.Message{
		ID:   chat.NewID(uint64(ms)*10_000+0x01b21dd213814000, 7, chat.Node{1, byte(place)}),
		From: from, To: to, Place: place, At: ms,
		Content: fmt.Appendf(nil, "%s to %s at %d, and some hundred bytes more so that there is something to be torn, cut and lost", from, to, place),
	}
}
