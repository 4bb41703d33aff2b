package gateway

import (
	"context"
	"math"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// errRevoked is of a device that its user took away.
var errRevoked = chat.Errorf(chat.CodeRevoked, "this device was revoked: link it anew, under another name")

// Admit refuses a token of before its user took a device away, as hello does:
// with CodeRevoked the device's own, with CodeUnauthorized an older one that is
// bound to none (device is ""). CodeUnavailable: the store does not answer. It
// reads the store each time: a revocation is told to the gateways that have
// sessions of the user, and a request may come to any other, which would go on
// admitting the device from what it remembers.
func (g *Gateway) Admit(ctx context.Context, user chat.User, device chat.Device, issued time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	known, err := g.store.Devices(ctx, user)
	if err != nil {
		g.opt.Logger.Error("devices of a token's user", "err", err)
		return chat.Errorf(chat.CodeUnavailable, "the store does not answer")
	}
	return admit(known, device, issuedAt(device, issued))
}

// admit judges a device by all that its user has and had. issued is when its
// token was, as issuedAt says: whoever took a device may have taken its token,
// which other names would fit.
func admit(known []storage.Device, device chat.Device, issued int64) error {
	revoked := int64(0)
	for _, d := range known {
		if d.Revoked > 0 && d.Name == device {
			return errRevoked
		}
		revoked = max(revoked, d.Revoked)
	}
	if issued < revoked/1000 {
		return chat.Errorf(chat.CodeUnauthorized, "a device was revoked after this token was issued, which is good for any device: get a new one")
	}
	return nil
}

// issuedAt is when a token was issued, in seconds since 1970; of one that is
// bound to a device the end of time, as another's revocation is nothing to it.
func issuedAt(device chat.Device, issued time.Time) int64 {
	if device != "" {
		return math.MaxUint32
	}
	return min(max(issued.Unix(), 0), math.MaxUint32)
}
