//go:build linux && !gnet

package engine

import (
	"io"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is what a connection has of it.
type socket struct {
	fd     int32
	behind bool // it has unsent output, which the poller keeps
}

// unsent is output that a full socket has not taken.
type unsent struct {
	buffer *[]byte
	taken  int
}

func (q *unsent) bytes() []byte { return (*q.buffer)[q.taken:] }

// read lends the handler what has come, in one system call.
func (c *Conn) read() {
	l := c.loop
	in := l.poller.in
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.socket.fd), uintptr(unsafe.Pointer(&in[0])), uintptr(len(in)), 0, 0, 0)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		c.end(os.NewSyscallError("read", errno))
		return
	case n == 0:
		c.end(io.EOF)
		return
	}
	l.poller.taken += int(n)
	l.stats.reads.Add(1)
	l.stats.bytesIn.Add(uint64(n))
	if c.state&closing == 0 {
		l.callData(c, in[:n:n])
		poison(in[:n])
	}
}

// Remote returns the peer's address, IPv4 as such even on an IPv6 socket.
func (c *Conn) Remote() netip.AddrPort {
	sa, err := unix.Getpeername(int(c.socket.fd))
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// put gives bytes to the socket, and returns how many it took.
func (c *Conn) put(p []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.socket.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	switch errno {
	case 0:
		return int(n), 0
	case unix.EAGAIN, unix.EINTR:
		return 0, 0
	}
	return 0, errno
}

// send writes out, or as much as the socket takes, and keeps the rest until
// it takes more. kept says that out itself was kept, alive that c still is.
func (c *Conn) send(out *[]byte) (kept, alive bool) {
	if q := c.unsent(); q != nil {
		if q.taken > len(*q.buffer)/2 {
			*q.buffer = (*q.buffer)[:copy(*q.buffer, q.bytes())]
			q.taken = 0
		}
		*q.buffer = append(*q.buffer, *out...)
		c.loop.engine.unsentBytes.Add(int64(len(*out)))
		return false, true
	}
	n, errno := c.put(*out)
	if errno != 0 {
		c.end(os.NewSyscallError("write", errno))
		return false, false
	}
	if n == len(*out) {
		return false, true
	}
	c.socket.behind, c.loop.poller.unsent[c.slot] = true, &unsent{buffer: out, taken: n}
	e := c.loop.engine
	e.blocked.Add(1)
	e.unsentBytes.Add(int64(len(*out) - n))
	if err := c.await(unix.EPOLLIN | unix.EPOLLOUT); err != nil {
		c.end(err)
		return true, false
	}
	return true, true
}

// drain writes unsent output when the socket takes some again.
func (c *Conn) drain() {
	q := c.unsent()
	if q == nil {
		return
	}
	n, errno := c.put(q.bytes())
	if errno != 0 {
		c.end(os.NewSyscallError("write", errno))
		return
	}
	q.taken += n
	c.loop.engine.unsentBytes.Add(-int64(n))
	if len(q.bytes()) > 0 {
		return
	}
	c.dropUnsent()
	if err := c.await(unix.EPOLLIN); err != nil {
		c.end(err)
		return
	}
	c.loop.drained(c)
}

func (c *Conn) await(events uint32) error {
	return c.loop.poller.watch(unix.EPOLL_CTL_MOD, int(c.socket.fd), events, int32(c.slot))
}

// unsent is nil when there is nothing.
func (c *Conn) unsent() *unsent {
	if !c.socket.behind {
		return nil
	}
	return c.loop.poller.unsent[c.slot]
}

func (c *Conn) unsentBytes() int {
	if q := c.unsent(); q != nil {
		return len(q.bytes())
	}
	return 0
}

func (c *Conn) dropUnsent() {
	if q := c.unsent(); q != nil {
		e := c.loop.engine
		e.blocked.Add(-1)
		e.unsentBytes.Add(-int64(len(q.bytes())))
		c.loop.buffers.put(q.buffer)
		delete(c.loop.poller.unsent, c.slot)
		c.socket.behind = false
	}
}

// sendLast writes what the socket takes of p now.
func (c *Conn) sendLast(p []byte) { _, _ = c.put(p) }

func (c *Conn) shutdownWrite() error { return unix.Shutdown(int(c.socket.fd), unix.SHUT_WR) }

func (c *Conn) resetOnClose() {
	_ = unix.SetsockoptLinger(int(c.socket.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// closeSocket ends c for the reason that the loop has.
func (c *Conn) closeSocket() { c.end(nil) }

// end is the end of c; err is the socket's.
func (c *Conn) end(err error) {
	fd := int(c.socket.fd)
	c.finish(err)
	unix.Close(fd)
}
