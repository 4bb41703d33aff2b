package client

import (
	"context"

	"github.com/rookery-chat/rookery/packet"
)

// done answers a request that has nothing to tell.
type done struct{}

// RegisterPush says where this device is told that something waits when it is
// not connected: a provider that the server has ("fcm", "apns" or "webhook"),
// and the provider's token for the device. It returns when the server has made
// that durable. Call it after each start of the app, and when the token changes:
// a token that its provider no longer knows is forgotten. The error is
// CodeBadPush for a provider that the server has not, or no token of it, and
// CodeUnknownType for a server that pushes nothing.
func (c *Client) RegisterPush(ctx context.Context, provider, token string) error {
	_, err := c.ask(ctx, packet.LimitPush, func(dst []byte, id uint64) []byte {
		q := packet.Push{Req: id, Provider: provider, Token: token}
		return q.AppendTo(dst)
	})
	return err
}

// ForgetPush ends it: before the user logs out, lest the device's next user be
// told of this one's messages.
func (c *Client) ForgetPush(ctx context.Context) error { return c.RegisterPush(ctx, "", "") }

func (s *session) onDone(p packet.Done) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.answer(p.Req, done{})
	return nil
}
