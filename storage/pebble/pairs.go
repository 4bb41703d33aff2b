package pebble

import (
	"encoding/binary"
	"sync"

	"github.com/rookery-chat/rookery/chat"
)

// pairSlots is how many chats' rows are remembered as written, 16 bytes each.
const pairSlots = 1 << 17

// pairs remembers chats whose rows are written, so that they are not written
// with every message. It forgets: two chats of one slot push each other out,
// which costs a write and nothing else.
type pairs struct {
	mu    sync.Mutex
	slots []chat.ChatID // the zero ChatID is an empty slot
}

func newPairs(slots int) *pairs { return &pairs{slots: make([]chat.ChatID, slots)} }

// A chat's id is a hash already.
func (p *pairs) slot(c chat.ChatID) *chat.ChatID {
	return &p.slots[binary.LittleEndian.Uint64(c[:])%uint64(len(p.slots))]
}

func (p *pairs) has(c chat.ChatID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.slot(c) == c
}

func (p *pairs) add(c chat.ChatID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.slot(c) = c
}
