package client

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// What follows is the way to the server's key directory. It checks nothing of
// what the server says: package e2ee does, on which apps build.

// KeysLow says that few one-time keys of this device are left on the server. It
// is a hint, and may be lost.
type KeysLow struct{ Left int }

func (KeysLow) isEvent() {}

// PutKeys publishes public keys of this device and returns how many of its
// one-time keys have not been handed out. Req is set here. The error is
// CodeBadKeys, CodeOtherIdentity or CodeTooMany, and CodeUnknownType for a
// server without a key directory.
func (c *Client) PutKeys(ctx context.Context, put packet.KeysPut) (left int, err error) {
	answer, err := c.ask(ctx, packet.LimitOneTimeKeys, func(dst []byte, id uint64) []byte {
		put.Req = id
		return put.AppendTo(dst)
	})
	stored, _ := answer.(*packet.KeysStored)
	if stored != nil {
		left = int(min(stored.Left, 1<<30))
	}
	return left, err
}

// Keys returns the identities and devices of users, in the order asked.
func (c *Client) Keys(ctx context.Context, users ...string) ([]packet.UserKeys, error) {
	var all []packet.UserKeys
	for len(users) > 0 {
		answer, err := c.ask(ctx, packet.LimitOneTimeKeys, func(dst []byte, id uint64) []byte {
			q := packet.KeysGet{Req: id, Users: users}
			return q.AppendTo(dst)
		})
		if err != nil {
			return nil, err
		}
		keys, _ := answer.(*packet.Keys)
		if keys == nil || len(keys.Users) == 0 || len(keys.Users) > len(users) {
			return nil, chat.Errorf(chat.CodeInternal, "the server did not answer for the users it was asked for")
		}
		all, users = append(all, keys.Users...), users[len(keys.Users):]
	}
	return all, nil
}

// ClaimKeys returns one key of each device, to begin a session with. Devices
// that have none are left out.
func (c *Client) ClaimKeys(ctx context.Context, devices ...packet.DeviceRef) ([]packet.ClaimedKey, error) {
	answer, err := c.ask(ctx, packet.LimitOneTimeKeys, func(dst []byte, id uint64) []byte {
		q := packet.KeysClaim{Req: id, Devices: devices}
		return q.AppendTo(dst)
	})
	claimed, _ := answer.(*packet.KeysClaimed)
	if claimed == nil {
		return nil, err
	}
	return claimed.Keys, err
}

// DropKeys removes the keys of one of the user's devices: others stop encrypting
// for it when they look next.
func (c *Client) DropKeys(ctx context.Context, device string) error {
	_, err := c.ask(ctx, packet.LimitOneTimeKeys, func(dst []byte, id uint64) []byte {
		q := packet.KeysDrop{Req: id, Device: device}
		return q.AppendTo(dst)
	})
	return err
}

// answered takes in an answer of the key directory.
func (s *session) answered(req uint64, answer any) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.answer(req, answer)
	return nil
}

func (s *session) onKeysStored(p packet.KeysStored) error   { return s.answered(p.Req, &p) }
func (s *session) onKeys(p packet.Keys) error               { return s.answered(p.Req, &p) }
func (s *session) onKeysClaimed(p packet.KeysClaimed) error { return s.answered(p.Req, &p) }

func (s *session) onKeysLow(p packet.KeysLow) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.in.tell(KeysLow{Left: int(min(p.Left, 1<<30))})
	return nil
}
