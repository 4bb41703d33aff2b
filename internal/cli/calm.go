package cli

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// When the server is calm after a wave, such as a million sessions that came and
// now rest, memory is given back: of its own accord Go collects what the wave left
// two minutes later, and keeps a tenth of the heap free for what comes next.
const (
	calmTick  = time.Second
	calmTicks = 2           // so many in a row make it calm
	calmEvery = time.Minute // it is done at most so often, as it collects garbage

	calmShare = 64      // calm is a tick in which less than a 64th of the heap is allocated,
	waveShare = 8       // a wave an eighth of it since memory was given back,
	waveLeast = 8 << 20 // and so many bytes
)

// calm says when to give memory back.
type calm struct {
	now, last     int    // ticks so far, and until memory was given back; 0: never
	calm          int    // of them, in a row
	before, given uint64 // bytes allocated until the last tick, and until memory was given back
}

// tick takes the bytes that were ever allocated and those of the heap now.
func (c *calm) tick(allocated, heap uint64) bool {
	c.now++
	c.calm++
	if allocated-c.before > heap/calmShare {
		c.calm = 0
	}
	c.before = allocated
	lately := c.last > 0 && c.now-c.last < int(calmEvery/calmTick)
	if c.calm < calmTicks || lately || allocated-c.given < max(heap/waveShare, waveLeast) {
		return false
	}
	c.last, c.given = c.now, allocated
	return true
}

// giveBack gives memory back whenever it is calm, until ctx ends.
func giveBack(ctx context.Context) {
	var c calm
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	ticker := time.NewTicker(calmTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(heap)
		if c.tick(heap[0].Value.Uint64(), heap[1].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
