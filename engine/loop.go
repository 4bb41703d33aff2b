package engine

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Loop is one event loop: a goroutine, its sockets and its mailbox. Unless
// said otherwise its methods are for that goroutine alone, which is the one
// that calls the handler.
type Loop struct {
	Data any // the handler's; set it in the loop's first call, which is Turn

	// Set once.
	index  uint32
	engine *Engine

	// Owned by the loop.
	conns     conns
	wheel     wheel
	buffers   buffers
	dirty     []*Conn       // to be flushed at the end of the turn
	spare     []func(*Loop) // the mailbox's other slice
	nowMs     int64         // Unix ms
	sinceMs   int64         // since the engine started, monotonic
	trimmedMs int64         // when buffers were trimmed, as sinceMs
	reason    error         // why abort is closing a connection
	void      []byte        // what is written to nobody

	// Shared.
	poller poller
	count  atomic.Int64 // open connections
	stats  loopStats
	mu     sync.Mutex
	mail   []func(*Loop) // guarded by mu
	sealed bool          // guarded by mu; no more mail
}

func newLoop(e *Engine, index int) *Loop {
	l := &Loop{index: uint32(index), engine: e}
	l.conns.loop = l
	l.wheel = wheel{tickMs: int64(e.opts.TickMs), conns: &l.conns}
	l.readClock()
	l.poller.init(l)
	return l
}

// Index returns the loop's place among the engine's loops. From anywhere.
func (l *Loop) Index() int { return int(l.index) }

// NowMs returns the wall clock in Unix milliseconds as it was when the turn
// began.
func (l *Loop) NowMs() int64 { return l.nowMs }

// Conn returns the connection that has this ID, nil if it is gone or belongs
// to another loop.
func (l *Loop) Conn(id ID) *Conn {
	if id.Loop() != int(l.index) {
		return nil
	}
	return l.conns.find(id)
}

// Conns returns how many connections the loop has. From anywhere.
func (l *Loop) Conns() int { return int(l.count.Load()) }

// Each calls f for every connection of the loop, in no particular order.
func (l *Loop) Each(f func(*Conn)) { l.conns.each(f) }

// Post makes the loop call f, in the order of posting, before its next Turn.
// It may be called from anywhere and never blocks. All posts since the
// loop's last turn share one wake-up. It returns false, and f is not called,
// once Stop has ended the mailbox. The mailbox has no bound of its own: whoever
// posts bounds what it has on its way.
func (l *Loop) Post(f func(*Loop)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed {
		return false
	}
	l.mail = append(l.mail, f)
	// With mu held: a loop is not reached for when its mailbox is sealed, for
	// its descriptors may be somebody else's files by then.
	l.poller.wake()
	return true
}

// seal ends the mailbox; what is in it is still run.
func (l *Loop) seal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealed = true
}

func (l *Loop) readClock() {
	now := time.Now()
	l.nowMs = now.UnixMilli()
	l.sinceMs = now.Sub(l.engine.started).Milliseconds()
}

// turn is the end of a turn: mail, deadlines, Handler.Turn, then all output.
func (l *Loop) turn(tick bool) {
	mail := l.takeMail()
	l.readClock()
	l.stats.turns.Add(1)
	for i, f := range mail {
		mail[i] = nil
		l.callMail(f)
	}
	l.keepSpare(mail)
	if tick {
		l.tick()
	}
	l.callTurn()
	l.flush()
}

func (l *Loop) tick() {
	l.wheel.advance(l.sinceMs, l.expire)
	if l.sinceMs >= l.trimmedMs+trimMs {
		l.trimmedMs = l.sinceMs
		l.buffers.trim()
	}
}

func (l *Loop) takeMail() []func(*Loop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mail := l.mail
	l.mail, l.spare = l.spare[:0], nil
	return mail
}

func (l *Loop) keepSpare(mail []func(*Loop)) {
	l.stats.posts.Add(uint64(len(mail)))
	if cap(mail) <= spareSliceLen {
		l.spare = mail
	}
}

func (l *Loop) expire(c *Conn) {
	if c.state&closing != 0 {
		c.abort(nil)
		return
	}
	l.callDeadline(c)
}

// flush writes the output of every dirty connection, including those that
// become dirty on the way.
func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		l.dirty[i] = nil
		if c.state&dirty != 0 {
			c.flush()
		}
	}
	l.dirty = l.dirty[:0]
	if cap(l.dirty) > spareSliceLen {
		l.dirty = nil
	}
}

// drained is called when the socket has taken all of c's unsent output.
func (l *Loop) drained(c *Conn) {
	if c.state&closing != 0 {
		c.shutdown()
	} else {
		l.callDrained(c)
	}
}

func (l *Loop) callMail(f func(*Loop)) {
	defer l.recovered(nil, "Post")
	f(l)
}

func (l *Loop) callTurn() {
	defer l.recovered(nil, "Turn")
	l.engine.handler.Turn(l)
}

func (l *Loop) callOpen(c *Conn) {
	defer l.recovered(c, "Open")
	l.engine.handler.Open(c)
}

func (l *Loop) callData(c *Conn, in []byte) {
	defer l.recovered(c, "Data")
	l.engine.handler.Data(c, in)
}

func (l *Loop) callDeadline(c *Conn) {
	defer l.recovered(c, "Deadline")
	l.engine.handler.Deadline(c)
}

func (l *Loop) callDrained(c *Conn) {
	defer l.recovered(c, "Drained")
	l.engine.handler.Drained(c)
}

func (l *Loop) callClosed(c *Conn, err error) {
	defer l.recovered(c, "Closed")
	l.engine.handler.Closed(c, err)
}

// recovered contains a panic of the handler, which would end the process. The connection it was called for, if any, is closed.
func (l *Loop) recovered(c *Conn, call string) {
	p := recover()
	if p == nil {
		return
	}
	l.stats.panics.Add(1)
	log := l.engine.opts.Logger.With("call", call, "loop", l.index, "panic", p, "stack", string(debug.Stack()))
	if c == nil {
		log.Error("engine: the handler panicked")
		return
	}
	log.Error("engine: the handler panicked, closing the connection", "remote", c.Remote(), "conn", uint64(c.ID()))
	c.abort(ErrPanic)
}
