package packet

import (
	"bytes"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

func TestAppendLinkEqualsEncodingInPlace(t *testing.T) {
	m := Message{ID: chat.NewID(77, 1, chat.Node{1}), From: []byte("alice"), Late: -3, Content: []byte("hi"), Media: []byte("u")}
	c := Copy{ID: m.ID, To: []byte("bob"), Place: 9}
	r := Receipt{Peer: []byte("bob"), Delivered: 1 << 40, Read: 7}
	bare := [][]byte{m.AppendTo(nil), c.AppendTo(nil), r.AppendTo(nil)}
	for _, pos := range []chat.Position{1, 127, 128, 1 << 20, chat.NewPosition(3, 9)} {
		for _, gap := range []uint64{1, 200, 1 << 18} {
			m.Pos, m.Gap, c.Pos, c.Gap, r.Pos, r.Gap = pos, gap, pos, gap, pos, gap
			for i, want := range [][]byte{m.AppendTo(nil), c.AppendTo(nil), r.AppendTo(nil)} {
				if got := AppendLink(nil, bare[i], pos, pos-chat.Position(gap)); !bytes.Equal(got, want) {
					t.Errorf("link %d at %v gap %d:\n got %x\nwant %x", i, pos, gap, got, want)
				}
			}
		}
	}
}
