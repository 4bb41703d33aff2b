package delivery

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/packet"
)

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
