package engine

import (
	"math"
	"runtime"
	"testing"
	"unsafe"
)

// A chunk takes what its things do: a million of them are not to be rounded up.
func TestSlabWastesNothing(t *testing.T) {
	type thing [13]uint64
	inUse := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	const want = 64 * chunkLen * int64(unsafe.Sizeof(thing{}))
	least := int64(math.MaxInt64)
	for range 3 { // something else may be allocated meanwhile
		before := inUse()
		var s Slab[thing]
		s.Reach(64*chunkLen - 1)
		least = min(least, inUse()-before)
		runtime.KeepAlive(&s)
	}
	if least > want+want/50 {
		t.Errorf("%d bytes of things take %d", want, least)
	}
}
