package keydir

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/pubkey"
	"github.com/rookery-chat/rookery/storage"
)

// fakeStore remembers what it was given.
type fakeStore struct {
	puts   []storage.PutKeys
	err    error
	claims int
}

func (s *fakeStore) PutKeys(_ context.Context, _ chat.User, p storage.PutKeys) (int, error) {
	s.puts = append(s.puts, p)
	return len(p.OneTime), s.err
}

func (s *fakeStore) Keys(_ context.Context, user chat.User) (storage.UserKeys, error) {
	return storage.UserKeys{Identity: []byte(user)}, s.err
}

func (s *fakeStore) ClaimKey(_ context.Context, _ chat.User, device chat.Device) (storage.ClaimedKey, int, bool, error) {
	s.claims++
	return storage.ClaimedKey{PreKey: storage.PreKey{ID: 3}}, 5, device != "none", s.err
}

func (s *fakeStore) DropKeys(context.Context, chat.User, chat.Device) error { return s.err }

// device is the private side of a device.
type device struct {
	identity, signing ed25519.PrivateKey
	curve             []byte
}

func curveKey() []byte {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k.PublicKey().Bytes()
}

func newDevice() device {
	_, identity, _ := ed25519.GenerateKey(rand.Reader)
	_, signing, _ := ed25519.GenerateKey(rand.Reader)
	return device{identity, signing, curveKey()}
}

func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

func (d device) preKey(id uint64, fallback bool) storage.PreKey {
	k := pubkey.PreKey{ID: id, Key: curveKey(), Fallback: fallback}
	return storage.PreKey{ID: id, Key: k.Key, Signature: ed25519.Sign(d.signing, k.Signed("alice", "phone"))}
}

func (d device) put(oneTime int) storage.PutKeys {
	k := pubkey.Device{User: "alice", Device: "phone", Curve: d.curve, Signing: public(d.signing)}
	p := storage.PutKeys{
		Identity: public(d.identity), Fallback: d.preKey(99, true),
		Device: storage.DeviceKeys{Device: "phone", Curve: k.Curve, Signing: k.Signing, Signature: ed25519.Sign(d.identity, k.Signed())},
	}
	for i := range oneTime {
		p.OneTime = append(p.OneTime, d.preKey(uint64(i+1), false))
	}
	return p
}

func user(t *testing.T, tenant, name string) chat.User {
	u, err := chat.NewUser(tenant, name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestPut(t *testing.T) {
	store := &fakeStore{}
	dir := New(store, DefaultLimits())
	for _, tenant := range []string{"", "acme"} { // signed without it
		left, err := dir.Put(t.Context(), user(t, tenant, "alice"), newDevice().put(3))
		if err != nil || left != 3 {
			t.Fatal(left, err)
		}
	}
	if n := store.puts[0].Limit; n != 100 {
		t.Errorf("the store was told the limit %d", n)
	}
	bare := newDevice().put(0)
	bare.Fallback = storage.PreKey{}
	if _, err := dir.Put(t.Context(), "alice", bare); err != nil {
		t.Errorf("without new keys: %v", err)
	}
}

// What does not hold never reaches the store.
func TestPutRefused(t *testing.T) {
	store := &fakeStore{}
	dir := New(store, Limits{OneTime: 5, Users: 1, Devices: 1})
	other := newDevice()
	for what, change := range map[string]func(d device, p *storage.PutKeys){
		"no identity":             func(_ device, p *storage.PutKeys) { p.Identity = nil },
		"a weak identity":         func(_ device, p *storage.PutKeys) { p.Identity = make([]byte, 32) },
		"another's identity":      func(_ device, p *storage.PutKeys) { p.Identity = public(other.identity) },
		"unsigned":                func(_ device, p *storage.PutKeys) { p.Device.Signature = nil },
		"another device's name":   func(_ device, p *storage.PutKeys) { p.Device.Device = "tablet" },
		"a weak curve key":        func(_ device, p *storage.PutKeys) { p.Device.Curve = make([]byte, 32) },
		"an unsigned one-time":    func(_ device, p *storage.PutKeys) { p.OneTime[1].Signature = nil },
		"another's one-time":      func(_ device, p *storage.PutKeys) { p.OneTime[1] = other.preKey(2, false) },
		"a weak one-time key":     func(_ device, p *storage.PutKeys) { p.OneTime[1].Key = make([]byte, 32) },
		"ids that do not rise":    func(d device, p *storage.PutKeys) { p.OneTime[1] = d.preKey(1, false) },
		"the id 0":                func(d device, p *storage.PutKeys) { p.OneTime[0] = d.preKey(0, false) },
		"an id over 63 bits":      func(d device, p *storage.PutKeys) { p.OneTime[2] = d.preKey(1<<63, false) },
		"a one-time as fallback":  func(d device, p *storage.PutKeys) { p.Fallback = d.preKey(99, false) },
		"a fallback unsigned":     func(_ device, p *storage.PutKeys) { p.Fallback.Signature = nil },
		"a fallback without key":  func(_ device, p *storage.PutKeys) { p.Fallback.Key = nil },
		"a fallback over 63 bits": func(d device, p *storage.PutKeys) { p.Fallback = d.preKey(1<<63, true) },
	} {
		d := newDevice()
		p := d.put(3)
		change(d, &p)
		if _, err := dir.Put(t.Context(), "alice", p); chat.CodeOf(err) != chat.CodeBadKeys {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := dir.Put(t.Context(), "bob", newDevice().put(1)); chat.CodeOf(err) != chat.CodeBadKeys {
		t.Errorf("another user's: %v", err)
	}
	if _, err := dir.Put(t.Context(), "alice", newDevice().put(6)); chat.CodeOf(err) != chat.CodeTooMany {
		t.Errorf("six keys: %v", err)
	}
	if len(store.puts) != 0 {
		t.Errorf("%d were stored", len(store.puts))
	}
	for err, want := range map[error]chat.Code{storage.ErrOtherIdentity: chat.CodeOtherIdentity, storage.ErrTooManyKeys: chat.CodeTooMany, storage.ErrRevoked: chat.CodeRevoked, errors.New("away"): chat.CodeInternal} {
		store.err = err
		if _, err := dir.Put(t.Context(), "alice", newDevice().put(1)); chat.CodeOf(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func TestGetAndClaim(t *testing.T) {
	store := &fakeStore{}
	dir := New(store, Limits{OneTime: 9, Low: 6, Users: 2, Devices: 2})
	list, err := dir.Get(t.Context(), []chat.User{"a", "b"})
	if err != nil || len(list) != 2 || string(list[1].Identity) != "b" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := dir.Get(t.Context(), make([]chat.User, 3)); chat.CodeOf(err) != chat.CodeTooMany {
		t.Error(err)
	}
	claimed, err := dir.Claim(t.Context(), []Ref{{"a", "none"}, {"a", "phone"}})
	if err != nil || len(claimed) != 1 || claimed[0].Device != "phone" || !dir.Low(claimed[0]) || dir.Low(Claimed{Left: 6}) {
		t.Errorf("%+v, %v", claimed, err)
	}
	if _, err := dir.Claim(t.Context(), make([]Ref, 3)); chat.CodeOf(err) != chat.CodeTooMany || store.claims != 2 {
		t.Error(err, store.claims)
	}
	store.err = errors.New("away")
	if _, err := dir.Claim(t.Context(), []Ref{{"a", "phone"}}); err == nil {
		t.Error("no error")
	}
	if _, err := dir.Get(t.Context(), []chat.User{"a"}); err == nil {
		t.Error("no error")
	}
	if dir.Drop(t.Context(), "a", "phone") == nil {
		t.Error("no error")
	}
}

func TestLimits(t *testing.T) {
	if err := DefaultLimits().Validate(); err != nil {
		t.Error(err)
	}
	for _, l := range []Limits{{}, {OneTime: 1, Low: 2, Users: 1, Devices: 1}, {OneTime: 1, Low: -1, Users: 1, Devices: 1}} {
		if l.Validate() == nil {
			t.Errorf("%+v holds", l)
		}
	}
}
