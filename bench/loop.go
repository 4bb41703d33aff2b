package bench

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	waitEvents = 1024
	readBytes  = 256 << 10

	edge = 1 << 31 // EPOLLET, which package unix has as a negative number
)

// loop is the load side's event loop: all sockets of a load in one goroutine,
// so that the load costs little and the server's figures stand out.
type loop struct {
	ep, timer int
	file      *os.File           // the epoll's, which it owns
	ready     syscall.RawConn    // of the file, where the runtime waits for events
	lookOnce  func(uintptr) bool // looks for it; what it found is in
	found     int
	fault     error

	events []unix.EpollEvent
	conns  []*conn // by descriptor
	buf    []byte
	out    []byte // what is about to be written
	nowNs  int64  // of the machine's monotonic clock, refreshed after each wait
	base   time.Time
	baseNs int64                   // what the clock showed at base
	lost   func(*conn, error) bool // is told of a connection that ended; true: it is no fault of the load
	failed error                   // the first fault of a connection
	open   int
}

func newLoop() (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("bench: epoll: %w", err)
	}
	l := &loop{ep: ep, events: make([]unix.EpollEvent, waitEvents), buf: make([]byte, readBytes)}
	if err := l.arm(); err != nil {
		l.close()
		return nil, fmt.Errorf("bench: epoll: %w", err)
	}
	l.base, l.baseNs = monotonic()
	l.clock()
	return l, nil
}

// arm makes what wait needs.
func (l *loop) arm() (err error) {
	err = unix.SetNonblock(l.ep, true) // or the runtime would not wait for it
	l.file, l.timer = os.NewFile(uintptr(l.ep), "epoll"), -1
	if err != nil {
		return err
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	if l.ready, err = l.file.SyscallConn(); err != nil {
		return err
	}
	l.lookOnce = func(uintptr) bool {
		l.found, l.fault = l.look()
		return l.found > 0 || l.fault != nil
	}
	l.conns = make([]*conn, l.timer+1)
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, l.timer, &unix.EpollEvent{Fd: int32(l.timer), Events: unix.EPOLLIN | edge})
}

// monotonic reads the clock that all processes of a machine share, and the same
// moment as a time. It reads both some times, as another thread may have had the
// processor in between, and keeps those that are closest together.
func monotonic() (at time.Time, ns int64) {
	closest := time.Duration(1<<63 - 1)
	for range 8 {
		var ts unix.Timespec
		before := time.Now()
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
		if took := time.Since(before); took < closest {
			closest, at, ns = took, before.Add(took/2), ts.Nano()
		}
	}
	return at, ns
}

// shift makes the loop's clock show what that of another machine does.
func (l *loop) shift(ns int64) {
	l.baseNs += ns
	l.clock()
}

func (l *loop) close() {
	for _, c := range l.conns {
		if c != nil {
			unix.Close(c.fd)
		}
	}
	unix.Close(l.timer)
	l.file.Close()
}

// clock refreshes and returns the time of the loop, in ns of the clock that all
// processes of a load share.
func (l *loop) clock() int64 {
	l.nowNs = l.baseNs + int64(time.Since(l.base))
	return l.nowNs
}

// wall is a time of the loop as wall-clock time.
func (l *loop) wall(ns int64) time.Time { return l.base.Add(time.Duration(ns - l.baseNs)) }

// source is where the i-th session of a load comes from, where its server is on
// this machine: one address of the loopback range has 28,000 ports.
func source(i int) netip.Addr {
	block := i / dialsPerAddr
	return netip.AddrFrom4([4]byte{127, 0, byte(block / 250), byte(2 + block%250)})
}

// dial begins a connection, on the loopback from the session's source address.
func (l *loop) dial(to netip.AddrPort, c *conn) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bench: socket: %w", err)
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if from := source(int(c.index)); to.Addr().IsLoopback() {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
			unix.Close(fd)
			return fmt.Errorf("bench: bind %v: %w", from, err)
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return fmt.Errorf("bench: connect: %w", err)
	}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	c.fd, c.loop = fd, l
	l.conns[fd] = c
	l.open++
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd), Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP})
}

// want tells epoll what a connection waits for.
func (l *loop) want(c *conn, write, read bool) {
	var ev uint32
	if read {
		ev |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if write {
		ev |= unix.EPOLLOUT
	}
	unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Fd: int32(c.fd), Events: ev})
}

// poll serves the sockets that are ready, waiting for some until a time of the
// loop at most.
func (l *loop) poll(untilNs int64) error {
	wait := max(untilNs-l.clock(), 0)
	n, err := l.wait(wait)
	if err != nil {
		return fmt.Errorf("bench: epoll: %w", err)
	}
	l.clock()
	for _, ev := range l.events[:n] {
		if c := l.conns[ev.Fd]; c != nil {
			c.ready(ev.Events)
		}
	}
	return l.failed
}

// wait returns how many events there are, waiting ns for some at most. It looks
// first, which tells the scheduler of Go nothing. With none the runtime waits for
// the epoll, as it does for any file, and for a timer in it that keeps the ns: a
// schedule in ms would blur what is measured, and a goroutine that waits in a system
// call keeps the runtime's monitor at work, on the account of the load.
func (l *loop) wait(ns int64) (int, error) {
	if n, err := l.look(); n > 0 || err != nil || ns <= 0 {
		return n, err
	}
	if err := unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(ns)}, nil); err != nil {
		return 0, err
	}
	l.found, l.fault = 0, nil
	if err := l.ready.Read(l.lookOnce); err != nil {
		return 0, err
	}
	return l.found, l.fault
}

// rest sleeps until a time of the loop and hears of no socket meanwhile, and nor
// does the runtime.
func (l *loop) rest(untilNs int64) {
	for l.clock() < untilNs { // a signal of the runtime's ends a sleep
		ts := unix.NsecToTimespec(untilNs - l.nowNs)
		unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	}
}

// look returns the events that there are now.
func (l *loop) look() (int, error) {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), 0, 0, 0)
	if e == unix.EINTR {
		return 0, nil
	}
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// transfer reads from a socket that does not block, or writes to it, without
// telling the scheduler: it would take the processor away and give it back for
// every call, on the account of the load.
func transfer(call uintptr, fd int, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, _, e := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// drop closes a connection that ended.
func (l *loop) drop(c *conn, err error) {
	if c.fd < 0 {
		return
	}
	l.forget(c)
	if err != nil && (l.lost == nil || !l.lost(c, err)) && l.failed == nil {
		l.failed = fmt.Errorf("bench: connection of %s: %w", c.user, err)
	}
}

// cut ends a connection abruptly: a reset, which leaves no port waiting.
func (l *loop) cut(c *conn) {
	if c.fd < 0 {
		return
	}
	unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	l.forget(c)
}

func (l *loop) forget(c *conn) {
	unix.Close(c.fd)
	l.conns[c.fd] = nil
	c.fd = -1
	l.open--
}
