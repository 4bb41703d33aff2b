package gateway

import (
	"context"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/keydir"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// keyRate bounds packets about keys: a claim takes something from its device,
// and costs the store a synced write. It is a bucket of what may be asked a
// minute; a session without such packets has none.
type keyRate struct {
	left float64
	at   int64 // ms
}

// deviceRowBytes is about what a device takes in an answer.
const deviceRowBytes = 200

func (o *Options) tellKeyLimits(limits map[string]uint64) {
	k := &o.Keys
	limits[packet.LimitOneTimeKeys], limits[packet.LimitKeyUsers] = uint64(k.OneTime), uint64(k.Users)
	limits[packet.LimitKeyDevices], limits[packet.LimitKeyRate] = uint64(k.Devices), uint64(o.KeyRate)
}

// spendKeys takes a packet about keys, or returns the error that refuses it.
func (g *Gateway) spendKeys(s *session) error {
	x, now, rate := s.extra(), s.st().loop.NowMs(), float64(g.opt.KeyRate)
	if x.keys == nil {
		x.keys = &keyRate{left: rate, at: now}
	}
	k := x.keys
	k.left = min(k.left+float64(now-k.at)*rate/60_000, rate)
	k.at = now
	if k.left < 1 {
		e := chat.Errorf(chat.CodeRateLimited, "at most %d packets about keys a minute", g.opt.KeyRate)
		e.RetryAfter = max(time.Duration((1-k.left)*60_000/rate)*time.Millisecond, time.Millisecond)
		return e
	}
	k.left--
	return nil
}

// askKeys is askOr within the rate.
func (g *Gateway) askKeys(s *session, req uint64, job func(ctx context.Context) (encoder, error)) error {
	if err := g.spendKeys(s); err != nil {
		s.failWith(req, err)
		return nil
	}
	return g.askOr(s, req, job)
}

// onKeysPut publishes the keys of the session's device.
func (g *Gateway) onKeysPut(s *session, p packet.Raw) error {
	var m packet.KeysPut
	if err := m.Decode(p); err != nil {
		return err
	}
	user := s.user()
	put := storage.PutKeys{
		Identity: m.Identity, Reset: m.Reset, Fallback: storage.PreKey(m.Fallback),
		Device: storage.DeviceKeys{Device: s.device(), Curve: m.Curve, Signing: m.Signing, Signature: m.Signature},
	}
	for _, k := range m.OneTime {
		put.OneTime = append(put.OneTime, storage.PreKey(k))
	}
	return g.askKeys(s, m.Req, func(ctx context.Context) (encoder, error) {
		left, err := g.keys.Put(ctx, user, put)
		if err != nil {
			return nil, err
		}
		return &packet.KeysStored{Req: m.Req, Left: uint64(left)}, nil
	})
}

// onKeysGet tells the identities and devices of users.
func (g *Gateway) onKeysGet(s *session, p packet.Raw) error {
	var m packet.KeysGet
	if err := m.Decode(p); err != nil {
		return err
	}
	var users []chat.User
	for _, name := range m.Users {
		u, err := s.peer(name)
		if err != nil {
			s.failWith(m.Req, err)
			return nil
		}
		users = append(users, u)
	}
	return g.askKeys(s, m.Req, func(ctx context.Context) (encoder, error) {
		list, err := g.keys.Get(ctx, users)
		if err != nil {
			return nil, err
		}
		answer, bytes := &packet.Keys{Req: m.Req}, 0
		for i, u := range list {
			row := packet.UserKeys{User: m.Users[i], Identity: u.Identity}
			for _, d := range u.Devices {
				row.Devices = append(row.Devices, packet.DeviceKeys{Device: string(d.Device), Curve: d.Curve, Signing: d.Signing, Signature: d.Signature})
			}
			answer.Users = append(answer.Users, row)
			if bytes += (len(row.Devices) + 1) * deviceRowBytes; bytes > pageBytes {
				break // the client asks for the rest
			}
		}
		return answer, nil
	})
}

// onKeysClaim hands out one key of each device, and tells devices that have few
// left, as far as they have a session here.
func (g *Gateway) onKeysClaim(s *session, p packet.Raw) error {
	var m packet.KeysClaim
	if err := m.Decode(p); err != nil {
		return err
	}
	var devices []keydir.Ref
	for _, d := range m.Devices {
		u, err := s.peer(d.User)
		device := chat.Device("")
		if err == nil {
			device, err = chat.NewDevice(d.Device)
		}
		if err != nil {
			s.failWith(m.Req, err)
			return nil
		}
		devices = append(devices, keydir.Ref{User: u, Device: device})
	}
	return g.askKeys(s, m.Req, func(ctx context.Context) (encoder, error) {
		list, err := g.keys.Claim(ctx, devices)
		if err != nil {
			return nil, err
		}
		answer := &packet.KeysClaimed{Req: m.Req}
		for _, c := range list {
			answer.Keys = append(answer.Keys, packet.ClaimedKey{
				User: c.User.Name(), Device: string(c.Device), Fallback: c.Fallback, PreKey: packet.PreKey(c.PreKey),
			})
			if g.keys.Low(c) {
				g.tellLow(c)
			}
		}
		return answer, nil
	})
}

func (g *Gateway) tellLow(c keydir.Claimed) {
	for _, ref := range g.presence.Lookup(view.Bytes(c.User), nil) {
		g.post(ref, func(s *session) {
			if s.joined && s.user() == c.User && s.device() == c.Device {
				s.write(&packet.KeysLow{Left: uint64(c.Left)})
			}
		})
	}
}

// onKeysDrop removes the keys of one of the user's devices.
func (g *Gateway) onKeysDrop(s *session, p packet.Raw) error {
	var m packet.KeysDrop
	if err := m.Decode(p); err != nil {
		return err
	}
	return g.forDevice(s, m.Req, m.Device, g.keys.Drop)
}
