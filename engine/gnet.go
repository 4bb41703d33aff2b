package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

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
		l.tickSoon()
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
		l.turn()
	}
	if _, ok := gc.Context().(anchor); ok {
		gc.SetContext(nil)
		return nil, gnet.Close
	}
	l.began()
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
	c.gc = gc
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
	l.began()
	l.stats.reads.Add(1)
	l.stats.bytesIn.Add(uint64(len(in)))
	if c.state&closing == 0 {
		l.callData(c, in[:len(in):len(in)])
		poison(in)
	}
	return gnet.None
}

func (v *events) OnClose(gc gnet.Conn, err error) gnet.Action {
	c, ok := gc.Context().(*Conn)
	if !ok {
		return gnet.None
	}
	l := c.loop
	l.began()
	l.stats.closed.Add(1)
	l.count.Add(-1)
	c.finish(err)
	v.engine.leave()
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
