package clienttest

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// Befriend plays a server with one user behind it who gets every message, reads
// it at once and says the same back. It returns when the client goes.
func (c *Conn) Befriend() error {
	f := friend{c: c, node: chat.NewClock(chat.Node{9, 9, 9, 9, 9, 9}, 1, chat.ID{})}
	hello, err := c.Welcome(packet.Welcome{User: "you"})
	if err != nil {
		return err
	}
	f.pos = chat.Position(max(hello.Resume, 0))
	c.Write(&packet.CaughtUp{Pos: f.pos})
	for {
		p, err := c.Read()
		if err != nil {
			return nil
		}
		if p.Type == packet.TypeSend {
			if err := f.answer(p); err != nil {
				return err
			}
		}
	}
}

type friend struct {
	c     *Conn
	node  *chat.Clock
	place chat.Position // of the last message to the friend
	pos   chat.Position // of the last link to the client
}

func (f *friend) answer(p packet.Raw) error {
	var m packet.Send
	if err := m.Decode(p); err != nil {
		return err
	}
	f.place++
	f.pos += 2
	f.node.See(m.ID)
	f.c.Write(
		&packet.Accepted{N: m.N, Count: 1, Pos: f.place},
		&packet.Receipt{Pos: f.pos - 1, Gap: 1, Peer: m.To, Delivered: f.place, Read: f.place},
		&packet.Message{Pos: f.pos, Gap: 1, ID: f.node.Next(m.ID.Time()), From: m.To, Content: m.Content},
	)
	return nil
}
