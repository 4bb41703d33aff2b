package server

import (
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// TestMessagesAreKeptAsConfigured: at least so long, and two steps more at most.
func TestMessagesAreKeptAsConfigured(t *testing.T) {
	const day = 24 * time.Hour
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Retention.Inbox, c.Retention.Messages = day, 40*day })
	alice, bob := name("alice"), name("bob")
	to := dial(t, s, bob, "phone", packet.ResumeCursor)
	id := dial(t, s, alice, "phone", packet.ResumeCursor).send(bob, "for a while")
	expect[*packet.Message](to)
	kept := func(after time.Duration) int {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = s.sweepOnce(t.Context(), id.UnixMilli()+after.Milliseconds()); err != nil {
				t.Fatal(err)
			}
		}
		ms, err := s.store.History(t.Context(), chat.DirectChat(chat.User(alice), chat.User(bob)), chat.ID{}, 9, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(ms)
	}
	if kept(40*day) != 1 {
		t.Error("a message went before its time")
	}
	if kept(42*day+time.Minute) != 0 {
		t.Error("a message stays")
	}
}

func TestMessagesBefore(t *testing.T) {
	for _, keep := range []time.Duration{time.Second, time.Hour, 30 * 24 * time.Hour, 36500 * 24 * time.Hour} {
		step := min(24*time.Hour, keep/10).Milliseconds()
		steps := map[int64]bool{}
		for now := int64(1_750_000_000_000); now < 1_750_000_000_000+10*step; now += step / 10 {
			before := messagesBefore(now, keep)
			if age := now - keep.Milliseconds() - before; age < 0 || age > 2*step {
				t.Fatalf("kept for %v: %d ms more", keep, age)
			}
			steps[before] = true
		}
		if len(steps) > 11 {
			t.Errorf("kept for %v: %d steps where ten are enough", keep, len(steps))
		}
	}
}
