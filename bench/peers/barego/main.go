// The limit for Go: a bare WebSocket echo on epoll. One loop, a slab without
// pointers, indexed by descriptor, one read and one write per readiness.
package main

import (
	"fmt"
	"runtime"
	"syscall"

	"github.com/rookery-chat/rookery/bench/peers/peer"
)

const (
	events    = 1024
	readBytes = 256 << 10
)

// conn is all that an idle connection takes here.
type conn struct {
	up   bool  // the handshake is done
	rest int32 // index of what has not come whole, in rests; 0 is nothing
}

type loop struct {
	ep, listener int
	conns        []conn // by descriptor
	rests        [][]byte
	free         []int32
	in, out      []byte
}

func main() {
	// two: a scheduler slot beside the loop's, so that the runtime takes nothing
	//   from the loop when it waits; its default is one slot on one processor.
	p := peer.Start("two", "one")
	if p.Variant == "two" {
		runtime.GOMAXPROCS(2)
	}
	l := &loop{rests: make([][]byte, 1), in: make([]byte, readBytes)}
	l.open(p.Address())
	p.Ready(l.address())
	l.run()
}

func (l *loop) open(address string) {
	var a [4]byte
	var port int
	_, err := fmt.Sscanf(address, "%d.%d.%d.%d:%d", &a[0], &a[1], &a[2], &a[3], &port)
	peer.Check(err)
	l.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	peer.Check(err)
	peer.Check(syscall.SetsockoptInt(l.listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	peer.Check(syscall.Bind(l.listener, &syscall.SockaddrInet4{Addr: a, Port: port}))
	peer.Check(syscall.Listen(l.listener, 4096))
	l.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	peer.Check(err)
	l.watch(l.listener)
}

func (l *loop) address() string {
	at, err := syscall.Getsockname(l.listener)
	peer.Check(err)
	in := at.(*syscall.SockaddrInet4)
	return fmt.Sprintf("%d.%d.%d.%d:%d", in.Addr[0], in.Addr[1], in.Addr[2], in.Addr[3], in.Port)
}

func (l *loop) watch(fd int) {
	peer.Check(syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Fd: int32(fd), Events: syscall.EPOLLIN}))
}

func (l *loop) run() {
	ready := make([]syscall.EpollEvent, events)
	for {
		// Only the call that waits tells the scheduler: the others end at once,
		// and would pay for being taken off and put back.
		n := epollWait(l.ep, ready, 0, syscall.RawSyscall6)
		if n <= 0 {
			n = epollWait(l.ep, ready, -1, syscall.Syscall6)
		}
		for i := range max(n, 0) {
			if fd := int(ready[i].Fd); fd == l.listener {
				l.accept()
			} else {
				l.serve(fd)
			}
		}
	}
}

func (l *loop) accept() {
	for {
		fd, _, err := syscall.Accept4(l.listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		for len(l.conns) <= fd {
			l.conns = append(l.conns, conn{})
		}
		l.conns[fd] = conn{}
		l.watch(fd)
	}
}

// serve reads once, behind what had not come whole, and writes once.
func (l *loop) serve(fd int) {
	c := &l.conns[fd]
	kept := 0
	if c.rest != 0 {
		kept = copy(l.in, l.rests[c.rest])
	}
	n, e := transfer(syscall.SYS_READ, fd, l.in[kept:])
	if e == syscall.EAGAIN {
		return
	}
	if e != 0 || n == 0 {
		l.drop(fd)
		return
	}
	in, ok := l.in[:kept+n], true
	l.out = l.out[:0]
	if !c.up {
		in, ok = l.handshake(c, in)
	}
	if c.up {
		in, ok = l.frames(in)
	}
	if !l.write(fd) || !ok || len(in) == len(l.in) {
		l.drop(fd)
		return
	}
	l.keep(c, in)
}

// write waits for a full socket buffer: the load never has that much in flight.
func (l *loop) write(fd int) bool {
	for b := l.out; len(b) > 0; {
		n, e := transfer(syscall.SYS_WRITE, fd, b)
		switch {
		case e == syscall.EAGAIN:
			runtime.Gosched()
		case e != 0:
			return false
		}
		b = b[n:]
	}
	return true
}

// keep remembers what has not come whole.
func (l *loop) keep(c *conn, rest []byte) {
	if len(rest) == 0 {
		if c.rest != 0 {
			l.free = append(l.free, c.rest)
			c.rest = 0
		}
		return
	}
	if c.rest == 0 {
		if n := len(l.free); n > 0 {
			c.rest, l.free = l.free[n-1], l.free[:n-1]
		} else {
			c.rest, l.rests = int32(len(l.rests)), append(l.rests, nil)
		}
	}
	l.rests[c.rest] = append(l.rests[c.rest][:0], rest...)
}

func (l *loop) drop(fd int) {
	l.keep(&l.conns[fd], nil)
	syscall.Close(fd)
}
