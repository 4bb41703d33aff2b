package engine

import (
	"errors"
	"io"
)

// Why the engine itself closes a connection.
var (
	ErrSlow  = errors.New("engine: the peer reads too slowly") // more unsent output than Options allow
	ErrPanic = errors.New("engine: the handler panicked")
)

// Conn is one connection. It belongs to its loop: its methods are called there
// and nowhere else, and not after Handler.Closed has returned, for then the
// same Conn may serve another peer. What is kept elsewhere is its ID.
type Conn struct {
	socket     socket
	loop       *Loop   // set once
	out        *[]byte // output of this turn, from the loop's buffers; nil: none
	deadline   uint32  // the wheel's tick; 0: none
	slot       uint32  // set once
	generation uint32
	prev, next uint32 // in the wheel, or next among the free: slot plus 1
	wheelSlot  uint16
	state      uint8
}

// Bits of Conn.state.
const (
	opened  uint8 = 1 << iota // it has a socket
	dirty                     // in Loop.dirty
	closing                   // Close was called: the handler hears nothing but Closed
	shut                      // the write side is shut down
	closed                    // Handler.Closed was called
)

// ID returns the connection's name, which may be kept and sent anywhere.
func (c *Conn) ID() ID { return newID(c.loop.index, c.slot, c.generation) }

// Slot returns the connection's place among those of its loop, from 0: an index
// for what the handler keeps of it, such as a Slab. Another connection has it
// once this one is closed.
func (c *Conn) Slot() uint32 { return c.slot }

// Loop returns the loop that owns the connection.
func (c *Conn) Loop() *Loop { return c.loop }

func (c *Conn) live() bool { return c.state&(opened|closed) == opened }

// Pending returns this turn's output, of length 0 at first. Append to it in
// place; it goes out in one system call at the end of the turn. The pointer
// is good until then. What is appended after the turn of Close is lost.
func (c *Conn) Pending() *[]byte {
	if !c.live() {
		c.loop.void = nil
		return &c.loop.void
	}
	if c.out == nil {
		c.out = c.loop.buffers.get()
	}
	c.markDirty()
	return c.out
}

// OutBytes returns how many bytes are pending or unsent.
func (c *Conn) OutBytes() int {
	n := c.unsentBytes()
	if c.out != nil {
		n += len(*c.out)
	}
	return n
}

// Blocked reports whether there is output that the full socket has not taken
// yet. When that has gone out, Handler.Drained is called.
func (c *Conn) Blocked() bool { return c.unsentBytes() > 0 }

// SetDeadline makes the loop call Handler.Deadline once, at the first tick
// after this time (Unix ms, compared with Loop.NowMs); 0 clears it. There is
// one deadline, the last set; setting it is cheap enough for every message.
// Steps of the wall clock between now and then do not move it.
func (c *Conn) SetDeadline(ms int64) {
	if !c.live() || c.state&closing != 0 {
		return
	}
	l := c.loop
	if ms != 0 {
		ms = max(ms-l.nowMs+l.sinceMs+1, 1) // one more, as both clocks are cut to ms, each at a moment of its own
	}
	l.wheel.at(c, ms)
}

// Close ends the connection when what is pending and unsent was written: it
// shuts down the write side and waits a second for the peer to close too, so
// that the peer can read the last bytes. Meanwhile input is thrown away.
// Handler.Closed follows, with a nil error.
func (c *Conn) Close() {
	if !c.live() || c.state&closing != 0 {
		return
	}
	c.state |= closing
	c.loop.wheel.at(c, c.loop.sinceMs+lingerMs)
	c.markDirty()
}

func (c *Conn) markDirty() {
	if c.state&dirty == 0 {
		c.state |= dirty
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// flush is the end of a turn in which c was dirty.
func (c *Conn) flush() {
	c.state &^= dirty
	if out := c.out; out != nil {
		c.out = nil
		if c.state&shut != 0 || len(*out) == 0 || !c.write(out) {
			c.loop.buffers.put(out)
		}
	}
	if c.live() && c.state&closing != 0 {
		c.shutdown()
	}
}

// write hands out to the socket in one system call, or queues it behind what
// is unsent; kept says that the buffer itself was queued. c may be closed
// afterwards.
func (c *Conn) write(out *[]byte) (kept bool) {
	l, unsent := c.loop, c.unsentBytes()
	if unsent > 0 && unsent+len(*out) > l.engine.opts.MaxOutBytes {
		c.abort(ErrSlow)
		return false
	}
	if unsent == 0 {
		l.stats.writes.Add(1)
	}
	l.stats.bytesOut.Add(uint64(len(*out)))
	kept, alive := c.send(out)
	if !alive {
		return kept
	}
	if unsent = c.unsentBytes(); unsent > l.engine.opts.MaxOutBytes || unsent > 0 && l.engine.unsentBytes.Load() > l.engine.opts.MaxOutTotalBytes {
		c.abort(ErrSlow)
	}
	return kept
}

// shutdown ends the write side of a closing connection once nothing is
// unsent. A bare close would reset the connection if input is still coming,
// and the peer might lose the last bytes.
func (c *Conn) shutdown() {
	if c.state&shut != 0 || c.Blocked() || c.out != nil { // flush, which is to come, calls it again
		return
	}
	c.state |= shut
	if err := c.shutdownWrite(); err != nil {
		c.abort(nil)
	}
}

// abort closes c now; Handler.Closed is called with err before it returns.
func (c *Conn) abort(err error) {
	if !c.live() {
		return
	}
	l := c.loop
	if err == ErrSlow {
		l.stats.slow.Add(1)
		c.resetOnClose() // let the kernel drop what it holds, too
	}
	l.reason = err
	c.closeSocket()
	l.reason = nil
}

// finish is called when the socket is about to be closed, for whatever reason.
func (c *Conn) finish(err error) {
	l := c.loop
	switch {
	case l.reason != nil:
		err = l.reason
	case c.state&closing != 0:
		err = nil
	case errors.Is(err, io.EOF):
		err = io.EOF
		if c.out != nil && len(*c.out) > 0 {
			c.sendLast(*c.out) // the peer may have closed its write side only
		}
	}
	c.state |= closed
	l.stats.closed.Add(1)
	l.count.Add(-1)
	l.wheel.remove(c)
	c.dropUnsent()
	if c.out != nil {
		l.buffers.put(c.out)
		c.out = nil
	}
	l.callClosed(c, err)
	l.conns.put(c)
	l.engine.leave()
}
