package gateway

import (
	"context"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/packet"
)

// devicesEver is how many times Options.Devices a user may have had, those that
// were revoked included: their names are remembered for ever.
const devicesEver = 16

// labelBytes is the longest name that a user gives a device.
const labelBytes = 64

// onDevicesGet tells the devices of the session's user.
func (g *Gateway) onDevicesGet(s *session, p packet.Raw) error {
	var m packet.DevicesGet
	if err := m.Decode(p); err != nil {
		return err
	}
	user := s.user()
	return g.askKeys(s, m.Req, func(ctx context.Context) (encoder, error) {
		list, err := g.store.Devices(ctx, user)
		if err != nil {
			return nil, err
		}
		answer := &packet.Devices{Req: m.Req}
		for _, d := range list {
			answer.Devices = append(answer.Devices, packet.OwnDevice{Device: string(d.Name), Label: d.Label, Created: d.Created, Revoked: d.Revoked})
		}
		return answer, nil
	})
}

// onDeviceLabel keeps what the user calls a device.
func (g *Gateway) onDeviceLabel(s *session, p packet.Raw) error {
	var m packet.DeviceLabel
	if err := m.Decode(p); err != nil {
		return err
	}
	if err := checkLabel(m.Label); err != nil {
		s.failWith(m.Req, err)
		return nil
	}
	return g.forDevice(s, m.Req, m.Device, func(ctx context.Context, user chat.User, device chat.Device) error {
		found, err := g.store.LabelDevice(ctx, user, device, m.Label)
		if err == nil && !found {
			err = noDevice(device)
		}
		return err
	})
}

// forDevice does a job on one of the devices of the session's user, and answers
// that it is done.
func (g *Gateway) forDevice(s *session, req uint64, name string, job func(ctx context.Context, user chat.User, device chat.Device) error) error {
	device, err := chat.NewDevice(name)
	if err != nil {
		s.failWith(req, err)
		return nil
	}
	user := s.user()
	return g.askKeys(s, req, func(ctx context.Context) (encoder, error) {
		if err := job(ctx, user, device); err != nil {
			return nil, err
		}
		return &packet.Done{Req: req}, nil
	})
}

func checkLabel(label string) error {
	if len(label) > labelBytes || !utf8.ValidString(label) {
		return chat.Errorf(chat.CodeBadName, "a device's label is UTF-8 of at most %d bytes, this one has %d", labelBytes, len(label))
	}
	for _, r := range label {
		if !unicode.IsPrint(r) {
			return chat.Errorf(chat.CodeBadName, "a device's label is printable, and has %U", r)
		}
	}
	return nil
}

func noDevice(device chat.Device) error {
	return chat.Errorf(chat.CodeNotFound, "the user has no device %s", device)
}

// onDeviceRevoke takes a device of the session's user away. Its answer says that
// the store has it, and that the device's sessions were told to end, here and at
// the other gateways.
func (g *Gateway) onDeviceRevoke(s *session, p packet.Raw) error {
	var m packet.DeviceRevoke
	if err := m.Decode(p); err != nil {
		return err
	}
	return g.forDevice(s, m.Req, m.Device, func(ctx context.Context, user chat.User, device chat.Device) error {
		found, err := g.store.RevokeDevice(ctx, user, device, chat.MillisNow())
		if err == nil && !found {
			err = noDevice(device)
		}
		if err == nil {
			err = g.endSessions(ctx, user, device)
		}
		if err == nil {
			g.Stats.DevicesRevoked.Add(1)
		}
		return err
	})
}

// endSessions ends the sessions of a revoked device, wherever they are. One that
// begins meanwhile finds by itself that its device was revoked.
func (g *Gateway) endSessions(ctx context.Context, user chat.User, device chat.Device) error {
	told := make(chan struct{})
	g.Revoked(user, device, func() { close(told) })
	var err error
	if g.opt.Elsewhere != nil {
		err = g.revokedElsewhere(ctx, user, device)
	}
	select {
	case <-told:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}

// Revoked ends the sessions of a device here that was revoked, and calls then
// when all have been told.
func (g *Gateway) Revoked(user chat.User, device chat.Device, then func()) {
	g.tellSessions(user, func(s *session) {
		if s.device() == device && s.state != closing {
			s.bye(chat.CodeRevoked, 0, errRevoked.Text)
		}
	}, then)
}

// revokedElsewhere has the other gateways of a user end a device's sessions.
func (g *Gateway) revokedElsewhere(ctx context.Context, user chat.User, device chat.Device) error {
	return g.tellElsewhere(ctx, user, func(ctx context.Context, to presence.Gateway) error {
		if err := g.opt.Elsewhere.Links.Revoked(ctx, to, user, device); err != nil {
			return fmt.Errorf("tell gateway %s of a revoked device: %w", to.ID, err)
		}
		return nil
	})
}

// lookRevoked ends a session whose device was revoked while the directory did
// not know of it.
func (g *Gateway) lookRevoked(s *session) {
	ref, user, device := s.ref(), s.user(), s.device()
	g.jobs.try(func() {
		ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
		defer cancel()
		if _, _, err := g.registered(ctx, user, device); chat.CodeOf(err) == chat.CodeRevoked {
			g.post(ref, func(s *session) {
				if s.user() == user && s.device() == device && s.state != closing {
					s.bye(chat.CodeRevoked, 0, errRevoked.Text)
				}
			})
		}
	})
}
