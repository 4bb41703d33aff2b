package client_test

import (
	"context"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

func pushes() packet.Welcome {
	return packet.Welcome{Limits: map[string]uint64{packet.LimitPush: 4096}}
}

// It is asked again in the next session until it is answered.
func TestRegisterPush(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(pushes())
	got := make(chan error, 1)
	go func() { got <- f.c.RegisterPush(context.Background(), "fcm", "t1") }()
	expect[packet.Push](t, conn, packet.TypePush)
	conn.Drop()
	conn, _ = f.welcome(pushes())
	q := expect[packet.Push](t, conn, packet.TypePush)
	if q.Provider != "fcm" || q.Token != "t1" || q.Req == 0 {
		t.Errorf("asked %+v", q)
	}
	conn.Write(&packet.Done{Req: q.Req + 1}) // nobody's
	conn.Write(&packet.Done{Req: q.Req})
	must(t, <-got)

	go func() { got <- f.c.ForgetPush(context.Background()) }()
	if q = expect[packet.Push](t, conn, packet.TypePush); q.Provider != "" || q.Token != "" {
		t.Errorf("asked %+v", q)
	}
	conn.Write(&packet.Done{Req: q.Req})
	must(t, <-got)
}

func TestRegisterPushRefused(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(pushes())
	got := make(chan error, 1)
	go func() { got <- f.c.RegisterPush(context.Background(), "none", "t1") }()
	q := expect[packet.Push](t, conn, packet.TypePush)
	conn.Write(&packet.Error{Code: chat.CodeBadPush, Text: "no such provider", Req: q.Req})
	if err := <-got; chat.CodeOf(err) != chat.CodeBadPush {
		t.Error(err)
	}
}

// A server that pushes nothing, or is older than the packet, is not asked.
func TestRegisterPushWithoutPush(t *testing.T) {
	f := newFixture(t, nil)
	f.welcome(packet.Welcome{})
	if err := f.c.RegisterPush(context.Background(), "fcm", "t1"); chat.CodeOf(err) != chat.CodeUnknownType {
		t.Error(err)
	}
}
