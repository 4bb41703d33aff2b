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

// slot is one session. The device is kept as the 48 bits of its node.
type slot struct {
	ref  Ref
	node uint64
}

// shard is a part of the table. Its maps are keyed by a seeded 64-bit hash of
// the user, so users cannot aim at one shard; whoever is handed a Ref compares
// the user itself before it trusts the match.
type shard struct {
	mu       sync.RWMutex
	one      map[uint64]slot   // users with one session
	more     map[uint64][]slot // users with several
	watchers map[uint64]map[Ref]struct{}
	_        [24]byte // a cache line of its own
}

const shards = 256

// Memory is the table. Its methods are safe for concurrent use; none blocks for
// longer than a map operation.
type Memory struct {
	seed   maphash.Seed
	shards [shards]shard
}

// NewMemory returns an empty table.
func NewMemory() *Memory {
	m := &Memory{seed: maphash.MakeSeed()}
	for i := range m.shards {
		s := &m.shards[i]
		s.one = map[uint64]slot{}
		s.more = map[uint64][]slot{}
		s.watchers = map[uint64]map[Ref]struct{}{}
	}
	return m
}

func (m *Memory) find(hash uint64) *shard { return &m.shards[hash%shards] }

// Register enters a session of (user, node). old is the session of the same
// device that it takes over, if there was one; first says that the user had no
// session before.
func (m *Memory) Register(user chat.User, node chat.Node, ref Ref) (old Ref, replaced, first bool) {
	hash, device := maphash.String(m.seed, string(user)), nodeBits(node)
	s := m.find(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if list, ok := s.more[hash]; ok {
		for i := range list {
			if list[i].node == device {
				old, list[i].ref = list[i].ref, ref
				return old, true, false
			}
		}
		s.more[hash] = append(list, slot{ref, device})
		return 0, false, false
	}
	was, ok := s.one[hash]
	switch {
	case !ok:
		s.one[hash] = slot{ref, device}
		return 0, false, true
	case was.node == device:
		s.one[hash] = slot{ref, device}
		return was.ref, true, false
	}
	delete(s.one, hash)
	s.more[hash] = []slot{was, {ref, device}}
	return 0, false, false
}

// Unregister removes a session, unless it was taken over. last says that the
// user has none left.
func (m *Memory) Unregister(user chat.User, ref Ref) (last bool) {
	hash := maphash.String(m.seed, string(user))
	s := m.find(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.one[hash]; ok {
		if was.ref != ref {
			return false
		}
		delete(s.one, hash)
		return true
	}
	list := s.more[hash]
	for i := range list {
		if list[i].ref != ref {
			continue
		}
		list = append(list[:i], list[i+1:]...)
		s.more[hash] = list
		if len(list) == 1 {
			delete(s.more, hash)
			s.one[hash] = list[0]
		}
		return false
	}
	return false
}

// Lookup appends the sessions of a user to dst.
func (m *Memory) Lookup(user []byte, dst []Ref) []Ref {
	hash := maphash.Bytes(m.seed, user)
	s := m.find(hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if was, ok := s.one[hash]; ok {
		return append(dst, was.ref)
	}
	for _, l := range s.more[hash] {
		dst = append(dst, l.ref)
	}
	return dst
}

// Watch makes ref a watcher of a user. It reports whether the user has a session
// here, and whether ref is a new watcher.
func (m *Memory) Watch(user chat.User, ref Ref) (online, fresh bool) {
	hash := maphash.String(m.seed, string(user))
	s := m.find(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.watchers[hash]
	if set == nil {
		set = map[Ref]struct{}{}
		s.watchers[hash] = set
	}
	_, known := set[ref]
	set[ref] = struct{}{}
	_, one := s.one[hash]
	return one || len(s.more[hash]) > 0, !known
}

// Unwatch ends it, and reports whether ref was a watcher.
func (m *Memory) Unwatch(user chat.User, ref Ref) bool {
	hash := maphash.String(m.seed, string(user))
	s := m.find(hash)
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
	s := m.find(hash)
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
