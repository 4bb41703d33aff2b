package storagetest

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func (f *fixture) targets(user chat.User) []storage.PushTarget {
	f.Helper()
	ts, err := f.PushTargets(f.ctx, user)
	must(f.T, err)
	return ts
}

// testPushTargets: one a device, written over and forgotten.
func testPushTargets(f *fixture) {
	equal(f.T, "of nobody", f.targets("alice"), nil)
	phone := storage.PushTarget{Device: "phone", Provider: "fcm", Token: "t1"}
	tablet := storage.PushTarget{Device: "tablet", Provider: "apns", Token: "00ff"}
	for _, t := range []storage.PushTarget{tablet, phone} {
		must(f.T, f.PutPushTarget(f.ctx, "alice", t))
	}
	must(f.T, f.PutPushTarget(f.ctx, "bob", storage.PushTarget{Device: "phone", Provider: "log", Token: "b"}))
	equal(f.T, "in order of device", f.targets("alice"), []storage.PushTarget{phone, tablet})
	phone.Token = "t2"
	must(f.T, f.PutPushTarget(f.ctx, "alice", phone))
	f.reopen()
	equal(f.T, "written over", f.targets("alice"), []storage.PushTarget{phone, tablet})
	must(f.T, f.PutPushTarget(f.ctx, "alice", storage.PushTarget{Device: "phone"}))
	equal(f.T, "forgotten", f.targets("alice"), []storage.PushTarget{tablet})
	equal(f.T, "bob's", len(f.targets("bob")), 1)
}

// testPushed: how far a device was told only rises, until its target is
// forgotten.
func testPushed(f *fixture) {
	must(f.T, f.PutPushTarget(f.ctx, "alice", storage.PushTarget{Device: "phone", Provider: "fcm", Token: "t"}))
	for _, c := range []struct{ pos, want chat.Position }{{10, 10}, {7, 10}, {chat.NewPosition(1, 1), chat.NewPosition(1, 1)}} {
		must(f.T, f.PutPushed(f.ctx, "alice", "phone", c.pos))
		equal(f.T, "pushed", f.targets("alice")[0].Pushed, c.want)
	}
	must(f.T, f.PutPushTarget(f.ctx, "alice", storage.PushTarget{Device: "phone", Provider: "fcm", Token: "t2"}))
	equal(f.T, "a new token changes nothing", f.targets("alice")[0].Pushed, chat.NewPosition(1, 1))
}
