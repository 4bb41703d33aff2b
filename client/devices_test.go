package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

func TestDevices(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitDevices: 64}})
	background := func(g func() error) <-chan error {
		done := make(chan error, 1)
		go func() { done <- g() }()
		return done
	}
	var list []client.Device
	done := background(func() (err error) { list, err = f.c.Devices(context.Background()); return err })
	get := expect[packet.DevicesGet](t, conn, packet.TypeDevicesGet)
	conn.Write(&packet.Devices{Req: get.Req, Devices: []packet.OwnDevice{{Device: "a", Label: "A", Created: 5}, {Device: "b", Created: 6, Revoked: 7}}})
	must(t, <-done)
	if len(list) != 2 || list[0].Label != "A" || !list[0].Revoked.IsZero() || !list[0].Created.Equal(time.UnixMilli(5)) || !list[1].Revoked.Equal(time.UnixMilli(7)) {
		t.Errorf("%+v", list)
	}
	done = background(func() error { return f.c.LabelDevice(context.Background(), "a", "B") })
	label := expect[packet.DeviceLabel](t, conn, packet.TypeDeviceLabel)
	conn.Write(&packet.Done{Req: label.Req})
	must(t, <-done)
	if label.Device != "a" || label.Label != "B" {
		t.Errorf("%+v", label)
	}
	done = background(func() error { return f.c.RevokeDevice(context.Background(), "c") })
	revoke := expect[packet.DeviceRevoke](t, conn, packet.TypeDeviceRevoke)
	conn.Write(&packet.Error{Req: revoke.Req, Code: chat.CodeNotFound})
	wantCode(t, <-done, chat.CodeNotFound)
}

// A device that was revoked stays away.
func TestRevoked(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(&packet.Bye{Code: chat.CodeRevoked, Text: "gone"})
	select {
	case <-f.c.Done():
	case <-ctx(t).Done():
		t.Fatal("it goes on")
	}
	wantCode(t, f.c.Err(), chat.CodeRevoked)
	_, err := f.c.Devices(ctx(t))
	wantCode(t, err, chat.CodeRevoked)
}

func TestDevicesOfAnOlderServer(t *testing.T) {
	f := newFixture(t, nil)
	f.welcome(packet.Welcome{})
	wantCode(t, f.c.RevokeDevice(ctx(t), "a"), chat.CodeUnknownType)
}
