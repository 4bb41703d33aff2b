package shard

import "math/bits"

// ways is how many keys share a set of a table: a set is two cache lines.
const ways = 8

// table remembers a value for each of a bounded number of keyed 64-bit hashes.
// It is set-associative: where a set is full, the table grows if a quarter of
// it is in use and its bound allows; else the least recently used key of the set
// makes room, which happens to one key in a thousand below the bound. It holds no
// pointers, so that the collector does not look at it.
//
// Two keys of one hash cannot be told apart. With hashes that nobody can choose
// that is one chance in 2^64 a pair.
type table struct {
	sets []set
	mask uint64
	used int // slots
	most int // sets it may grow to
}

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

// grow doubles the table. The keys of a set keep their order in the two that
// they are spread over.
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

// get returns a key's value and makes it the newest of its set.
func (t *table) get(key uint64) (value uint64, found bool) {
	key = max(key, 1) // 0 marks a free slot
	s := &t.sets[key&t.mask]
	for i := range s {
		if s[i].key == key {
			hit := s[i]
			copy(s[1:i+1], s[:i])
			s[0] = hit
			return hit.value, true
		}
	}
	return 0, false
}

// put sets a key's value and makes it the newest of its set. It returns the
// value of the key that made room, 0 when none had to.
func (t *table) put(key, value uint64) (out uint64) {
	key = max(key, 1)
	s := &t.sets[key&t.mask]
	last := 0
	for last < ways-1 && s[last].key != key {
		last++
	}
	switch was := s[last].key; {
	case was == 0:
		t.used++
	case was != key && len(t.sets) < t.most && 4*t.used >= ways*len(t.sets):
		t.grow()
		return t.put(key, value)
	case was != key:
		out = s[last].value
	}
	copy(s[1:last+1], s[:last])
	s[0].key, s[0].value = key, value
	return out
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
