//go:build !linux || gnet

package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// Sockets says whose event loops these are.
const Sockets = "gnet"

const (
	gnetStaticBytes = 16 << 10 // unsent output beyond this goes to gnet's list
	blockedPollMs   = 10       // how often blocked connections are looked at while there are any
	blockedPerTurn  = 64       // how many of them at the end of an ordinary turn
	blockedPerTick  = 1024     // and at a tick
)

// sockets is what an engine has of this kind of loop.
type sockets struct {
	events    *events
	attaching sync.Mutex // guards poller.gnet as long as it is nil
}

// poller is what a loop has of it.
type poller struct {
	loop      *Loop
	runner    gnet.Runnable  // runs a turn
	blocked   []blockedConn  // connections with unsent output
	cursor    int            // which of them was looked at last
	gnet      gnet.EventLoop // set under Loop.mu, before which nothing but Post touches the loop
	scheduled atomic.Bool    // a turn is on its way
	tickDue   atomic.Bool
}

type blockedConn struct {
	conn   *Conn
	unsent int // as counted in the totals
}

// socket is what a connection has of it.
type socket struct {
	gnet      gnet.Conn
	blockedAt uint32 // place in poller.blocked plus 1; 0: not there
}

func (p *poller) init(l *Loop) {
	p.loop = l
	p.runner = gnet.RunnableFunc(func(context.Context) error { p.turn(); return nil })
}

func (p *poller) turn() {
	p.scheduled.Store(false)
	tick := p.tickDue.Swap(false)
	if tick {
		p.checkBlocked(blockedPerTick)
	} else {
		p.checkBlocked(blockedPerTurn)
	}
	p.loop.turn(tick)
}

// tickSoon makes the next turn a tick.
func (p *poller) tickSoon() {
	l := p.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.sealed {
		p.tickDue.Store(true)
		p.wake()
	}
}

// wake sees to it that a turn ends: gnet runs the task when it has served the
// sockets that are ready now. From anywhere, with Loop.mu held and the mailbox
// unsealed.
func (p *poller) wake() {
	if p.gnet != nil {
		p.schedule()
	}
}

func (p *poller) schedule() bool {
	if p.scheduled.Load() || !p.scheduled.CompareAndSwap(false, true) {
		return false
	}
	_ = p.gnet.Execute(context.Background(), p.runner)
	return true
}

// began is called at each socket event.
func (p *poller) began() {
	if p.schedule() {
		p.loop.readClock()
	}
}

// attach binds the loop to gnet's.
func (p *poller) attach(g gnet.EventLoop) {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	p.gnet = g
}

// listen checks that an address can be listened on, and finds its port if that
// is 0. gnet's listeners share their port with anybody's, so that only trying
// first shows that it is taken; and gnet cannot be given port 0, as each loop
// opens a listener of its own. Between the two somebody else may take the port.
func (e *Engine) listen(address string) (*net.TCPAddr, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return ln.Addr().(*net.TCPAddr), ln.Close()
}

// serve runs gnet until it ends.
func (e *Engine) serve() error {
	e.sockets.events = &events{engine: e}
	return gnet.Run(e.sockets.events, gnetAddress(e.addr), gnet.WithOptions(e.options()))
}

func gnetAddress(addr *net.TCPAddr) string {
	switch port := strconv.Itoa(addr.Port); {
	case addr.IP.To4() != nil:
		return "tcp4://" + net.JoinHostPort(addr.IP.String(), port)
	case addr.IP == nil || addr.IP.IsUnspecified():
		return "tcp://:" + port // gnet takes [::] for IPv6 alone, and no host for both
	default:
		return "tcp6://" + addr.String()
	}
}

func (e *Engine) stopLoops() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.sockets.events.gnet.Stop(now) // asks and does not wait: gnet would poll twice a second
}

// loopOf returns our loop for gnet's, and whether this is the first we see of
// it.
func (e *Engine) loopOf(g gnet.EventLoop) (l *Loop, fresh bool) {
	e.sockets.attaching.Lock()
	defer e.sockets.attaching.Unlock()
	for _, l := range e.loops {
		switch l.poller.gnet {
		case g:
			return l, false
		case nil:
			l.poller.attach(g)
			return l, true
		}
	}
	panic("engine: gnet has more loops than were asked for")
}

// events is what gnet calls.
type events struct {
	gnet.BuiltinEventEngine

	engine *Engine
	gnet   gnet.Engine
	booted bool // the loops are known; used by gnet's ticker alone
}

// anchor is the context of the connection that shows gnet's loop to ours.
type anchor struct{}

// options are gnet's. Its ReusePort mode is used always: the loop itself
// accepts, so that limits hold before the next connection is taken, and
// Register may be called without a race.
func (e *Engine) options() gnet.Options {
	return gnet.Options{
		NumEventLoop:   e.opts.Loops,
		LB:             gnet.RoundRobin,
		ReusePort:      true,
		ReuseAddr:      true,
		ReadBufferCap:  readBufferBytes,
		WriteBufferCap: gnetStaticBytes,
		Ticker:         true,
		Logger:         gnetLog{e.opts.Logger},
	}
}

func (v *events) OnBoot(g gnet.Engine) gnet.Action {
	v.gnet = g
	return gnet.None
}

// OnTick runs on a goroutine of gnet's, first when the loops have started.
func (v *events) OnTick() (time.Duration, gnet.Action) {
	e := v.engine
	if !v.booted {
		v.booted = true
		if err := v.boot(); err != nil {
			e.startErr = err
			return 0, gnet.Shutdown
		}
		close(e.ready)
	}
	for _, l := range e.loops {
		l.poller.tickSoon()
	}
	delayMs := e.opts.TickMs
	if e.blocked.Load() > 0 {
		delayMs = min(delayMs, blockedPollMs)
	}
	return time.Duration(delayMs) * time.Millisecond, gnet.None
}

// boot registers one connection to nobody with each loop, in turn: gnet shows
// a loop in no other way.
func (v *events) boot() error {
	for range v.engine.loops {
		c, err := pipe()
		if err != nil {
			return err
		}
		ctx := gnet.NewContext(gnet.NewNetConnContext(context.Background(), c), anchor{})
		registered, err := v.gnet.Register(ctx)
		if err != nil {
			_ = c.Close()
			return err
		}
		if r := <-registered; r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// pipe returns one end of a socket pair; the other is closed.
func pipe() (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	_ = unix.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "anchor")
	defer f.Close()
	return net.FileConn(f)
}

func (v *events) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	e := v.engine
	l, fresh := e.loopOf(gc.EventLoop())
	if fresh {
		l.turn(false)
	}
	if _, ok := gc.Context().(anchor); ok {
		gc.SetContext(nil)
		return nil, gnet.Close
	}
	l.poller.began()
	if !e.admit() {
		l.stats.rejected.Add(1)
		return nil, gnet.Close
	}
	c := l.conns.take()
	if c == nil {
		e.leave()
		l.stats.rejected.Add(1)
		return nil, gnet.Close
	}
	c.socket.gnet = gc
	c.state = opened
	gc.SetContext(c)
	l.stats.accepted.Add(1)
	l.count.Add(1)
	l.callOpen(c)
	return nil, gnet.None
}

func (v *events) OnTraffic(gc gnet.Conn) gnet.Action {
	in, _ := gc.Next(-1) // all of it, always: gnet's inbound buffer stays unused
	c, ok := gc.Context().(*Conn)
	if !ok {
		return gnet.None
	}
	l := c.loop
	l.poller.began()
	l.stats.reads.Add(1)
	l.stats.bytesIn.Add(uint64(len(in)))
	if c.state&closing == 0 {
		l.callData(c, in[:len(in):len(in)])
		poison(in)
	}
	return gnet.None
}

func (v *events) OnClose(gc gnet.Conn, err error) gnet.Action {
	if c, ok := gc.Context().(*Conn); ok {
		c.loop.poller.began()
		c.finish(err)
	}
	return gnet.None
}

// OnShutdown comes before gnet's loops end, whoever ended them.
func (v *events) OnShutdown(gnet.Engine) {
	for _, l := range v.engine.loops {
		l.seal()
	}
}

// gnetLog gives gnet's log lines to slog; what gnet finds informative is
// debugging to us.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) Debugf(format string, a ...any) { g.log.Debug("gnet: " + fmt.Sprintf(format, a...)) }
func (g gnetLog) Infof(format string, a ...any)  { g.log.Debug("gnet: " + fmt.Sprintf(format, a...)) }
func (g gnetLog) Warnf(format string, a ...any)  { g.log.Warn("gnet: " + fmt.Sprintf(format, a...)) }
func (g gnetLog) Errorf(format string, a ...any) { g.log.Error("gnet: " + fmt.Sprintf(format, a...)) }
func (g gnetLog) Fatalf(format string, a ...any) { g.log.Error("gnet: " + fmt.Sprintf(format, a...)) }

// Remote returns the peer's address, IPv4 as such even on an IPv6 socket.
func (c *Conn) Remote() netip.AddrPort {
	if c.socket.gnet == nil {
		return netip.AddrPort{}
	}
	tcp, ok := c.socket.gnet.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// send writes out, or as much as the socket takes; gnet keeps the rest. kept
// says that out itself was kept, alive that c still is.
func (c *Conn) send(out *[]byte) (kept, alive bool) {
	if _, err := c.socket.gnet.Write(*out); err != nil {
		return false, false // gnet has closed it and told us
	}
	if unsent := c.socket.gnet.OutboundBuffered(); unsent > 0 {
		c.setUnsent(unsent)
	}
	return false, true
}

func (c *Conn) unsentBytes() int {
	if c.socket.blockedAt == 0 {
		return 0
	}
	return c.socket.gnet.OutboundBuffered()
}

// setUnsent notes that c has this much unsent output.
func (c *Conn) setUnsent(n int) {
	p, e := &c.loop.poller, c.loop.engine
	if c.socket.blockedAt == 0 {
		if n == 0 {
			return
		}
		p.blocked = append(p.blocked, blockedConn{conn: c})
		c.socket.blockedAt = uint32(len(p.blocked))
		e.blocked.Add(1)
	}
	b := &p.blocked[c.socket.blockedAt-1]
	e.unsentBytes.Add(int64(n - b.unsent))
	b.unsent = n
	if n == 0 {
		last := p.blocked[len(p.blocked)-1]
		*b = last
		last.conn.socket.blockedAt = c.socket.blockedAt
		p.blocked[len(p.blocked)-1] = blockedConn{}
		p.blocked = p.blocked[:len(p.blocked)-1]
		c.socket.blockedAt = 0
		e.blocked.Add(-1)
	}
}

func (c *Conn) dropUnsent() { c.setUnsent(0) }

// checkBlocked looks at so many of the blocked connections, in rotation: gnet
// writes unsent output by itself and does not say when it is done.
func (p *poller) checkBlocked(n int) {
	for range min(n, len(p.blocked)) {
		if p.cursor--; p.cursor < 0 || p.cursor >= len(p.blocked) {
			p.cursor = len(p.blocked) - 1
		}
		if p.cursor < 0 {
			return
		}
		c := p.blocked[p.cursor].conn
		c.setUnsent(c.socket.gnet.OutboundBuffered())
		if c.socket.blockedAt == 0 {
			p.loop.drained(c)
		}
	}
}

// sendLast writes what the socket takes of p now.
func (c *Conn) sendLast(p []byte) { _, _ = c.socket.gnet.Write(p) }

func (c *Conn) shutdownWrite() error { return unix.Shutdown(c.socket.gnet.Fd(), unix.SHUT_WR) }

func (c *Conn) resetOnClose() { _ = c.socket.gnet.SetLinger(0) }

// closeSocket makes gnet close c, which then calls finish.
func (c *Conn) closeSocket() { _ = c.loop.poller.gnet.Close(c.socket.gnet) }
