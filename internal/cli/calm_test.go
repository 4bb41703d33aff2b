package cli

import "testing"

func TestCalm(t *testing.T) {
	const mib = 1 << 20
	var c calm
	allocated, heap := uint64(0), uint64(100*mib)
	tick := func(bytes uint64) bool {
		allocated += bytes
		return c.tick(allocated, heap)
	}
	// ticks counts how many of n ticks, each of so many bytes, give memory back, and which was the first of them, from 1.
	ticks := func(n int, bytes uint64) (given, first int) {
		for i := 1; i <= n; i++ {
			if tick(bytes) {
				if given++; first == 0 {
					first = i
				}
			}
		}
		return given, first
	}
	if n, _ := ticks(100, 20*mib); n != 0 {
		t.Errorf("given back %d times in the middle of a wave", n)
	}
	if n, first := ticks(300, 0); n != 1 || first != calmTicks {
		t.Errorf("given back %d times after a wave, first at tick %d", n, first)
	}
	if n, _ := ticks(1, 12*mib); n != 0 {
		t.Error("given back within a tick of a wave")
	}
	if n, _ := ticks(300, 0); n != 0 {
		t.Errorf("given back %d times after less than an eighth of the heap", n)
	}
	if n, first := ticks(300, mib); n != 5 || first != 1 { // once a minute
		t.Errorf("given back %d times, first at tick %d, while little is allocated", n, first)
	}
	heap = 20 * mib
	c.given = allocated
	if n, first := ticks(60, mib/4); n != 1 || first != waveLeast/(mib/4) {
		t.Errorf("given back %d times, first at tick %d, of a small heap", n, first)
	}
	tick(20 * mib)
	if n, _ := ticks(20, 0); n != 0 {
		t.Errorf("given back %d times within a minute", n)
	}
}
