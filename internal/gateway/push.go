package gateway

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// pushTokenBytes is the longest token of a push; the welcome tells it.
const pushTokenBytes = 4 << 10

// onPush keeps where the session's device is told that something waits, or
// forgets it.
func (g *Gateway) onPush(s *session, p packet.Raw) error {
	var m packet.Push
	if err := m.Decode(p); err != nil {
		return err
	}
	if m.Provider == "" {
		m.Token = ""
	} else if err := g.checkPush(m.Provider, m.Token); err != nil {
		s.failWith(m.Req, err)
		return nil
	}
	user, target := s.user(), storage.PushTarget{Device: s.device(), Provider: m.Provider, Token: m.Token}
	return g.askOr(s, m.Req, func(ctx context.Context) (encoder, error) {
		if err := g.store.PutPushTarget(ctx, user, target); err != nil {
			return nil, err
		}
		return &packet.Done{Req: m.Req}, nil
	})
}

func (g *Gateway) checkPush(provider, token string) error {
	if g.opt.CheckPush == nil {
		return chat.Errorf(chat.CodeBadPush, "this server pushes nothing")
	}
	if token == "" || len(token) > pushTokenBytes {
		return chat.Errorf(chat.CodeBadPush, "a token has 1 to %d bytes, this one has %d", pushTokenBytes, len(token))
	}
	return g.opt.CheckPush(provider, token)
}
