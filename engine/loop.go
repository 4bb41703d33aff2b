package engine

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
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
	conns     slab
	wheel     wheel
	buffers   buffers
	dirty     []*Conn       // to be flushed at the end of the turn
	blocked   []blockedConn // those with unsent output
	cursor    int           // which of them was looked at last
	spare     []func(*Loop) // the mailbox's other slice
	nowMs     int64         // Unix ms
	sinceMs   int64         // since the engine started, monotonic
	trimmedMs int64         // when buffers were trimmed, as sinceMs
	reason    error         // why abort is closing a connection
	void      []byte        // what is written to nobody
	runner    gnet.Runnable // runs turn

	// Shared.
	gnet      gnet.EventLoop // set under mu, before which nothing but Post touches the loop
	scheduled atomic.Bool    // a turn is on its way
	count     atomic.Int64   // open connections
	stats     loopStats
	mu        sync.Mutex
	mail      []func(*Loop) // guarded by mu
	tickDue   bool          // guarded by mu
	sealed    bool          // guarded by mu; no more mail
}

type blockedConn struct {
	conn   *Conn
	unsent int // as counted in the totals
}

func newLoop(e *Engine, index int) *Loop {
	l := &Loop{index: uint32(index), engine: e}
	l.conns.loop = l
	l.wheel = wheel{tickMs: int64(e.opts.TickMs), conns: &l.conns}
	l.runner = gnet.RunnableFunc(func(context.Context) error { l.turn(); return nil })
	l.readClock()
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
// once Stop has ended the mailbox. What is posted from the loop itself runs
// before the loop reads again, so it is no way of yielding. The mailbox has
// no bound of its own: whoever posts bounds what it has on its way.
func (l *Loop) Post(f func(*Loop)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed {
		return false
	}
	l.mail = append(l.mail, f)
	l.wakeLocked()
	return true
}

// tickSoon makes the next turn a tick.
func (l *Loop) tickSoon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.sealed {
		l.tickDue = true
		l.wakeLocked()
	}
}

// seal ends the mailbox; what is in it is still run.
func (l *Loop) seal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealed = true
}

// wakeLocked wakes the loop for a turn, with mu held: nothing may reach for
// gnet's loop when the mailbox is sealed, for its eventfd may be somebody
// else's file by then.
func (l *Loop) wakeLocked() {
	if l.gnet != nil {
		l.wake()
	}
}

// wake sees to it that a turn ends: gnet runs the task when it has served the
// sockets that are ready now. Called on the loop, or by wakeLocked.
func (l *Loop) wake() bool {
	if l.scheduled.Load() || !l.scheduled.CompareAndSwap(false, true) {
		return false
	}
	_ = l.gnet.Execute(context.Background(), l.runner)
	return true
}

// began is called at each socket event.
func (l *Loop) began() {
	if l.wake() {
		l.readClock()
	}
}

func (l *Loop) readClock() {
	now := time.Now()
	l.nowMs = now.UnixMilli()
	l.sinceMs = now.Sub(l.engine.started).Milliseconds()
}

// attach binds the loop to gnet's.
func (l *Loop) attach(g gnet.EventLoop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gnet = g
}

// turn is the end of a turn: mail, deadlines, Handler.Turn, then all output.
func (l *Loop) turn() {
	l.scheduled.Store(false)
	mail, tick := l.takeMail()
	l.readClock()
	l.stats.turns.Add(1)
	for i, f := range mail {
		mail[i] = nil
		l.callMail(f)
	}
	l.keepSpare(mail)
	if tick {
		l.tick()
	} else {
		l.checkBlocked(blockedPerTurn)
	}
	l.callTurn()
	l.flush()
}

func (l *Loop) tick() {
	l.wheel.advance(l.sinceMs, l.expire)
	l.checkBlocked(blockedPerTick)
	if l.sinceMs >= l.trimmedMs+trimMs {
		l.trimmedMs = l.sinceMs
		l.buffers.trim()
	}
}

func (l *Loop) takeMail() (mail []func(*Loop), tick bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mail, tick = l.mail, l.tickDue
	l.mail, l.tickDue = l.spare[:0], false
	l.spare = nil
	return mail, tick
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

// setUnsent notes that c has this much unsent output and returns the total of
// all connections.
func (l *Loop) setUnsent(c *Conn, unsent int) int64 {
	e := l.engine
	if c.blockedAt == 0 {
		if unsent == 0 {
			return 0
		}
		l.blocked = append(l.blocked, blockedConn{conn: c})
		c.blockedAt = uint32(len(l.blocked))
		e.blocked.Add(1)
	}
	b := &l.blocked[c.blockedAt-1]
	total := e.unsentBytes.Add(int64(unsent - b.unsent))
	b.unsent = unsent
	if unsent == 0 {
		last := l.blocked[len(l.blocked)-1]
		*b = last
		last.conn.blockedAt = c.blockedAt
		l.blocked[len(l.blocked)-1] = blockedConn{}
		l.blocked = l.blocked[:len(l.blocked)-1]
		c.blockedAt = 0
		e.blocked.Add(-1)
	}
	return total
}

// checkBlocked looks at so many of the blocked connections, in rotation: gnet
// writes unsent output by itself and does not say when it is done.
func (l *Loop) checkBlocked(n int) {
	for range min(n, len(l.blocked)) {
		if l.cursor--; l.cursor < 0 || l.cursor >= len(l.blocked) {
			l.cursor = len(l.blocked) - 1
		}
		if l.cursor < 0 {
			return
		}
		c := l.blocked[l.cursor].conn
		l.setUnsent(c, c.gc.OutboundBuffered())
		if c.blockedAt != 0 {
			continue
		}
		if c.state&closing != 0 {
			c.shutdown()
		} else {
			l.callDrained(c)
		}
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

// recovered contains a panic of the handler: gnet itself would let it end the
// process. The connection it was called for, if any, is closed.
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
