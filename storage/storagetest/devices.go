package storagetest

import (
	"errors"
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func (f *fixture) label(device chat.Device, label string, want bool) {
	f.Helper()
	found, err := f.LabelDevice(f.ctx, "alice", device, label)
	must(f.T, err)
	equal(f.T, "found", found, want)
}

func (f *fixture) revoke(device chat.Device, at int64, want bool) {
	f.Helper()
	found, err := f.RevokeDevice(f.ctx, "alice", device, at)
	must(f.T, err)
	equal(f.T, "found", found, want)
}

func (f *fixture) devices(user chat.User) []storage.Device {
	f.Helper()
	ds, err := f.Devices(f.ctx, user)
	must(f.T, err)
	return ds
}

// testDeviceLabels: a label stays when the device is written again.
func testDeviceLabels(f *fixture) {
	f.label("phone", "nobody's", false)
	phone, laptop := storage.Device{Name: "phone", Seq: 1, Created: day0}, storage.Device{Name: "laptop", Seq: 2, Created: day0}
	must(f.T, f.PutDevice(f.ctx, "alice", phone))
	must(f.T, f.PutDevice(f.ctx, "alice", laptop))
	must(f.T, f.PutDevice(f.ctx, "bob", phone))
	f.label("phone", "Alice's phone", true)
	f.reopen()
	phone.Seq = 7
	must(f.T, f.PutDevice(f.ctx, "alice", phone))
	phone.Label = "Alice's phone"
	equal(f.T, "alice's", f.devices("alice"), []storage.Device{laptop, phone})
	equal(f.T, "bob's label", f.devices("bob")[0].Label, "")
	f.label("phone", "", true)
	equal(f.T, "taken away", f.devices("alice")[1].Label, "")
}

// testDeviceRevoked: what a device had is gone and does not come back, and the
// user's other devices are as they were.
func testDeviceRevoked(f *fixture) {
	f.revoke("phone", day0, false)
	for _, d := range []chat.Device{"phone", "phone2"} {
		must(f.T, f.PutDevice(f.ctx, "alice", storage.Device{Name: d, Created: day0}))
		must(f.T, f.PutPushTarget(f.ctx, "alice", storage.PushTarget{Device: d, Provider: "fcm", Token: "t"}))
		f.putKeys("alice", putOf("A", d, 1, preKeys(1, 3)...))
	}
	f.apply(storage.Batch{Cursors: []storage.UserCursor{userCursor("alice", "phone", 300), userCursor("alice", "phone2", 200)}})
	f.revoke("phone", day0+5, true)
	f.revoke("phone", day0+9, true)
	late := func(what string) {
		f.Helper()
		equal(f.T, what+": cursors", f.cursors("alice"), []storage.Cursor{{Device: "phone2", Position: 200}})
		f.delivered("alice", 200)
		f.cursor("alice", "phone", 0, false)
		f.cursor("alice", "phone2", 200, true)
		targets, err := f.PushTargets(f.ctx, "alice")
		must(f.T, err)
		equal(f.T, what+": push targets", targets, []storage.PushTarget{{Device: "phone2", Provider: "fcm", Token: "t"}})
		f.claimNothing("alice", "phone")
		equal(f.T, what+": devices with keys", len(f.keys("alice").Devices), 1)
		equal(f.T, what+": devices", f.devices("alice"), []storage.Device{
			{Name: "phone", Created: day0, Revoked: day0 + 5}, {Name: "phone2", Created: day0, Cursor: 200},
		})
	}
	late("revoked")
	for _, generation := range []int{1, 2} {
		if _, err := f.PutKeys(f.ctx, "alice", putOf("A", "phone", generation, preKeys(4, 9)...)); !errors.Is(err, storage.ErrRevoked) {
			f.Fatalf("keys of a revoked device: %v", err)
		}
	}
	f.label("phone", "again", false)
	f.reopen()
	// What was on its way.
	f.apply(storage.Batch{Cursors: []storage.UserCursor{userCursor("alice", "phone", 400)}})
	must(f.T, f.PutPushTarget(f.ctx, "alice", storage.PushTarget{Device: "phone", Provider: "fcm", Token: "late"}))
	must(f.T, f.PutDevice(f.ctx, "alice", storage.Device{Name: "phone", Created: day0}))
	late("afterwards")
	f.claim("alice", "phone2")
}

// testDeviceRevokedAtOnce: keys that are put at the same time are not there
// when both are done.
func testDeviceRevokedAtOnce(f *fixture) {
	must(f.T, f.PutDevice(f.ctx, "alice", storage.Device{Name: "phone", Created: day0}))
	must(f.T, f.PutDevice(f.ctx, "alice", storage.Device{Name: "new", Created: day0}))
	f.putKeys("alice", putOf("A", "phone", 1))
	var all sync.WaitGroup
	for _, d := range []chat.Device{"phone", "new"} {
		all.Go(func() {
			for id := uint64(1); id <= 8; id++ {
				if _, err := f.PutKeys(f.ctx, "alice", putOf("A", d, 1, preKeys(id, id)...)); err != nil && !errors.Is(err, storage.ErrRevoked) {
					f.Error(err)
				}
			}
		})
		all.Go(func() {
			if _, err := f.RevokeDevice(f.ctx, "alice", d, day0); err != nil {
				f.Error(err)
			}
		})
	}
	all.Wait()
	f.claimNothing("alice", "phone")
	f.claimNothing("alice", "new")
	equal(f.T, "devices with keys", len(f.keys("alice").Devices), 0)
}
