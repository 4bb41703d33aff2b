//go:build js

package main

import (
	"context"
	"errors"
	"sync"
	"syscall/js"
	"time"

	"github.com/rookery-chat/rookery/packet"
)

// link is the TypeScript SDK's connection. Questions and answers are packets, so
// that both sides have one reading of them.
type link struct {
	host js.Value

	mu    sync.Mutex
	ends  js.Value      // the promise of the session that was seen last
	ended chan struct{} // closed when that is settled
}

// ask puts a question and decodes its answer.
func (l *link) ask(ctx context.Context, question []byte, answer interface{ Decode(packet.Raw) error }) error {
	v, err := await(ctx, l.host.Call("ask", toJS(question)))
	if err != nil {
		return err
	}
	p, _, err := packet.Next(bytesOf(v))
	if err != nil {
		return err
	}
	return answer.Decode(p)
}

func (l *link) PutKeys(ctx context.Context, put packet.KeysPut) (left int, err error) {
	var stored packet.KeysStored
	err = l.ask(ctx, put.AppendTo(nil), &stored)
	return int(min(stored.Left, 1<<30)), err
}

func (l *link) Keys(ctx context.Context, users ...string) ([]packet.UserKeys, error) {
	var all []packet.UserKeys
	for len(users) > 0 {
		var keys packet.Keys
		q := packet.KeysGet{Users: users}
		if err := l.ask(ctx, q.AppendTo(nil), &keys); err != nil {
			return nil, err
		}
		if len(keys.Users) == 0 || len(keys.Users) > len(users) {
			return nil, errors.New("the server did not answer for the users it was asked for")
		}
		all, users = append(all, keys.Users...), users[len(keys.Users):]
	}
	return all, nil
}

func (l *link) ClaimKeys(ctx context.Context, devices ...packet.DeviceRef) ([]packet.ClaimedKey, error) {
	var claimed packet.KeysClaimed
	q := packet.KeysClaim{Devices: devices}
	err := l.ask(ctx, q.AppendTo(nil), &claimed)
	return claimed.Keys, err
}

func (l *link) DropKeys(ctx context.Context, device string) error {
	q := packet.KeysDrop{Device: device}
	_, err := await(ctx, l.host.Call("ask", toJS(q.AppendTo(nil))))
	return err
}

func (l *link) RevokeDevice(ctx context.Context, device string) error {
	q := packet.DeviceRevoke{Device: device}
	_, err := await(ctx, l.host.Call("ask", toJS(q.AppendTo(nil))))
	return err
}

func (l *link) Members(ctx context.Context, group, beyond string) (page packet.GroupPage, err error) {
	q := packet.GroupGet{Group: group, Beyond: beyond}
	err = l.ask(ctx, q.AppendTo(nil), &page)
	return page, err
}

func (l *link) SendShare(ctx context.Context, to string, content []byte, ttl time.Duration) (durable func(context.Context) error, err error) {
	sent, err := await(ctx, l.host.Call("send", to, toJS(content), int(ttl.Seconds())))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := await(ctx, sent.Call("durable"))
		return err
	}, nil
}

// Session waits once for the promise of each session, however often it is asked.
func (l *link) Session() <-chan struct{} {
	ends := l.host.Call("session")
	if ends.IsNull() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ends.Equal(l.ends) {
		ended := make(chan struct{})
		l.ends, l.ended = ends, ended
		go func() {
			await(context.Background(), ends)
			close(ended)
		}()
	}
	return l.ended
}

// store is the host's storage of keys, which seals them.
type store struct{ host js.Value }

func (s store) Load() ([][]byte, error) {
	v, err := await(context.Background(), s.host.Call("load"))
	if err != nil {
		return nil, err
	}
	commits := make([][]byte, v.Length())
	for i := range commits {
		commits[i] = bytesOf(v.Index(i))
	}
	return commits, nil
}

func (s store) Extend(records []byte) error  { return s.put("extend", records) }
func (s store) Replace(records []byte) error { return s.put("replace", records) }

func (s store) put(how string, records []byte) error {
	_, err := await(context.Background(), s.host.Call(how, toJS(records)))
	return err
}

func (s store) Close() error {
	_, err := await(context.Background(), s.host.Call("close"))
	return err
}
