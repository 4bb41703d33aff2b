package presence

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// A million of them have to fit.
func TestEntrySize(t *testing.T) {
	if n := unsafe.Sizeof(entry{}); n > 20 {
		t.Errorf("an entry has %d bytes", n)
	}
}

// The table against a map, with users that have the same home, grown and shrunk.
func TestTableIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var tab table
	want := map[key][]Ref{}
	next := Ref(1 << 32)
	for step := range 20_000 {
		// Neighbours in a few places: clusters, and the table's ends.
		k := key(r.Uint64N(8)*((1<<keyBits-1)/7))&^63 | key(r.Uint64N(64))
		growing := step/2_000%2 == 0
		if (r.IntN(3) > 0) == growing {
			next += 1<<32 + 1
			tab.insert(newEntry(k, 7, next))
			want[k] = append(want[k], next)
		} else if refs := want[k]; len(refs) > 0 {
			gone := r.IntN(len(refs))
			tab.each(k, func(i int, e *entry) bool {
				found := e.Ref() == refs[gone]
				if found {
					tab.remove(i)
				}
				return !found
			})
			want[k] = slices.Delete(refs, gone, gone+1)
		}
		var got []Ref
		tab.each(k, func(_ int, e *entry) bool {
			got = append(got, e.Ref())
			return true
		})
		slices.Sort(got)
		if sorted := slices.Sorted(slices.Values(want[k])); !slices.Equal(got, sorted) {
			t.Fatalf("step %d: %d sessions of a user, want %d", step, len(got), len(sorted))
		}
	}
	total := 0
	for _, refs := range want {
		total += len(refs)
	}
	if tab.count != total {
		t.Errorf("the table counts %d sessions, want %d", tab.count, total)
	}
}

// However many there are, most of the table is used.
func TestTableIsFull(t *testing.T) {
	var tab table
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 10_000 {
		tab.insert(newEntry(key(r.Uint64()>>(64-keyBits)), 1, Ref(n+1)))
		if n > 100 && tab.count < len(tab.entries)*3/5 {
			t.Fatalf("%d sessions in a table of %d", tab.count, len(tab.entries))
		}
	}
}
