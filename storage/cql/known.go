package cql

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
)

// known remembers rows that were written and need not be again: that a chat has
// messages of a day, and where a user's inbox begins. It forgets what another
// takes the place of; to write such a row again changes nothing.
type known struct {
	seed  maphash.Seed
	slots []atomic.Uint64
}

const knownSlots = 1 << 18 // 2 MiB

func newKnown(slots int) *known {
	return &known{seed: maphash.MakeSeed(), slots: make([]atomic.Uint64, slots)}
}

// chatDay is the key of a chat's day, of its key shares or of all else. The seed
// keeps users from choosing it.
func (k *known) chatDay(c chat.ChatID, day int32, share bool) uint64 {
	return maphash.Comparable(k.seed, struct {
		chat  chat.ChatID
		day   int32
		share bool
	}{c, day, share})
}

// groupDay is the key of a day of a group, as a chat of one of its members.
func (k *known) groupDay(user, group chat.User, day int32) uint64 {
	return maphash.Comparable(k.seed, struct {
		user, group chat.User
		day         int32
	}{user, group, day})
}

func (k *known) user(u chat.User) uint64 { return maphash.String(k.seed, string(u)) }

func (k *known) has(key uint64) bool { return k.slots[key%uint64(len(k.slots))].Load() == key }

func (k *known) add(key uint64) { k.slots[key%uint64(len(k.slots))].Store(key) }
