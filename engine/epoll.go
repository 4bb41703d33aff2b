//go:build linux && !gnet

package engine

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
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

	file     *os.File           // the epoll's, which it owns
	ready    syscall.RawConn    // of the file, where the runtime waits for events
	lookOnce func(uintptr) bool // looks for it; what it found is in
	found    int
	fault    error

	loop     *Loop
	events   []unix.EpollEvent
	in       []byte             // what Data is lent
	unsent   map[uint32]*unsent // by slot; of the few whose socket is full
	taken    int                // bytes taken in since the last turn
	rested   time.Time          // the last rest's end
	more     bool               // events may be left that the last turn had no room for
	nextMs   int64              // the next tick, as sinceMs
	wakeMs   int64              // the tick at which a wait ends by itself
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
	if p.loop.engine.opts.TurnEvery == 0 { // else the runtime is not to hear of it
		err = unix.SetNonblock(p.epoll, true)
	}
	p.file = os.NewFile(uintptr(p.epoll), "epoll")
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if p.ready, err = p.file.SyscallConn(); err != nil {
		return err
	}
	p.lookOnce = func(uintptr) bool {
		p.found, p.fault = p.look()
		return p.found > 0 || p.fault != nil
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
	for _, fd := range []int{p.listener, p.eventfd} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if p.file != nil {
		p.file.Close()
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
		err = e.runLoops()
	}
	for _, l := range e.loops {
		l.seal() // before its descriptors are closed: nobody wakes it any more
		l.poller.close()
	}
	return err
}

func (e *Engine) runLoops() (err error) {
	var common []int
	if e.opts.OwnDescriptors {
		if common, err = e.common(); err != nil {
			return err
		}
	}
	begun, ended := make([]error, len(e.loops)), make([]error, len(e.loops))
	var beginning sync.WaitGroup
	beginning.Add(len(e.loops))
	for i, l := range e.loops {
		p := &l.poller
		life := func() {
			l.turn(false)
			beginning.Done()
			if begun[i] == nil {
				ended[i] = p.run()
			}
		}
		if !e.opts.OwnDescriptors {
			e.sockets.running.Go(life)
			continue
		}
		e.sockets.running.Go(func() {
			onOwnThread(func() {
				begun[i] = ownTable(append(slices.Clone(common), p.epoll, p.listener))
				life()
				unix.Close(p.listener) // the thread ends a little later, and with it the rest
			})
		})
	}
	beginning.Wait()
	if err = errors.Join(begun...); err != nil {
		e.stopLoops()
	} else {
		close(e.ready)
	}
	e.sockets.running.Wait()
	return errors.Join(err, errors.Join(ended...))
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
func (p *poller) run() (err error) {
	l := p.loop
	p.nextMs = int64(l.engine.opts.TickMs)
	for !p.ending.Load() {
		var n int
		if n, err = p.wait(); err != nil {
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
// hearing of it: a busy loop always finds some, and keeps its processor. With none
// it is the runtime that waits, for the epoll as for any file: a goroutine that
// waits in a system call has the runtime's monitor awake, which looks every 20 µs
// for a processor to take away.
func (p *poller) wait() (n int, err error) {
	if p.loop.engine.opts.TurnEvery > 0 {
		return p.rest()
	}
	if n, err = p.look(); n > 0 || err != nil {
		return n, err
	}
	runtime.Gosched() // who waits for this processor goes first
	p.sleeping.Store(true)
	defer p.sleeping.Store(false)
	if !p.maySleep() {
		return p.look()
	}
	if p.wakeMs != p.nextMs {
		p.wakeMs = p.nextMs
		p.file.SetReadDeadline(p.loop.engine.started.Add(time.Duration(p.nextMs) * time.Millisecond))
	}
	p.found, p.fault = 0, nil
	if err := p.ready.Read(p.lookOnce); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, err
	}
	return p.found, p.fault
}

// rest returns the events that there are once the next turn may begin. Nobody
// wakes a loop that rests.
func (p *poller) rest() (n int, err error) {
	if !p.more {
		time.Sleep(p.loop.engine.opts.TurnEvery - time.Since(p.rested))
		p.rested = time.Now()
	}
	n, err = p.look()
	p.more = n == eventsPerTurn
	return n, err
}

// look returns the events that there are now.
func (p *poller) look() (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events[0])), eventsPerTurn, 0, 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return 0, os.NewSyscallError("epoll_wait", errno)
	}
	if errno != 0 {
		return 0, nil
	}
	return int(n), nil
}

// maySleep reports whether a loop that has said that it sleeps may do so: not if
// mail came before it said so.
func (p *poller) maySleep() bool {
	l := p.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mail) == 0 && !p.ending.Load()
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
