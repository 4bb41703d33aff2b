package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// preKeys are one-time keys with the ids first to last.
func preKeys(first, last uint64) (keys []storage.PreKey) {
	for id := first; id <= last; id++ {
		keys = append(keys, storage.PreKey{ID: id, Key: fmt.Appendf(nil, "key %d", id), Signature: fmt.Appendf(nil, "signature %d", id)})
	}
	return keys
}

// putOf is what a device puts; its keys are made of its name and a generation.
func putOf(identity string, device chat.Device, generation int, oneTime ...storage.PreKey) storage.PutKeys {
	return storage.PutKeys{
		Identity: []byte(identity), OneTime: oneTime, Limit: 100,
		Device: storage.DeviceKeys{
			Device: device, Curve: fmt.Appendf(nil, "curve of %s %d", device, generation),
			Signing: []byte("signing"), Signature: []byte("signed by " + identity),
		},
		Fallback: storage.PreKey{ID: 1 << 40, Key: fmt.Appendf(nil, "fallback of %s %d", device, generation), Signature: []byte("s")},
	}
}

func (f *fixture) putKeys(user chat.User, p storage.PutKeys) (left int) {
	f.Helper()
	left, err := f.PutKeys(f.ctx, user, p)
	must(f.T, err)
	return left
}

func (f *fixture) keys(user chat.User) storage.UserKeys {
	f.Helper()
	u, err := f.Keys(f.ctx, user)
	must(f.T, err)
	return u
}

// claim claims a key that has to be there.
func (f *fixture) claim(user chat.User, device chat.Device) (storage.ClaimedKey, int) {
	f.Helper()
	k, left, found, err := f.ClaimKey(f.ctx, user, device)
	must(f.T, err)
	if !found {
		f.Fatalf("%s of %s has no keys", device, user)
	}
	return k, left
}

func (f *fixture) claimNothing(user chat.User, device chat.Device) {
	f.Helper()
	k, _, found, err := f.ClaimKey(f.ctx, user, device)
	must(f.T, err)
	if found {
		f.Fatalf("%s of %s has the key %+v", device, user, k)
	}
}

// testKeysPut: devices in order, written over, and there after a restart.
func testKeysPut(f *fixture) {
	equal(f.T, "of nobody", f.keys("alice"), storage.UserKeys{})
	f.claimNothing("alice", "phone")
	tablet, phone := putOf("A", "tablet", 1, preKeys(1, 3)...), putOf("A", "phone", 1)
	equal(f.T, "left", f.putKeys("alice", tablet), 3)
	equal(f.T, "left", f.putKeys("alice", phone), 0)
	f.putKeys("bob", putOf("B", "phone", 9))
	want := storage.UserKeys{Identity: []byte("A"), Devices: []storage.DeviceKeys{phone.Device, tablet.Device}}
	equal(f.T, "in order of device", f.keys("alice"), want)
	f.reopen()
	equal(f.T, "kept", f.keys("alice"), want)
	phone = putOf("A", "phone", 2)
	f.putKeys("alice", phone)
	want.Devices[0] = phone.Device
	equal(f.T, "written over", f.keys("alice"), want)
}

// testKeysIdentity: another identity is refused, or takes the place of the old
// one with all its devices.
func testKeysIdentity(f *fixture) {
	f.putKeys("alice", putOf("A", "phone", 1, preKeys(1, 3)...))
	f.putKeys("alice", putOf("A", "tablet", 1, preKeys(1, 3)...))
	other := putOf("M", "phone", 2, preKeys(1, 2)...)
	if _, err := f.PutKeys(f.ctx, "alice", other); !errors.Is(err, storage.ErrOtherIdentity) {
		f.Fatalf("another identity: %v", err)
	}
	equal(f.T, "identity", string(f.keys("alice").Identity), "A")
	other.Reset = true
	equal(f.T, "left", f.putKeys("alice", other), 2)
	equal(f.T, "reset", f.keys("alice"), storage.UserKeys{Identity: []byte("M"), Devices: []storage.DeviceKeys{other.Device}})
	f.claimNothing("alice", "tablet")
	tablet := putOf("M", "tablet", 1, preKeys(1, 5)...)
	equal(f.T, "what was never claimed stays", f.putKeys("alice", tablet), 5)
	equal(f.T, "signed anew", len(f.keys("alice").Devices), 2)
}

// testKeysClaim: each once, then the fallback for ever.
func testKeysClaim(f *fixture) {
	p := putOf("A", "phone", 1, preKeys(1, 3)...)
	f.putKeys("alice", p)
	f.putKeys("alice", putOf("A", "phone2", 1, preKeys(1, 9)...))
	seen := map[uint64]bool{}
	for i := range 3 {
		k, left := f.claim("alice", "phone")
		if seen[k.ID] || k.Fallback || left != 2-i || string(k.Key) != fmt.Sprintf("key %d", k.ID) || string(k.Signature) != fmt.Sprintf("signature %d", k.ID) {
			f.Fatalf("claim %d: %+v, %d left", i, k, left)
		}
		seen[k.ID] = true
		if i == 1 {
			f.reopen()
		}
	}
	for range 2 {
		k, left := f.claim("alice", "phone")
		if !k.Fallback || !bytes.Equal(k.Key, p.Fallback.Key) || k.ID != p.Fallback.ID || left != 0 {
			f.Fatalf("%+v, %d left", k, left)
		}
	}
	_, left := f.claim("alice", "phone2")
	equal(f.T, "the other device's", left, 8)
}

// testKeysRepeated: a put that comes again brings back nothing that was claimed,
// and keeps the fallback key where it has none.
func testKeysRepeated(f *fixture) {
	p := putOf("A", "phone", 1, preKeys(1, 3)...)
	f.putKeys("alice", p)
	first, _ := f.claim("alice", "phone")
	equal(f.T, "left", f.putKeys("alice", p), 2)
	f.reopen()
	p.OneTime, p.Fallback = preKeys(2, 4), storage.PreKey{}
	equal(f.T, "one is new", f.putKeys("alice", p), 3)
	for range 3 {
		if k, _ := f.claim("alice", "phone"); k.ID == first.ID || k.Fallback {
			f.Fatalf("%+v after %+v", k, first)
		}
	}
	if k, _ := f.claim("alice", "phone"); !k.Fallback || len(k.Key) == 0 {
		f.Fatalf("%+v is no fallback", k)
	}
	p.OneTime = nil
	equal(f.T, "asks only", f.putKeys("alice", p), 0)
}

// testKeysAnew: a device with other keys has none of those it had.
func testKeysAnew(f *fixture) {
	f.putKeys("alice", putOf("A", "phone", 1, preKeys(1, 50)...))
	anew := putOf("A", "phone", 2, preKeys(1, 2)...)
	equal(f.T, "left", f.putKeys("alice", anew), 2)
	for range 2 {
		f.claim("alice", "phone")
	}
	if k, _ := f.claim("alice", "phone"); !bytes.Equal(k.Key, anew.Fallback.Key) {
		f.Fatalf("%+v", k)
	}
}

// testKeysDrop: a device goes, and comes back without what it had.
func testKeysDrop(f *fixture) {
	must(f.T, f.DropKeys(f.ctx, "alice", "phone"))
	p := putOf("A", "phone", 1, preKeys(1, 5)...)
	f.putKeys("alice", p)
	f.putKeys("alice", putOf("A", "tablet", 1))
	must(f.T, f.DropKeys(f.ctx, "alice", "phone"))
	f.reopen()
	f.claimNothing("alice", "phone")
	equal(f.T, "devices", len(f.keys("alice").Devices), 1)
	equal(f.T, "identity", string(f.keys("alice").Identity), "A")
	equal(f.T, "comes back", f.putKeys("alice", p), 0)
	if k, _ := f.claim("alice", "phone"); !k.Fallback {
		f.Fatalf("%+v came back", k)
	}
}

// testKeysLimit: what is over it changes nothing.
func testKeysLimit(f *fixture) {
	p := putOf("A", "phone", 1, preKeys(1, 4)...)
	p.Limit = 4
	equal(f.T, "left", f.putKeys("alice", p), 4)
	p.OneTime = preKeys(5, 5)
	if _, err := f.PutKeys(f.ctx, "alice", p); !errors.Is(err, storage.ErrTooManyKeys) {
		f.Fatalf("over the limit: %v", err)
	}
	f.claim("alice", "phone")
	equal(f.T, "room again", f.putKeys("alice", p), 4)
}

// testKeysClaimedAtOnce: many claim and put at the same time; no key twice.
func testKeysClaimedAtOnce(f *fixture) {
	const claimers, each, batch = 4, 15, 20
	f.putKeys("alice", putOf("A", "phone", 1, preKeys(1, batch)...))
	var mu sync.Mutex
	seen, fallbacks := map[uint64]int{}, 0
	var all sync.WaitGroup
	for range claimers {
		all.Go(func() {
			for range each {
				k, _, found, err := f.ClaimKey(f.ctx, "alice", "phone")
				if err != nil || !found {
					f.Errorf("found %v, %v", found, err)
					return
				}
				mu.Lock()
				if k.Fallback {
					fallbacks++
				} else {
					seen[k.ID]++
				}
				mu.Unlock()
			}
		})
	}
	all.Go(func() { // again and again what may have been claimed, and one new
		for id := uint64(batch + 1); id <= batch+10; id++ {
			if _, err := f.PutKeys(f.ctx, "alice", putOf("A", "phone", 1, preKeys(id-batch, id)...)); err != nil {
				f.Error(err)
			}
		}
	})
	all.Wait()
	for id, n := range seen {
		if n > 1 {
			f.Errorf("key %d was handed out %d times", id, n)
		}
	}
	if len(seen)+fallbacks != claimers*each && !f.Failed() {
		f.Errorf("%d keys and %d fallbacks", len(seen), fallbacks)
	}
}
