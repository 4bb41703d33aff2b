package shard

import (
	"math/rand/v2"
	"testing"
)

func TestTableKeepsTheNewestOfASet(t *testing.T) {
	tb := newTable(1) // one set
	for key := uint64(1); key <= ways+1; key++ {
		tb.put(key, key*10)
	}
	if _, ok := tb.get(1); ok {
		t.Error("the oldest key made no room")
	}
	if v, ok := tb.get(2); !ok || v != 20 { // now the newest
		t.Errorf("get(2) = %d, %v", v, ok)
	}
	tb.put(3, 33)
	tb.put(100, 1)
	tb.put(101, 1)
	if v, ok := tb.get(3); !ok || v != 33 {
		t.Errorf("get(3) = %d, %v after it was set again", v, ok)
	}
	if v, ok := tb.get(2); !ok || v != 20 {
		t.Errorf("get(2) = %d, %v: it was used after others", v, ok)
	}
	if _, ok := tb.get(4); ok {
		t.Error("4 was used last and is still there")
	}
	if _, ok := tb.get(0); ok {
		t.Error("key 0 is found in free slots")
	}
}

func TestTableAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	tb, m := newTable(4096), map[uint64]uint64{}
	keys := make([]uint64, 600)
	for i := range keys {
		keys[i] = r.Uint64()
	}
	lost := 0
	for range 20000 {
		key, value := keys[r.IntN(len(keys))], r.Uint64()
		if r.IntN(2) == 0 {
			out := tb.put(key, value)
			m[key] = value
			if out != 0 {
				for k, v := range m {
					if v == out && k != key {
						delete(m, k)
						lost++
					}
				}
			}
		}
		got, ok := tb.get(key)
		want, wantOK := m[key]
		if ok != wantOK || got != want {
			t.Fatalf("get(%d) = %d, %v, want %d, %v", key, got, ok, want, wantOK)
		}
	}
	if lost > 0 {
		t.Errorf("%d keys made room below the bound", lost)
	}
}

// However a table grew, it has room for what it was made for, and no more.
func TestTableGrowsToItsBound(t *testing.T) {
	const keys = 1 << 14
	tb := newTable(keys)
	if len(tb.sets) > firstSets {
		t.Errorf("an empty table has %d sets", len(tb.sets))
	}
	r := rand.New(rand.NewPCG(5, 5))
	var newest []uint64
	for range 10 * keys {
		key := r.Uint64()
		tb.put(key, key+1)
		newest = append(newest, key)
	}
	if got := len(tb.sets) * ways; got != keys {
		t.Errorf("it grew to %d keys, its bound is %d", got, keys)
	}
	found := 0
	for _, key := range newest[len(newest)-keys/4:] {
		if v, ok := tb.get(key); ok && v == key+1 {
			found++
		}
	}
	if found < keys/4*9/10 {
		t.Errorf("of the newest %d keys %d are there", keys/4, found)
	}
}

// A table is nearly full when it grows, so that a key takes at most some 50 bytes.
func TestTableGrowsWhenItIsFull(t *testing.T) {
	tb := newTable(1 << 20)
	r := rand.New(rand.NewPCG(7, 7))
	for keys := 0; len(tb.sets)*ways < 1<<18; keys++ {
		sets := len(tb.sets)
		if tb.put(r.Uint64(), 1) != 0 {
			t.Fatalf("key %d of %d slots made another go", keys, sets*ways)
		}
		if len(tb.sets) > sets && sets*ways > 1<<10 && 3*keys < 2*sets*ways {
			t.Errorf("it grew with %d keys in %d slots", keys, sets*ways)
		}
	}
}

func TestIndexAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var x index
	for range 50 {
		m := map[uint64]int{}
		for i := range 1 + r.IntN(1000) {
			key := r.Uint64N(300) << (r.Uint64N(2) * 50)
			x.put(key, i)
			m[key] = i
			probe := r.Uint64N(400)
			got, ok := x.get(probe)
			want, wantOK := m[probe]
			if ok != wantOK || ok && got != want {
				t.Fatalf("get(%d) = %d, %v, want %d, %v", probe, got, ok, want, wantOK)
			}
		}
		x.clear()
		for key := range m {
			if _, ok := x.get(key); ok {
				t.Fatalf("%d is found after clear", key)
			}
		}
	}
}

func TestIndexClearAfterAllRounds(t *testing.T) {
	var x index
	x.put(7, 1)
	x.round = 1<<32 - 1
	x.put(8, 1)
	x.clear()
	if _, ok := x.get(7); ok {
		t.Error("a slot of the first round came back")
	}
}
