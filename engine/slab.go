package engine

const (
	loopBits  = 8
	slotBits  = 24
	slotMask  = 1<<slotBits - 1
	chunkBits = 6
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

// slab holds the connections of one loop, in chunks that never move.
type slab struct {
	loop   *Loop
	chunks []*[chunkLen]Conn
	free   []uint32 // slots, the one freed last on top
}

func (s *slab) at(slot uint32) *Conn { return &s.chunks[slot>>chunkBits][slot&(chunkLen-1)] }

// take returns an unused connection, nil if the slab is full.
func (s *slab) take() *Conn {
	if len(s.free) == 0 && !s.grow() {
		return nil
	}
	n := len(s.free) - 1
	c := s.at(s.free[n])
	s.free = s.free[:n]
	return c
}

func (s *slab) grow() bool {
	first := uint32(len(s.chunks)) << chunkBits
	if first > slotMask {
		return false
	}
	chunk := new([chunkLen]Conn)
	s.chunks = append(s.chunks, chunk)
	for i := chunkLen - 1; i >= 0; i-- {
		chunk[i] = Conn{loop: s.loop, slot: first + uint32(i), generation: 1, wheelSlot: noSlot}
		s.free = append(s.free, first+uint32(i))
	}
	return true
}

// put makes c unused; its ID will name nobody.
func (s *slab) put(c *Conn) {
	generation := max(c.generation+1, 1)
	*c = Conn{loop: c.loop, slot: c.slot, generation: generation, wheelSlot: noSlot}
	s.free = append(s.free, c.slot)
}

// find returns the connection that has this ID, nil if it is gone.
func (s *slab) find(id ID) *Conn {
	slot := id.slot()
	if int(slot>>chunkBits) >= len(s.chunks) {
		return nil
	}
	if c := s.at(slot); c.generation == id.generation() && c.live() {
		return c
	}
	return nil
}

func (s *slab) each(f func(*Conn)) {
	for _, chunk := range s.chunks {
		for i := range chunk {
			if c := &chunk[i]; c.live() {
				f(c)
			}
		}
	}
}
