package gateway

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/keydir"
	"github.com/rookery-chat/rookery/internal/pubkey"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// keyStore keeps what one device put, whoever asks.
type keyStore struct {
	emptyStore
	mu      sync.Mutex
	user    chat.User
	put     storage.PutKeys
	left    []storage.PreKey
	dropped []chat.Device
	fail    bool
}

func (s *keyStore) PutKeys(_ context.Context, user chat.User, p storage.PutKeys) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.put, s.left = user, p, append(s.left, p.OneTime...)
	return len(s.left), nil
}

func (s *keyStore) Keys(_ context.Context, user chat.User) (storage.UserKeys, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return storage.UserKeys{}, errors.New("away")
	}
	if user != s.user {
		return storage.UserKeys{}, nil
	}
	return storage.UserKeys{Identity: s.put.Identity, Devices: []storage.DeviceKeys{s.put.Device}}, nil
}

func (s *keyStore) ClaimKey(_ context.Context, user chat.User, device chat.Device) (storage.ClaimedKey, int, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user != s.user || device != s.put.Device.Device {
		return storage.ClaimedKey{}, 0, false, nil
	}
	if len(s.left) == 0 {
		return storage.ClaimedKey{PreKey: s.put.Fallback, Fallback: true}, 0, true, nil
	}
	k := s.left[0]
	s.left = s.left[1:]
	return storage.ClaimedKey{PreKey: k}, len(s.left), true, nil
}

func (s *keyStore) DropKeys(_ context.Context, _ chat.User, device chat.Device) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = append(s.dropped, device)
	return nil
}

// keysPut is what alice's device d publishes.
func keysPut(t *testing.T, oneTime int) *packet.KeysPut {
	t.Helper()
	curve := func() []byte {
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k.PublicKey().Bytes()
	}
	identity, private, _ := ed25519.GenerateKey(rand.Reader)
	signing, device, _ := ed25519.GenerateKey(rand.Reader)
	d := pubkey.Device{User: "alice", Device: "d", Curve: curve(), Signing: signing}
	m := &packet.KeysPut{Identity: identity, Curve: d.Curve, Signing: signing, Signature: ed25519.Sign(private, d.Signed())}
	key := func(id uint64, fallback bool) packet.PreKey {
		k := pubkey.PreKey{ID: id, Key: curve(), Fallback: fallback}
		return packet.PreKey{ID: id, Key: k.Key, Signature: ed25519.Sign(device, k.Signed("alice", "d"))}
	}
	for id := range oneTime {
		m.OneTime = append(m.OneTime, key(uint64(id+1), false))
	}
	m.Fallback = key(99, true)
	return m
}

// until returns the next packet of a type.
func until[T any, P interface {
	*T
	Decode(packet.Raw) error
}](s *resumed, typ packet.Type) T {
	s.t.Helper()
	for {
		p := s.next()
		if p.Type == packet.TypeError && typ != packet.TypeError {
			var e packet.Error
			s.t.Fatal(e.Decode(p), e)
		}
		if p.Type == typ {
			var x T
			if err := P(&x).Decode(p); err != nil {
				s.t.Fatal(err)
			}
			return x
		}
	}
}

func TestKeys(t *testing.T) {
	store := &keyStore{}
	s, w := welcomed(t, store, func(o *Options) {
		o.Keys = keydir.Limits{OneTime: 9, Low: 2, Users: 3, Devices: 4}
	})
	for name, want := range map[string]uint64{packet.LimitOneTimeKeys: 9, packet.LimitKeyUsers: 3, packet.LimitKeyDevices: 4, packet.LimitKeyRate: 120} {
		if got := w.Limits[name]; got != want {
			t.Errorf("the welcome tells %s %d", name, got)
		}
	}
	put := keysPut(t, 3)
	put.Req = 1
	s.put(put)
	if a := until[packet.KeysStored](s, packet.TypeKeysStored); a.Req != 1 || a.Left != 3 {
		t.Errorf("%+v", a)
	}
	s.put(&packet.KeysGet{Req: 2, Users: []string{"bob", "alice"}})
	keys := until[packet.Keys](s, packet.TypeKeys)
	if len(keys.Users) != 2 || len(keys.Users[0].Identity) != 0 || keys.Users[0].User != "bob" || len(keys.Users[1].Devices) != 1 ||
		keys.Users[1].Devices[0].Device != "d" || string(keys.Users[1].Devices[0].Curve) != string(put.Curve) {
		t.Errorf("%+v", keys)
	}
	claim := &packet.KeysClaim{Req: 3, Devices: []packet.DeviceRef{{User: "alice", Device: "d"}, {User: "alice", Device: "none"}}}
	s.put(claim)
	first := until[packet.KeysClaimed](s, packet.TypeKeysClaimed)
	if len(first.Keys) != 1 || first.Keys[0].PreKey.ID != 1 || first.Keys[0].Fallback {
		t.Errorf("%+v", first)
	}
	s.put(claim)
	if low := until[packet.KeysLow](s, packet.TypeKeysLow); low.Left != 1 {
		t.Errorf("%+v", low)
	}
	s.put(claim)
	s.put(claim)
	for {
		c := until[packet.KeysClaimed](s, packet.TypeKeysClaimed)
		if c.Keys[0].Fallback {
			break
		}
	}
	s.put(&packet.KeysDrop{Req: 9, Device: "tablet"})
	code := s.answer(9)
	store.mu.Lock() // what the answer crossed is a socket, which orders nothing for the race detector
	defer store.mu.Unlock()
	if code != chat.CodeOK || len(store.dropped) != 1 || store.dropped[0] != "tablet" {
		t.Error(code, store.dropped)
	}
}

func TestKeysRefused(t *testing.T) {
	store := &keyStore{fail: true}
	s, _ := welcomed(t, store, func(o *Options) {
		o.Keys = keydir.Limits{OneTime: 2, Users: 1, Devices: 1}
	})
	unsigned, many := keysPut(t, 1), keysPut(t, 3)
	unsigned.Req, unsigned.Signature = 1, nil
	many.Req = 2
	for _, c := range []struct {
		p    interface{ AppendTo([]byte) []byte }
		want chat.Code
	}{
		{unsigned, chat.CodeBadKeys}, {many, chat.CodeTooMany},
		{&packet.KeysGet{Req: 3, Users: []string{"a", "b"}}, chat.CodeTooMany},
		{&packet.KeysGet{Req: 4, Users: []string{"a b"}}, chat.CodeBadName},
		{&packet.KeysGet{Req: 5, Users: []string{"a"}}, chat.CodeUnavailable},
		{&packet.KeysClaim{Req: 6, Devices: make([]packet.DeviceRef, 1)}, chat.CodeBadName},
		{&packet.KeysClaim{Req: 7, Devices: []packet.DeviceRef{{User: "a", Device: "b"}, {User: "a", Device: "c"}}}, chat.CodeTooMany},
		{&packet.KeysClaim{Req: 8, Devices: []packet.DeviceRef{{User: "a", Device: "b c"}}}, chat.CodeBadName},
		{&packet.KeysDrop{Req: 9, Device: "b c"}, chat.CodeBadName},
	} {
		s.put(c.p)
		if e := until[packet.Error](s, packet.TypeError); e.Code != c.want || e.Req == 0 {
			t.Errorf("%+v: %+v", c.p, e)
		}
	}
	if store.put.Identity != nil {
		t.Error("it was stored")
	}
}

// Packets about keys have a rate of their own, and the client is told when to
// come back.
func TestKeysRate(t *testing.T) {
	s, _ := welcomed(t, &keyStore{}, func(o *Options) { o.KeyRate = 3 })
	for req := range uint64(3) {
		s.put(&packet.KeysGet{Req: req + 1, Users: []string{"bob"}})
		until[packet.Keys](s, packet.TypeKeys)
	}
	s.put(&packet.KeysGet{Req: 4, Users: []string{"bob"}})
	if e := until[packet.Error](s, packet.TypeError); e.Code != chat.CodeRateLimited || e.Req != 4 || e.Retry == 0 || e.Retry > 20_000 {
		t.Errorf("%+v", e)
	}
}

// Of many devices only as many are told as fit into a page.
func TestKeysAnswerIsBounded(t *testing.T) {
	s, _ := welcomed(t, &crowdedStore{}, func(*Options) {})
	users := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	s.put(&packet.KeysGet{Req: 1, Users: users})
	if k := until[packet.Keys](s, packet.TypeKeys); len(k.Users) == 0 || len(k.Users) >= len(users) {
		t.Errorf("%d users", len(k.Users))
	}
}

type crowdedStore struct{ emptyStore }

func (crowdedStore) Keys(context.Context, chat.User) (storage.UserKeys, error) {
	return storage.UserKeys{Identity: make([]byte, 32), Devices: make([]storage.DeviceKeys, 64)}, nil
}
