package shard

import "math/bits"

// ways is how many keys share a set of a table: a set is two cache lines.
const ways = 8

// table remembers a value for each of a bounded number of keyed 64-bit hashes.
// A key is in one of two sets, put into the one with more room, so that hardly a
// set is full before nine slots of ten are in use (Azar et al., Balanced
// Allocations, 1994). Where both are, the table grows if its bound allows; else the
// least recently used key of the first makes room. It holds no pointers, so that
// the collector does not look at it.
//
// Two keys of one hash cannot be told apart. With hashes that nobody can choose
// that is one chance in 2^64 a pair.
type table struct {
	sets []set
	mask uint64
	used int // slots
	most int // sets it may grow to
}

// set has its keys first, the newest of them foremost.
type set [ways]struct{ key, value uint64 }

const firstSets = 32 // a partition with few users takes little memory

// newTable returns a table that grows to at least so many keys.
func newTable(keys int) *table {
	t := &table{most: 1 << bits.Len(uint(max(keys/ways, 1)-1))}
	t.resize(min(firstSets, t.most))
	return t
}

func (t *table) resize(sets int) {
	t.sets, t.mask, t.used = make([]set, sets), uint64(sets-1), 0
}

// grow doubles the table. The keys of a set keep their order in those that they
// are spread over.
func (t *table) grow() {
	old := t.sets
	t.resize(2 * len(old))
	for i := range old {
		for j := ways - 1; j >= 0; j-- { // the newest last, which makes it the newest again
			if s := old[i][j]; s.key != 0 {
				t.put(s.key, s.value)
			}
		}
	}
}

// both returns the two sets of a key, which may be one.
func (t *table) both(key uint64) (first, second *set) {
	return &t.sets[key&t.mask], &t.sets[bits.RotateLeft64(key, 32)&t.mask]
}

// get returns a key's value and makes it the newest of its set.
func (t *table) get(key uint64) (value uint64, found bool) {
	key = max(key, 1) // 0 marks a free slot
	first, second := t.both(key)
	for _, s := range [...]*set{first, second} {
		if i := s.find(key); i < ways {
			value = s[i].value
			s.front(i, key, value)
			return value, true
		}
	}
	return 0, false
}

// put sets a key's value and makes it the newest of its set. It returns the
// value of the key that made room, 0 when none had to.
func (t *table) put(key, value uint64) (out uint64) {
	key = max(key, 1)
	first, second := t.both(key)
	for _, s := range [...]*set{first, second} {
		if i := s.find(key); i < ways {
			s.front(i, key, value)
			return 0
		}
	}
	s, n := first, first.len()
	if m := second.len(); m < n {
		s, n = second, m
	}
	switch {
	case n < ways:
		t.used++
	case len(t.sets) < t.most && 2*t.used >= ways*len(t.sets):
		t.grow()
		return t.put(key, value)
	default:
		n--
		out = s[n].value
	}
	s.front(n, key, value)
	return out
}

// find returns where a key is, or ways.
func (s *set) find(key uint64) int {
	i := 0
	for i < ways && s[i].key != key {
		i++
	}
	return i
}

// len returns how many keys there are.
func (s *set) len() int { return s.find(0) }

// front puts a key foremost, over what is at i.
func (s *set) front(i int, key, value uint64) {
	copy(s[1:i+1], s[:i])
	s[0].key, s[0].value = key, value
}

// index finds what lies in a slice of one cycle by a 64-bit hash. It is cleared
// without being walked.
type index struct {
	slots []indexSlot
	round uint32 // slots of other rounds are free
	count int
}

type indexSlot struct {
	key   uint64
	round uint32
	at    int32
}

const indexSlots = 256 // at first

func (x *index) clear() {
	x.count = 0
	if x.round++; x.round == 0 {
		clear(x.slots)
		x.round = 1
	}
}

func (x *index) get(key uint64) (at int, found bool) {
	mask := uint64(len(x.slots) - 1)
	for i := key; len(x.slots) > 0; i++ {
		s := &x.slots[i&mask]
		if s.round != x.round {
			break
		}
		if s.key == key {
			return int(s.at), true
		}
	}
	return 0, false
}

// put sets where a key's item lies.
func (x *index) put(key uint64, at int) {
	if 2*x.count >= len(x.slots) {
		x.grow()
	}
	mask := uint64(len(x.slots) - 1)
	for i := key; ; i++ {
		s := &x.slots[i&mask]
		if s.round != x.round {
			x.count++
		} else if s.key != key {
			continue
		}
		*s = indexSlot{key: key, round: x.round, at: int32(at)}
		return
	}
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]indexSlot, max(indexSlots, 2*len(old)))
	x.count = 0
	if x.round == 0 {
		x.round = 1
	}
	for _, s := range old {
		if s.round == x.round && s.round != 0 {
			x.put(s.key, int(s.at))
		}
	}
}
