package client_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

func keyed() packet.Welcome {
	return packet.Welcome{Limits: map[string]uint64{packet.LimitOneTimeKeys: 100}}
}

// background runs f while the test plays the server, and returns how it ended.
func background(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func TestKeys(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(keyed())
	var left int
	done := background(func() (err error) {
		left, err = f.c.PutKeys(context.Background(), packet.KeysPut{Identity: []byte("i"), Reset: true})
		return err
	})
	put := expect[packet.KeysPut](t, conn, packet.TypeKeysPut)
	conn.Write(&packet.KeysStored{Req: put.Req, Left: 7})
	must(t, <-done)
	if left != 7 || string(put.Identity) != "i" || !put.Reset || put.Req == 0 {
		t.Errorf("%d left of %+v", left, put)
	}

	var users []packet.UserKeys
	done = background(func() (err error) {
		users, err = f.c.Keys(context.Background(), "a", "b")
		return err
	})
	get := expect[packet.KeysGet](t, conn, packet.TypeKeysGet)
	conn.Write(&packet.Keys{Req: get.Req, Users: []packet.UserKeys{{User: "a"}}}) // the first of them only
	get = expect[packet.KeysGet](t, conn, packet.TypeKeysGet)
	if len(get.Users) != 1 || get.Users[0] != "b" {
		t.Errorf("asks for %q", get.Users)
	}
	conn.Write(&packet.Keys{Req: get.Req, Users: []packet.UserKeys{{User: "b"}}})
	must(t, <-done)
	if len(users) != 2 || users[1].User != "b" {
		t.Errorf("%+v", users)
	}

	done = background(func() error { _, err := f.c.Keys(context.Background(), "a"); return err })
	get = expect[packet.KeysGet](t, conn, packet.TypeKeysGet)
	conn.Write(&packet.Keys{Req: get.Req}) // nobody: it must not ask for ever
	if err := <-done; chat.CodeOf(err) != chat.CodeInternal {
		t.Error(err)
	}

	var claimed []packet.ClaimedKey
	done = background(func() (err error) {
		claimed, err = f.c.ClaimKeys(context.Background(), packet.DeviceRef{User: "a", Device: "d"})
		return err
	})
	claim := expect[packet.KeysClaim](t, conn, packet.TypeKeysClaim)
	conn.Write(&packet.KeysClaimed{Req: claim.Req, Keys: []packet.ClaimedKey{{User: "a", Device: "d"}}})
	must(t, <-done)
	if len(claimed) != 1 || claim.Devices[0].Device != "d" {
		t.Errorf("%+v of %+v", claimed, claim)
	}

	done = background(func() error { return f.c.DropKeys(context.Background(), "tablet") })
	drop := expect[packet.KeysDrop](t, conn, packet.TypeKeysDrop)
	conn.Write(&packet.Error{Req: drop.Req, Code: chat.CodeBadName})
	wantCode(t, <-done, chat.CodeBadName)

	conn.Write(&packet.KeysLow{Left: 3})
	if low := receive[client.KeysLow](t, f.c); low.Left != 3 {
		t.Errorf("%+v", low)
	}
}

func TestKeysWithoutDirectory(t *testing.T) {
	f := newFixture(t, nil)
	f.welcome(packet.Welcome{})
	_, err := f.c.Keys(ctx(t), "a")
	wantCode(t, err, chat.CodeUnknownType)
}

// Seal makes the content of the id under which the message then goes.
func TestSeal(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitContent: 20}})
	s, err := f.c.Send(ctx(t), "bob", []byte("left out"), client.SendOptions{Suite: 1, Seal: func(id chat.ID) ([]byte, error) { return id[:], nil }})
	must(t, err)
	id := s.ID()
	if m := sends(t, conn, 1, 1)[0]; m.ID != id || string(m.Content) != string(id[:]) || m.Suite != 1 {
		t.Errorf("%+v", m)
	}
	why := errors.New("no key")
	if _, err := f.c.Send(ctx(t), "bob", nil, client.SendOptions{Seal: func(chat.ID) ([]byte, error) { return nil, why }}); err != why {
		t.Error(err)
	}
	_, err = f.c.Send(ctx(t), "bob", nil, client.SendOptions{Seal: func(chat.ID) ([]byte, error) { return make([]byte, 21), nil }})
	wantCode(t, err, chat.CodeTooLarge)
	f.send("bob", "after")
	sends(t, conn, 2, 1)
}

// BeforeMark is called before the mark of what was handled goes out, and its
// error ends the client.
func TestBeforeMark(t *testing.T) {
	var calls atomic.Int32
	why := errors.New("disk full")
	fails := atomic.Bool{}
	f := newFixture(t, func(o *client.Options) {
		o.BeforeMark = func() error {
			if calls.Add(1); fails.Load() {
				return why
			}
			return nil
		}
	})
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(5, 0, "hi"))
	receive[client.Message](t, f.c)
	if calls.Load() != 0 {
		t.Error("called before the app had handled anything")
	}
	f.c.Handled()
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 5 || calls.Load() == 0 {
		t.Errorf("%+v after %d calls", m, calls.Load())
	}
	fails.Store(true)
	conn.Write(message(6, 5, "ho"))
	receive[client.Message](t, f.c)
	f.c.Handled()
	<-f.c.Done()
	if f.c.Err() != why {
		t.Error(f.c.Err())
	}
}
