package delivery

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/packet"
)

// TestAMessageToAGroupWaitsOnce: while the directory is slow the hints of a
// message to a large group take its packet once, so that none is dropped.
func TestAMessageToAGroupWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members, size = 1000, 2000
		group := chat.NewGroup("", chat.ID{1})
		w := &world{at: map[chat.User][]presence.Gateway{}, hold: make(chan struct{})}
		r := newRemote(t, RemoteOptions{QueueBytes: 30_000 + 3*size}, w, nil)
		var packets []string
		w.packet = func(h *Hint) { packets = append(packets, string(h.Packet)) }
		var want, sent []string
		deliver := func(place chat.Position, from, to int) {
			var entries []chat.Entry
			for n := from; n < to; n++ {
				user := chat.User(fmt.Sprintf("user%03d", n))
				w.at[user] = []presence.Gateway{g1}
				e := chat.Entry{Kind: chat.EntryMessage, User: user, Pos: place*members + chat.Position(n), Message: chat.Message{
					ID: chat.ID{byte(place)}, From: "alice", To: group, Place: place, Content: bytes.Repeat([]byte{byte(place)}, size)}}
				entries = append(entries, e)
				want = append(want, string(AppendEntry(nil, &e, false)))
				sent = append(sent, fmt.Sprintf("g1 %s %d", user, e.Pos))
			}
			r.Deliver(0, entries, nil)
			synctest.Wait()
		}
		deliver(1, 0, 1) // with which the router stands still
		deliver(2, 0, members)
		deliver(2, members, members+1) // of the same message, in the next cycle
		deliver(3, 0, 1)
		close(w.hold)
		synctest.Wait()
		if !slices.Equal(w.sent, sent) || !slices.Equal(packets, want) || r.Stats.DroppedQueue.Load() != 0 {
			t.Errorf("%d hints of %d went out, %d were dropped", len(w.sent), len(sent), r.Stats.DroppedQueue.Load())
		}
		r.Close()
	})
}

// TestAMessageToAGroupIsEncodedOnceALoop has members with sessions on two loops,
// each of whom gets their own place in their own chain.
func TestAMessageToAGroupIsEncodedOnceALoop(t *testing.T) {
	h := newHere(1, 2)
	group := chat.NewGroup("", chat.ID{1})
	away := 0
	h.Nowhere = func(_, with chat.User, _ chat.Position) {
		if away++; with != group {
			t.Errorf("a push is of %s", with)
		}
	}
	var entries []chat.Entry
	const members, size = 40, 1000
	for n := range 2 * members {
		user := chat.User(fmt.Sprintf("user%02d", n%members))
		if n%members < members-1 && n < members {
			h.table.Register(user, chat.Node{1}, presence.Ref(n+1))
		}
		place := chat.Position(7 + n/members)
		entries = append(entries, chat.Entry{Kind: chat.EntryMessage, User: user, Pos: chat.Position(100 + n), Prev: chat.Position(n),
			Message: chat.Message{ID: chat.ID{byte(place), 15: 9}, From: "alice", To: group, Place: place, Content: make([]byte, size)}})
	}
	direct := message("user00", "alice", 500, "to you alone")
	h.Deliver(0, append(entries, direct), nil)
	got, bytes := 0, 0
	for _, m := range h.took() {
		bytes += len(m.buf)
		for i := range m.Items {
			item := &m.Items[i]
			raw, _, err := packet.Next(packet.AppendLink(nil, m.Packet(item), item.Pos, item.Prev))
			if err != nil {
				t.Fatal(err)
			}
			if item.Pos == 500 {
				var p packet.Message
				if err := p.Decode(raw); err != nil || string(p.Content) != "to you alone" {
					t.Errorf("%+v, %v", p, err)
				}
				continue
			}
			var p packet.GroupMessage
			n := int(item.Pos) - 100
			if err := p.Decode(raw); err != nil || p.Pos != item.Pos || p.Gap != 100 || p.Place != chat.Position(7+n/members) ||
				string(p.Group) != string(group) || string(m.User(item)) != fmt.Sprintf("user%02d", n%members) {
				t.Errorf("%d: %+v, %v", n, p, err)
			}
			got++
		}
	}
	if got != 2*(members-1) || away != 2 {
		t.Errorf("%d packets, %d nowhere", got, away)
	}
	if bytes > 4*size+10_000 {
		t.Errorf("%d bytes for two messages on two loops", bytes)
	}
	h.free()
	if n := testing.AllocsPerRun(20, func() { h.Deliver(0, entries, nil); h.free() }); n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
