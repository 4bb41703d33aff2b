package client

import (
	"context"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// Device is a device of the user.
type Device struct {
	Name    chat.Device
	Label   string    // what the user calls it
	Created time.Time // when it first connected
	Revoked time.Time // zero: it was not
}

// Devices returns the user's devices, in order of their names, those that were
// revoked among them.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	answer, err := c.ask(ctx, packet.LimitDevices, func(dst []byte, id uint64) []byte {
		q := packet.DevicesGet{Req: id}
		return q.AppendTo(dst)
	})
	list, _ := answer.(*packet.Devices)
	if list == nil {
		return nil, err
	}
	var devices []Device
	for _, d := range list.Devices {
		row := Device{Name: chat.Device(d.Device), Label: d.Label, Created: time.UnixMilli(d.Created)}
		if d.Revoked > 0 {
			row.Revoked = time.UnixMilli(d.Revoked)
		}
		devices = append(devices, row)
	}
	return devices, err
}

// LabelDevice gives a device of the user the name that the user calls it by, at
// most 64 bytes, which the server can read; "" takes it away. The error is
// CodeNotFound or CodeBadName.
func (c *Client) LabelDevice(ctx context.Context, device, label string) error {
	_, err := c.ask(ctx, packet.LimitDevices, func(dst []byte, id uint64) []byte {
		q := packet.DeviceLabel{Req: id, Device: device, Label: label}
		return q.AppendTo(dst)
	})
	return err
}

// RevokeDevice takes a device of the user away for ever: its session ends with
// CodeRevoked, and its keys and it are refused from then on. When it returns all
// gateways were told. The error is CodeNotFound, or CodeUnknownType for a server
// that cannot.
func (c *Client) RevokeDevice(ctx context.Context, device string) error {
	_, err := c.ask(ctx, packet.LimitDevices, func(dst []byte, id uint64) []byte {
		q := packet.DeviceRevoke{Req: id, Device: device}
		return q.AppendTo(dst)
	})
	return err
}

func (s *session) onDevices(p packet.Devices) error { return s.answered(p.Req, &p) }
