package engine

import "math"

const (
	wheelSlots = 1024 // ticks: 102 s at the default tick
	noSlot     = ^uint16(0)
)

// wheel holds the connections of one loop that have a deadline, by the tick at
// which to look at them next. That may be earlier than their deadline: moving
// a deadline on only overwrites a stamp in the connection, and a connection
// that is looked at too early is put back. Times are milliseconds since the
// engine started, by the monotonic clock.
type wheel struct {
	tickMs int64
	tick   int64              // the last tick that was handled
	heads  [wheelSlots]uint32 // slots of the slab plus 1; 0: empty
	conns  *conns
}

// at sets c's deadline: the first tick at or after that time. 0 clears it.
func (w *wheel) at(c *Conn, deadlineMs int64) {
	c.deadline = uint32(min((deadlineMs+w.tickMs-1)/w.tickMs, math.MaxUint32))
	if deadlineMs == 0 {
		return // its entry lapses when its tick comes
	}
	due := w.within(c.deadline)
	if c.wheelSlot != noSlot {
		if w.armedTick(c) <= due {
			return
		}
		w.remove(c)
	}
	w.insert(c, due)
}

// within is a tick to come, within the wheel's reach.
func (w *wheel) within(tick uint32) int64 {
	return min(max(int64(tick), w.tick+1), w.tick+wheelSlots-1)
}

func (w *wheel) armedTick(c *Conn) int64 {
	ahead := (int64(c.wheelSlot) - w.tick - 1) % wheelSlots
	return w.tick + 1 + (ahead+wheelSlots)%wheelSlots
}

func (w *wheel) insert(c *Conn, tick int64) {
	c.wheelSlot = uint16(tick % wheelSlots)
	head := &w.heads[c.wheelSlot]
	c.prev, c.next = 0, *head
	if c.next != 0 {
		w.conns.At(c.next - 1).prev = c.slot + 1
	}
	*head = c.slot + 1
}

func (w *wheel) remove(c *Conn) {
	if c.wheelSlot == noSlot {
		return
	}
	if c.prev != 0 {
		w.conns.At(c.prev - 1).next = c.next
	} else {
		w.heads[c.wheelSlot] = c.next
	}
	if c.next != 0 {
		w.conns.At(c.next - 1).prev = c.prev
	}
	c.prev, c.next, c.wheelSlot = 0, 0, noSlot
}

// advance calls fire for each connection whose deadline is at nowMs or before,
// and clears that deadline first.
func (w *wheel) advance(nowMs int64, fire func(*Conn)) {
	target := nowMs / w.tickMs
	w.tick = max(w.tick, target-wheelSlots) // after a long stall once round is enough
	for w.tick < target {
		w.tick++
		slot := w.tick % wheelSlots
		// What is put back goes to another slot, so this one runs empty.
		for w.heads[slot] != 0 {
			c := w.conns.At(w.heads[slot] - 1)
			w.remove(c)
			switch {
			case c.deadline == 0:
			case int64(c.deadline) > target:
				w.insert(c, w.within(c.deadline))
			default:
				c.deadline = 0
				fire(c)
			}
		}
	}
}
