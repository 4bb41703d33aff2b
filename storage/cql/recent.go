package cql

import (
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// recent is messages to groups that were read lately. When members of a group
// catch up, as all users of a gateway that was killed do at once, each reads the
// same messages. A row does not change; what is hidden is judged afterwards.
type recent struct {
	mu         sync.Mutex
	young, old map[recentKey]chat.Message
	bytes      int       // of young
	since      time.Time // young began
}

type recentKey struct {
	chat chat.ChatID
	id   chat.ID
}

// When young becomes old, and what was old is forgotten.
const (
	recentBytes = 4 << 20
	recentFor   = 20 * time.Second
)

// recentOverhead is what a message costs beside its content, about.
const recentOverhead = 400

// get returns a message that was put less than twice recentFor ago.
func (r *recent) get(c chat.ChatID, id chat.ID) (m chat.Message, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(0)
	if m, ok = r.young[recentKey{c, id}]; !ok {
		m, ok = r.old[recentKey{c, id}]
	}
	return m, ok
}

// put remembers a message, if it is to a group and stays.
func (r *recent) put(c chat.ChatID, m *chat.Message) {
	if !m.To.IsGroup() || m.Expires > 0 {
		return
	}
	size := recentOverhead + len(m.Content) + len(m.Media)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(size)
	r.bytes += size
	r.young[recentKey{c, m.ID}] = *m
}

// turn makes young old when it is, or when so many bytes more would be too much.
func (r *recent) turn(more int) {
	if now := time.Now(); r.young == nil || now.Sub(r.since) > recentFor || r.bytes+more > recentBytes {
		if r.old = r.young; now.Sub(r.since) > 2*recentFor {
			r.old = nil
		}
		r.young, r.bytes, r.since = map[recentKey]chat.Message{}, 0, now
	}
}
