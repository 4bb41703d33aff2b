//go:build linux && !gnet

package engine

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockets says whose event loops these are.
const Sockets = "epoll"

const (
	// A turn serves so many sockets, and takes in so many bytes or one read more,
	// before output is written: what it touches stays in the caches.
	eventsPerTurn  = 128
	bytesPerTurn   = 32 << 10
	acceptsPerTurn = 64

	// What an event is of that is no connection's, in place of a slot.
	wakeEvent   = -1
	listenEvent = -2
)

// sockets is what an engine has of this kind of loop.
type sockets struct {
	running sync.WaitGroup
}

// poller is what a loop has of it.
type poller struct {
	epoll, eventfd, listener int // descriptors; -1: none

	loop     *Loop
	events   []unix.EpollEvent
	in       []byte             // what Data is lent
	unsent   map[uint32]*unsent // by slot; of the few whose socket is full
	taken    int                // bytes taken in since the last turn
	nextMs   int64              // the next tick, as sinceMs
	paused   bool               // nothing was left to accept with: until the next tick
	starved  bool               // and that was said, until a connection was accepted again
	sleeping atomic.Bool        // waiting, or about to, with nobody on the way to wake it
	ending   atomic.Bool
}

func (p *poller) init(l *Loop) {
	p.loop = l
	p.unsent = map[uint32]*unsent{}
	p.epoll, p.eventfd, p.listener = -1, -1, -1
}

// open makes the loop's descriptors. Its listener may be there already.
func (p *poller) open() (err error) {
	p.events, p.in = make([]unix.EpollEvent, eventsPerTurn), make([]byte, readBufferBytes)
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if p.eventfd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if p.listener < 0 {
		if p.listener, err = listenBeside(p.loop.engine.addr); err != nil {
			return err
		}
	}
	if err = p.watch(unix.EPOLL_CTL_ADD, p.eventfd, unix.EPOLLIN, wakeEvent); err != nil {
		return err
	}
	return p.watch(unix.EPOLL_CTL_ADD, p.listener, unix.EPOLLIN, listenEvent)
}

func (p *poller) close() {
	for _, fd := range []int{p.listener, p.eventfd, p.epoll} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// listen opens the first loop's listener. Each loop has one of its own, and the
// kernel spreads connections over those that share a port. This one begins alone:
// so a port that somebody has is refused, and nobody who asks for a free port gets
// ours.
func (e *Engine) listen(address string) (*net.TCPAddr, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	fd, err := detach(ln)
	if err != nil {
		return nil, err
	}
	if err := share(fd); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	e.loops[0].poller.listener = fd
	return ln.Addr().(*net.TCPAddr), nil
}

// listenBeside opens a listener at an address that ours has.
func listenBeside(addr *net.TCPAddr) (fd int, err error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) { refused = share(int(fd)) })
		return errors.Join(err, refused)
	}}
	ln, err := config.Listen(context.Background(), "tcp", addr.String())
	if err != nil {
		return -1, err
	}
	return detach(ln)
}

func share(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }

// detach takes a listener from the Go runtime.
func detach(ln net.Listener) (fd int, err error) {
	defer ln.Close()
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return -1, err
	}
	var refused error
	err = raw.Control(func(own uintptr) { fd, refused = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, refused)
}

// watch tells epoll what to wait for at a descriptor, and how to name it: by its
// connection's slot, or as what it is else.
func (p *poller) watch(op, fd int, events uint32, name int32) error {
	ev := unix.EpollEvent{Events: events, Fd: name}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, op, fd, &ev))
}

// serve runs the loops until they end.
func (e *Engine) serve() (err error) {
	for _, l := range e.loops {
		err = errors.Join(err, l.poller.open())
	}
	if err == nil {
		faults := make([]error, len(e.loops))
		var began sync.WaitGroup
		began.Add(len(e.loops))
		for i, l := range e.loops {
			e.sockets.running.Go(func() { faults[i] = l.poller.run(began.Done) })
		}
		began.Wait()
		close(e.ready)
		e.sockets.running.Wait()
		err = errors.Join(faults...)
	}
	for _, l := range e.loops {
		l.seal() // before its descriptors are closed: nobody wakes it any more
		l.poller.close()
	}
	return err
}

// stopLoops makes the loops end; their mailboxes are sealed.
func (e *Engine) stopLoops() {
	for _, l := range e.loops {
		l.poller.ending.Store(true)
		l.mu.Lock()
		l.poller.wake()
		l.mu.Unlock()
	}
}

// run is the loop's life.
func (p *poller) run(began func()) (err error) {
	l := p.loop
	l.turn(false)
	began()
	p.nextMs = int64(l.engine.opts.TickMs)
	for !p.ending.Load() {
		n, errno := p.wait()
		if errno != 0 {
			err = os.NewSyscallError("epoll_wait", errno)
			p.loop.engine.stopLoops()
			break
		}
		l.readClock()
		for i := range p.events[:n] {
			if p.taken >= bytesPerTurn {
				p.taken = 0
				l.turn(false)
			}
			p.serve(&p.events[i])
		}
		tick := l.sinceMs >= p.nextMs
		if tick {
			p.nextMs = l.sinceMs + int64(l.engine.opts.TickMs)
			p.resume()
		}
		p.taken = 0
		l.turn(tick)
	}
	l.seal()
	l.turn(false) // the last mail
	l.Each(func(c *Conn) { c.abort(err) })
	return err
}

// wait returns how many events there are. It looks first, without the runtime
// hearing of it: a busy loop always finds some, and keeps its processor.
func (p *poller) wait() (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events[0])), eventsPerTurn, 0, 0, 0)
	if errno != 0 || n > 0 {
		return outcome(n, errno)
	}
	runtime.Gosched() // whoever waits for this processor need not wait for the monitor to take it
	p.sleeping.Store(true)
	defer p.sleeping.Store(false)
	ms := p.sleepMs()
	n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events[0])), eventsPerTurn, uintptr(ms), 0, 0)
	return outcome(n, errno)
}

func outcome(n uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno == unix.EINTR {
		return 0, 0
	}
	return int(n), errno
}

// sleepMs is how long a loop that has said that it sleeps may do so: not at
// all if mail came before it said so.
func (p *poller) sleepMs() int64 {
	l := p.loop
	l.mu.Lock()
	waiting := len(l.mail) > 0
	l.mu.Unlock()
	if waiting || p.ending.Load() {
		return 0
	}
	return max(p.nextMs-time.Since(l.engine.started).Milliseconds(), 0)
}

// wake ends a wait. From anywhere, with Loop.mu held and the mailbox unsealed.
func (p *poller) wake() {
	if p.sleeping.Load() && p.sleeping.CompareAndSwap(true, false) {
		one := [8]byte{1}
		unix.RawSyscall(unix.SYS_WRITE, uintptr(p.eventfd), uintptr(unsafe.Pointer(&one)), 8)
	}
}

func (p *poller) serve(ev *unix.EpollEvent) {
	switch ev.Fd {
	case listenEvent:
		p.accept()
		return
	case wakeEvent:
		var count [8]byte
		unix.RawSyscall(unix.SYS_READ, uintptr(p.eventfd), uintptr(unsafe.Pointer(&count)), 8)
		return
	}
	c := p.loop.conns.At(uint32(ev.Fd))
	if !c.live() {
		return // it ended earlier in this turn; another one in its slot would find nothing to do
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		c.drain()
	}
	if ev.Events&^uint32(unix.EPOLLOUT) != 0 && c.live() {
		c.read()
	}
}

// accept takes in connections that wait.
func (p *poller) accept() {
	l := p.loop
	for range acceptsPerTurn {
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(p.listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			p.starved = false
			p.admit(int(fd))
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			if !p.starved {
				l.engine.opts.Logger.Error("engine: connections wait for want of descriptors or memory", "error", errno, "loop", l.index)
			}
			p.starved = true
			p.paused = p.watch(unix.EPOLL_CTL_MOD, p.listener, 0, listenEvent) == nil
			return
		}
	}
}

// resume accepts again.
func (p *poller) resume() {
	if p.paused {
		p.paused = p.watch(unix.EPOLL_CTL_MOD, p.listener, unix.EPOLLIN, listenEvent) != nil
	}
}

func (p *poller) admit(fd int) {
	l := p.loop
	if !l.engine.admit() {
		l.stats.rejected.Add(1)
		unix.Close(fd)
		return
	}
	c := l.conns.take()
	if c == nil || p.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, int32(c.slot)) != nil {
		if c != nil {
			l.conns.put(c)
		}
		l.engine.leave()
		l.stats.rejected.Add(1)
		unix.Close(fd)
		return
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	c.socket.fd = int32(fd)
	c.state = opened
	l.stats.accepted.Add(1)
	l.count.Add(1)
	l.callOpen(c)
}
