package engine

// Sizes of the pool of output buffers that each loop has.
const (
	newBufferBytes  = 1 << 10
	keepBufferBytes = 64 << 10 // what has grown larger goes to the collector
	poolBytes       = 8 << 20  // all that one loop's pool may hold
)

// buffers is a loop's stack of output buffers. They keep the size they have
// grown to, so the ones on top fit what the loop has been writing of late.
type buffers struct {
	free  []*[]byte
	bytes int // capacity of all in free
	low   int // fewest free since the last trim: these nobody needed
}

func (b *buffers) get() *[]byte {
	n := len(b.free)
	if n == 0 {
		p := make([]byte, 0, newBufferBytes)
		return &p
	}
	p := b.free[n-1]
	b.free[n-1] = nil
	b.free = b.free[:n-1]
	b.bytes -= cap(*p)
	b.low = min(b.low, n-1)
	return p
}

func (b *buffers) put(p *[]byte) {
	size := cap(*p)
	if size == 0 || size > keepBufferBytes || b.bytes+size > poolBytes {
		return
	}
	*p = (*p)[:0]
	b.free = append(b.free, p)
	b.bytes += size
}

// trim gives half of what was not needed since the last trim to the
// collector, from the bottom of the stack.
func (b *buffers) trim() {
	drop := (b.low + 1) / 2
	for _, p := range b.free[:drop] {
		b.bytes -= cap(*p)
	}
	n := copy(b.free, b.free[drop:])
	clear(b.free[n:])
	b.free = b.free[:n]
	b.low = n
}
