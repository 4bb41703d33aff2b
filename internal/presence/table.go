package presence

import "math/bits"

// entry is one session: its user as 48 bits of a keyed hash, its device as the
// 48 bits of its node, and its connection. It has no pointers and no holes. Eight
// more bits of the hash chose the shard.
type entry struct {
	user, device [3]uint16
	ref          [2]uint32 // 0: none
}

func newEntry(user key, device uint64, ref Ref) entry {
	return entry{user: words(uint64(user)), device: words(device), ref: [2]uint32{uint32(ref >> 32), uint32(ref)}}
}

func words(v uint64) [3]uint16 { return [3]uint16{uint16(v >> 32), uint16(v >> 16), uint16(v)} }

func (e *entry) Ref() Ref { return Ref(e.ref[0])<<32 | Ref(e.ref[1]) }

func (e *entry) used() bool { return e.ref != [2]uint32{} }

// key is a user in a table: bits of the hash that did not choose the shard.
type key uint64

const keyBits = 48

// table holds the sessions of a shard: a hash table with open addressing in which a
// user has an entry for each session. It grows by a quarter, as the memory of a
// million sessions counts, and shrinks too.
type table struct {
	entries []entry
	count   int
}

const leastEntries = 16

// home is where the search for a user begins. Homes rise with the key.
func (t *table) home(k key) int {
	hi, _ := bits.Mul64(uint64(k)<<(64-keyBits), uint64(len(t.entries)))
	return int(hi)
}

func (t *table) next(i int) int {
	if i++; i == len(t.entries) {
		return 0
	}
	return i
}

// find returns the index of the first session of a user from an index on, -1 if
// there is none. A search begins at home, and goes on at next of what was found.
func (t *table) find(user [3]uint16, from int) int {
	for i := from; t.entries[i].used(); i = t.next(i) {
		if t.entries[i].user == user {
			return i
		}
	}
	return -1
}

// each calls f with the sessions of a user until it returns false. f may change
// an entry's ref.
func (t *table) each(k key, f func(i int, e *entry) bool) {
	if t.count == 0 {
		return
	}
	user := words(uint64(k))
	for i := t.find(user, t.home(k)); i >= 0; i = t.find(user, t.next(i)) {
		if !f(i, &t.entries[i]) {
			return
		}
	}
}

// insert adds a session.
func (t *table) insert(e entry) {
	if t.count >= len(t.entries)/6*5 {
		t.resize(max(len(t.entries)+len(t.entries)/4, leastEntries))
	}
	t.place(e)
	t.count++
}

func (t *table) place(e entry) {
	i := t.home(e.key())
	for t.entries[i].used() {
		i = t.next(i)
	}
	t.entries[i] = e
}

func (e *entry) key() key {
	return key(e.user[0])<<32 | key(e.user[1])<<16 | key(e.user[2])
}

// remove takes the entry at an index out, and moves those up that would not be
// found any more.
func (t *table) remove(i int) {
	t.count--
	n := len(t.entries)
	hole := i
	for j := t.next(i); t.entries[j].used(); j = t.next(j) {
		// It may stand in the hole if its home is not behind it.
		if home := t.home(t.entries[j].key()); (j-home+n)%n >= (j-hole+n)%n {
			t.entries[hole] = t.entries[j]
			hole = j
		}
	}
	t.entries[hole] = entry{}
	if n > leastEntries && t.count < n/2 {
		t.resize(max(n/4*3, leastEntries))
	}
}

func (t *table) resize(n int) {
	old := t.entries
	t.entries = make([]entry, n)
	for _, e := range old {
		if e.used() {
			t.place(e)
		}
	}
}
