// Package presence knows which sessions of this process belong to a user, and
// who watches whom. It is the hot look-up of delivery, so its table holds no
// pointers for the usual user with one session.
package presence

import (
	"hash/maphash"
	"sync"

	"github.com/rookery-chat/rookery/chat"
)

// Ref names a connection of this process: an engine.ID, opaque here.
type Ref uint64

// shard is a part of the table. Users are known by a seeded 64-bit hash, so they
// cannot aim at one shard; whoever is handed a Ref compares the user itself
// before it trusts the match.
type shard struct {
	mu       sync.RWMutex
	sessions table
	watchers map[uint64]map[Ref]struct{}
}

const (
	shardBits = 8
	shards    = 1 << shardBits
)

// Memory is the table. Its methods are safe for concurrent use; none blocks for
// longer than a table's growth.
type Memory struct {
	seed   maphash.Seed
	shards [shards]shard
}

// NewMemory returns an empty table.
func NewMemory() *Memory {
	m := &Memory{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].watchers = map[uint64]map[Ref]struct{}{}
	}
	return m
}

// find returns the shard of a hash, and the key of it there.
func (m *Memory) find(hash uint64) (*shard, key) {
	return &m.shards[hash%shards], key(hash >> (64 - keyBits))
}

// Register enters a session of (user, node). old is the session of the same
// device that it takes over, if there was one; first says that the user had no
// session before.
func (m *Memory) Register(user chat.User, node chat.Node, ref Ref) (old Ref, replaced, first bool) {
	s, user48 := m.find(maphash.String(m.seed, string(user)))
	fresh := newEntry(user48, nodeBits(node), ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	first = true
	s.sessions.each(user48, func(_ int, e *entry) bool {
		first = false
		if replaced = e.device == fresh.device; replaced {
			old, e.ref = e.Ref(), fresh.ref
		}
		return !replaced
	})
	if !replaced {
		s.sessions.insert(fresh)
	}
	return old, replaced, first
}

// Unregister removes a session, unless it was taken over. last says that the
// user has none left.
func (m *Memory) Unregister(user chat.User, ref Ref) (last bool) {
	s, k := m.find(maphash.String(m.seed, string(user)))
	s.mu.Lock()
	defer s.mu.Unlock()
	at, others := -1, 0
	s.sessions.each(k, func(i int, e *entry) bool {
		if e.Ref() == ref {
			at = i
		} else {
			others++
		}
		return true
	})
	if at < 0 {
		return false
	}
	s.sessions.remove(at)
	return others == 0
}

// Lookup appends the sessions of a user to dst.
func (m *Memory) Lookup(user []byte, dst []Ref) []Ref {
	s, k := m.find(maphash.Bytes(m.seed, user))
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.sessions.each(k, func(_ int, e *entry) bool {
		dst = append(dst, e.Ref())
		return true
	})
	return dst
}

// Watch makes ref a watcher of a user. It reports whether the user has a session
// here, and whether ref is a new watcher.
func (m *Memory) Watch(user chat.User, ref Ref) (online, fresh bool) {
	hash := maphash.String(m.seed, string(user))
	s, k := m.find(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.watchers[hash]
	if set == nil {
		set = map[Ref]struct{}{}
		s.watchers[hash] = set
	}
	_, known := set[ref]
	set[ref] = struct{}{}
	s.sessions.each(k, func(int, *entry) bool {
		online = true
		return false
	})
	return online, !known
}

// Unwatch ends it, and reports whether ref was a watcher.
func (m *Memory) Unwatch(user chat.User, ref Ref) bool {
	hash := maphash.String(m.seed, string(user))
	s, _ := m.find(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.watchers[hash][ref]
	delete(s.watchers[hash], ref)
	if len(s.watchers[hash]) == 0 {
		delete(s.watchers, hash)
	}
	return known
}

// Watchers appends to dst who watches a user.
func (m *Memory) Watchers(user chat.User, dst []Ref) []Ref {
	hash := maphash.String(m.seed, string(user))
	s, _ := m.find(hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for ref := range s.watchers[hash] {
		dst = append(dst, ref)
	}
	return dst
}

func nodeBits(n chat.Node) uint64 {
	var v uint64
	for _, b := range n {
		v = v<<8 | uint64(b)
	}
	return v
}
