package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

// conn is one session of the load: the protocol and what is measured, nothing
// that an SDK would add.
type conn struct {
	// set once
	loop   *loop
	run    *run
	user   string
	device string
	index  int32           // among all sessions of the load
	take   func(in []byte) // takes what follows the handshake, where there is no session

	fd      int
	reader  frame.Reader
	head    []byte // of the handshake's answer, until it is whole
	out     []byte // not written yet
	up      bool   // the handshake is done
	ready_  bool   // welcomed
	live    bool   // caught up
	frozen  bool   // reads nothing
	beganNs int64  // when its connection was due, or its dial

	node   chat.Node
	ticks  uint64 // of the newest id
	n      uint64 // of the newest send
	acked  uint64 // sends acknowledged
	mine   chat.Position
	marked chat.Position
	got    uint32 // messages since the last mark
	sent   []stamp
}

// stamp is when sends up to n were due.
type stamp struct {
	n     uint64
	dueNs int64
}

var readLimits = frame.Limits{Client: true, MessageBytes: 4 << 20}

// greeting is the upgrade request, with hello right behind it but for a bare
// server, which knows no packets.
func (c *conn) greeting(token string, resume int64) []byte {
	b := fmt.Appendf(nil, "GET /ws/%s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\nAuthorization: Bearer %s\r\n\r\n", c.user, packet.Subprotocol, token)
	if c.run.bare {
		return b
	}
	hello := packet.Hello{Version: packet.Version, Device: c.device, Seq: uint16(c.index), Resume: resume}
	return frame.AppendMasked(b, frame.OpBinary, hello.AppendTo(nil), c.run.mask)
}

// anew forgets the session's connection: what comes next is another one.
func (c *conn) anew(greeting []byte) {
	c.reader.Release()
	c.reader, c.head, c.out = frame.Reader{}, nil, greeting
	c.up, c.ready_, c.live = false, false, false
	c.n, c.acked, c.sent = 0, 0, nil
}

// ready serves what epoll says.
func (c *conn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.flush()
	}
	if c.fd >= 0 && events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 && !c.frozen {
		c.read()
	}
}

// flush writes what is queued, and waits for the socket if it does not take all.
func (c *conn) flush() {
	if c.fd < 0 {
		return
	}
	if len(c.out) > 0 {
		n, err := transfer(unix.SYS_WRITE, c.fd, c.out)
		switch {
		case err == unix.EAGAIN || err == unix.ENOTCONN:
			n = 0
		case err != nil:
			c.loop.drop(c, err)
			return
		}
		if c.out = append(c.out[:0], c.out[n:]...); len(c.out) == 0 {
			c.out = nil // the greeting is long, and there are a million
		}
	}
	c.loop.want(c, len(c.out) > 0, !c.frozen)
}

// write writes a message at once unless something waits already.
func (c *conn) write(packets []byte) {
	c.loop.out = frame.AppendMasked(c.loop.out[:0], frame.OpBinary, packets, c.run.mask)
	c.push(c.loop.out)
}

// push writes out behind what waits for the socket, and keeps what that does not
// take. Connections build out where all do, which stays in the caches.
func (c *conn) push(out []byte) {
	if c.fd < 0 || len(c.out) > 0 {
		c.out = append(c.out, out...)
		return
	}
	n, err := transfer(unix.SYS_WRITE, c.fd, out)
	if err == unix.EAGAIN {
		n, err = 0, nil
	}
	if err != nil {
		c.loop.drop(c, err)
		return
	}
	if n < len(out) {
		c.out = append(c.out, out[n:]...)
		c.loop.want(c, true, !c.frozen)
	}
}

func (c *conn) read() {
	n, err := transfer(unix.SYS_READ, c.fd, c.loop.buf)
	switch {
	case err == unix.EAGAIN:
		return
	case err != nil:
		c.loop.drop(c, err)
		return
	case n == 0:
		c.loop.drop(c, io.EOF)
		return
	}
	in := c.loop.buf[:n]
	if !c.up {
		if in = c.answer(in); in == nil {
			return
		}
	}
	if c.take != nil {
		c.take(in)
		return
	}
	for {
		n, ev, ok, err := c.reader.Next(in, &readLimits)
		in = in[n:]
		if err != nil {
			c.loop.drop(c, err)
			return
		}
		if !ok {
			return
		}
		c.event(ev)
		if c.fd < 0 {
			return
		}
	}
}

// answer takes the answer to the handshake, and returns what follows it.
func (c *conn) answer(in []byte) []byte {
	c.head = append(c.head, in...)
	end := bytes.Index(c.head, []byte("\r\n\r\n"))
	if end < 0 {
		return nil
	}
	if !bytes.HasPrefix(c.head, []byte("HTTP/1.1 101")) {
		c.loop.drop(c, refusal(c.head))
		return nil
	}
	rest := c.head[end+4:]
	c.up, c.head = true, nil
	if c.run != nil && c.run.bare {
		c.run.settled(c)
	}
	return rest
}

// refusal is what the answer to a handshake says that is no 101, as an SDK
// understands it.
func refusal(head []byte) *chat.Error {
	e := chat.Errorf(chat.CodeUnavailable, "the handshake was refused: %.100q", head)
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	if err != nil {
		return e
	}
	defer r.Body.Close()
	if seconds, err := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 512))
	name, _, _ := strings.Cut(strings.TrimSpace(string(body)), ": ")
	for _, code := range chat.Codes() {
		if code.String() == name {
			e.Code = code
		}
	}
	return e
}

func (c *conn) event(ev frame.Event) {
	switch ev.Op {
	case frame.OpBinary:
		for msg := ev.Payload; len(msg) > 0; {
			p, rest, err := packet.Next(msg)
			if err != nil {
				c.loop.drop(c, err)
				return
			}
			msg = rest
			if err := c.run.packet(c, p); err != nil {
				c.loop.drop(c, err)
				return
			}
		}
	case frame.OpPing:
		c.out = frame.AppendMasked(c.out, frame.OpPong, ev.Payload, c.run.mask)
		c.flush()
	case frame.OpClose:
		c.loop.drop(c, fmt.Errorf("the server closed with %d", ev.Code))
	}
}

// id returns the next id of the device.
func (c *conn) id(nowNs int64) chat.ID {
	c.ticks = max(chat.Ticks(c.loop.wall(nowNs)), c.ticks+1)
	return chat.NewID(c.ticks, uint16(c.index), c.node)
}
