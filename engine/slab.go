package engine

const (
	loopBits = 8
	slotBits = 24
	slotMask = 1<<slotBits - 1

	// So many things of whole words fill pages of Go's heap, of 8 KiB, to the end.
	chunkBits = 10
	chunkLen  = 1 << chunkBits
)

// ID names a connection of this process: the slot it has in its loop's slab,
// the loop, and how often the slot was used before. It is never 0 and is not
// used again (for 2^32 connections in one slot).
type ID uint64

func newID(loop, slot, generation uint32) ID {
	return ID(uint64(generation)<<32 | uint64(loop)<<slotBits | uint64(slot))
}

// Loop returns the index of the connection's loop.
func (id ID) Loop() int { return int(id >> slotBits & (1<<loopBits - 1)) }

func (id ID) slot() uint32       { return uint32(id) & slotMask }
func (id ID) generation() uint32 { return uint32(id >> 32) }

// Slab holds something for each slot of a loop, in chunks that never move: a
// pointer into it stays good, and names whoever has the slot now. A million of
// small things take less memory so than as objects of their own. Its zero value
// is empty. It is not safe for concurrent use.
type Slab[T any] struct {
	chunks []*[chunkLen]T
}

// At returns what there is for a slot that Reach has been called for, or a later one.
func (s *Slab[T]) At(slot uint32) *T { return &s.chunks[slot>>chunkBits][slot&(chunkLen-1)] }

// Reach makes room up to a slot, with zero values, and returns what is there.
func (s *Slab[T]) Reach(slot uint32) *T {
	for int(slot>>chunkBits) >= len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkLen]T))
	}
	return s.At(slot)
}

// slots is how many there is room for.
func (s *Slab[T]) slots() uint32 { return uint32(len(s.chunks)) << chunkBits }

// conns are the connections of one loop.
type conns struct {
	Slab[Conn]

	loop *Loop
	free uint32 // the slot that was freed last, plus 1, linked by next; 0: none
}

// take returns an unused connection, nil if there is no slot left.
func (s *conns) take() *Conn {
	if s.free == 0 && !s.grow() {
		return nil
	}
	c := s.At(s.free - 1)
	s.free, c.next = c.next, 0
	return c
}

func (s *conns) grow() bool {
	first := s.slots()
	if first > slotMask {
		return false
	}
	s.Reach(first)
	for slot := first + chunkLen; slot > first; slot-- {
		*s.At(slot - 1) = Conn{loop: s.loop, slot: slot - 1, generation: 1, wheelSlot: noSlot, next: s.free}
		s.free = slot
	}
	return true
}

// put makes c unused; its ID will name nobody.
func (s *conns) put(c *Conn) {
	generation := max(c.generation+1, 1)
	*c = Conn{loop: c.loop, slot: c.slot, generation: generation, wheelSlot: noSlot, next: s.free}
	s.free = c.slot + 1
}

// find returns the connection that has this ID, nil if it is gone.
func (s *conns) find(id ID) *Conn {
	slot := id.slot()
	if slot >= s.slots() {
		return nil
	}
	if c := s.At(slot); c.generation == id.generation() && c.live() {
		return c
	}
	return nil
}

func (s *conns) each(f func(*Conn)) {
	for _, chunk := range s.chunks {
		for i := range chunk {
			if c := &chunk[i]; c.live() {
				f(c)
			}
		}
	}
}
