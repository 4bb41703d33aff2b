package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/frame"
)

// dialect is what stands around a message on the wire.
type dialect struct {
	raw    bool   // no handshake, and the very bytes of the frames come back
	path   string // of the handshake
	hello  []byte // the first message, whose answer comes before any echo; nil is none
	before func(size int) (sent, echoed []byte)
	joined bool // a message may carry several echoes, or come in several frames
}

var dialects = map[string]dialect{
	"":          {path: "/echo"},
	"raw":       {raw: true},
	"fragments": {path: "/echo", joined: true},
	// Centrifugo's, in Protobuf: Command{id: 1, connect: {}}, then
	// Command{send: {data}} and Reply{push: {message: {data}}}, each behind its
	// length.
	"centrifuge": {path: "/echo?format=protobuf", hello: []byte{4, 0x08, 1, 0x22, 0}, joined: true,
		before: func(size int) (sent, echoed []byte) {
			return protobufBefore(size, 1, 12), protobufBefore(size, 1, 8, 4)
		}},
}

// protobufBefore are the bytes before size bytes that lie in nested fields of
// these numbers, the innermost first, and the length of it all.
func protobufBefore(size int, fields ...byte) (b []byte) {
	for _, f := range fields {
		b = append(binary.AppendUvarint([]byte{f<<3 | 2}, uint64(size+len(b))), b...)
	}
	return append(binary.AppendUvarint(nil, uint64(size+len(b))), b...)
}

var (
	errWrongEcho = errors.New("something else came back than was sent")
	errTooMany   = errors.New("more came back than was sent")
)

// echoLoad keeps a number of messages in flight on each connection: for every
// echo that has come whole a message goes out, those that one read brought in
// one write.
type echoLoad struct {
	loop    *loop
	dialect dialect
	size    int
	conns   []*echoConn
	mask    [4]byte

	greeted  int
	depth    int // messages in flight on each connection; 0 sends no more
	inFlight int
	sent     uint64
	echoed   uint64
	latency  *hdrhistogram.Histogram // us from a message's write to its echo's read
	want     []byte                  // scratch
}

// echoConn is one connection of it. A message's first 8 bytes are the time of
// its write, in ns of the loop; the others are the connection's own.
type echoConn struct {
	conn
	load    *echoLoad
	greeted bool
	reader  frame.Reader

	frame    []byte // sent for every message, with its stamp
	frameAt  int    // where the stamp goes
	frameXor uint64 // the mask there
	echo     []byte // that has to come back, with its stamp
	echoAt   int
	echoXor  uint64

	bursts []burst // in flight, a ring
	oldest int
	after  int // the newest
	flying int // messages
	come   int // bytes of the oldest message's echo that have come
}

// burst are messages that went out in one write, all with its time.
type burst struct {
	at int64
	n  int
}

func newEchoLoad(speaks string, size int) (*echoLoad, error) {
	d, ok := dialects[speaks]
	if !ok {
		return nil, fmt.Errorf("bench: a peer speaks %q, which the load does not", speaks)
	}
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	return &echoLoad{loop: l, dialect: d, size: size, mask: [4]byte{0x37, 0xfa, 0x21, 0x3d}, latency: newHistogram()}, nil
}

func (e *echoLoad) newConn(i, depth int) *echoConn {
	c := &echoConn{conn: conn{user: userOf(i), index: int32(i), fd: -1}, load: e, bursts: make([]burst, max(depth, 1))}
	c.conn.take = c.take
	content := make([]byte, e.size)
	for j := range content {
		content[j] = byte(j*31 + i*7)
	}
	var sentBefore, echoBefore []byte
	if e.dialect.before != nil {
		sentBefore, echoBefore = e.dialect.before(e.size)
	}
	message := append(sentBefore, content...)
	c.frame = frame.AppendMasked(nil, frame.OpBinary, message, e.mask)
	c.frameAt = len(c.frame) - e.size
	var masks [8]byte
	for j := range masks {
		masks[j] = e.mask[(len(sentBefore)+j)%4]
	}
	c.frameXor = binary.LittleEndian.Uint64(masks[:])
	switch {
	case e.dialect.raw:
		c.echo, c.echoAt, c.echoXor = bytes.Clone(c.frame), c.frameAt, c.frameXor
	case e.dialect.joined:
		c.echo = append(echoBefore, content...)
		c.echoAt = len(echoBefore)
	default: // each echo is a frame of its own, in its shortest form
		c.echo = frame.AppendMessage(nil, frame.OpBinary, content)
		c.echoAt = len(c.echo) - e.size
	}
	c.greet()
	return c
}

// greet queues what comes before the first message.
func (c *echoConn) greet() {
	d := &c.load.dialect
	if c.up = d.raw; d.raw { // no handshake: a first message tells that it is up
		c.send(1, c.load.loop.clock())
		return
	}
	c.out = fmt.Appendf(c.out, "GET %s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", d.path)
}

// connect opens n connections that can have up to depth messages in flight, and
// waits until all have shaken hands.
func (e *echoLoad) connect(to netip.AddrPort, n, depth int) error {
	until := e.loop.clock() + int64(time.Duration(n)*time.Millisecond+settleFor)
	for i := 0; e.greeted < n || i < n; {
		for ; i < n && i-e.greeted < dialsAtOnce; i++ {
			c := e.newConn(i, depth)
			if err := e.loop.dial(to, &c.conn); err != nil {
				return err
			}
			e.conns = append(e.conns, c)
		}
		if err := e.loop.poll(e.loop.clock() + int64(10*time.Millisecond)); err != nil {
			return err
		}
		if e.loop.nowNs > until {
			return fmt.Errorf("bench: %d of %d connections were up in time", e.greeted, n)
		}
	}
	return nil
}

// take takes what has come on the connection, all that one read brought.
func (c *echoConn) take(in []byte) {
	now := c.loop.clock()
	if !c.greeted {
		if in = c.greeting(in); !c.greeted {
			return
		}
	}
	var err error
	if c.load.dialect.joined {
		err = c.takeFrames(in, now)
	} else {
		err = c.takeEchoes(in, now)
	}
	if err != nil {
		c.loop.drop(&c.conn, err)
		return
	}
	if n := c.load.depth - c.flying; n > 0 {
		c.send(n, now)
	}
}

// greeting takes what comes before the first echo, and returns what is behind it.
func (c *echoConn) greeting(in []byte) []byte {
	hello := c.load.dialect.hello
	if hello == nil {
		c.greeted = true
		c.load.greeted++
		return in
	}
	if len(in) == 0 { // the handshake alone
		c.push(frame.AppendMasked(nil, frame.OpBinary, hello, c.load.mask))
		return nil
	}
	n, ev, ok, err := c.reader.Next(in, &readLimits)
	if err != nil || ok && ev.Op != frame.OpBinary {
		c.loop.drop(&c.conn, errors.Join(err, errWrongEcho))
		return nil
	}
	if ok {
		c.greeted = true
		c.load.greeted++
	}
	return in[n:]
}

func (c *echoConn) takeFrames(in []byte, now int64) error {
	for {
		n, ev, ok, err := c.reader.Next(in, &readLimits)
		in = in[n:]
		if err != nil || !ok {
			return err
		}
		if ev.Op != frame.OpBinary {
			return errWrongEcho
		}
		if err := c.takeEchoes(ev.Payload, now); err != nil {
			return err
		}
	}
}

// takeEchoes compares every byte with what has to come back, a burst at a time:
// message by message the load would cost more than a bare echo.
func (c *echoConn) takeEchoes(in []byte, now int64) error {
	for len(in) > 0 {
		if c.flying == 0 {
			return errTooMany
		}
		b := &c.bursts[c.oldest]
		whole := min(b.n, (c.come+len(in)+len(c.echo)-1)/len(c.echo))
		c.load.want = stamped(c.load.want[:0], c.echo, c.echoAt, uint64(b.at)^c.echoXor, whole)
		want := c.load.want[c.come:]
		n := min(len(in), len(want))
		if !bytes.Equal(in[:n], want[:n]) {
			return errWrongEcho
		}
		in = in[n:]
		done := (c.come + n) / len(c.echo)
		c.come = (c.come + n) % len(c.echo)
		if done == 0 {
			break
		}
		if b.n -= done; b.n == 0 {
			c.oldest = (c.oldest + 1) % len(c.bursts)
		}
		c.flying -= done
		c.load.inFlight -= done
		c.load.echoed += uint64(done)
		c.load.latency.RecordValues(max((now-b.at)/1000, 1), int64(done))
	}
	return nil
}

// stamped appends n times a message with a stamp.
func stamped(dst, message []byte, at int, stamp uint64, n int) []byte {
	begin := len(dst)
	dst = append(dst, message...)
	binary.LittleEndian.PutUint64(dst[begin+at:], stamp)
	for have, all := len(message), n*len(message); have < all; have = len(dst) - begin {
		dst = append(dst, dst[begin:begin+min(have, all-have)]...)
	}
	return dst
}

// send writes n messages at once.
func (c *echoConn) send(n int, now int64) {
	if len(c.bursts) < c.flying+n {
		panic("more messages in flight than the connection was made for")
	}
	c.bursts[c.after] = burst{now, n}
	c.after = (c.after + 1) % len(c.bursts)
	c.flying += n
	c.load.inFlight += n
	c.load.sent += uint64(n)
	c.load.loop.out = stamped(c.load.loop.out[:0], c.frame, c.frameAt, uint64(now)^c.frameXor, n)
	c.push(c.load.loop.out)
}

// start brings every connection to a depth.
func (e *echoLoad) start(depth int) {
	e.depth = depth
	for _, c := range e.conns {
		if n := depth - c.flying; n > 0 && c.fd >= 0 {
			c.send(n, e.loop.clock())
		}
	}
}

// drain sends no more and waits until everything has come back.
func (e *echoLoad) drain() error {
	e.depth = 0
	until := e.loop.clock() + int64(settleFor)
	for e.inFlight > 0 {
		if err := e.loop.poll(e.loop.clock() + int64(10*time.Millisecond)); err != nil {
			return err
		}
		if e.loop.nowNs > until {
			return fmt.Errorf("bench: %d messages did not come back", e.inFlight)
		}
	}
	return nil
}

// until lets the load run for a time.
func (e *echoLoad) until(ctx context.Context, d time.Duration) error {
	for end := e.loop.clock() + int64(d); e.loop.nowNs < end; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := e.loop.poll(min(end, e.loop.nowNs+int64(100*time.Millisecond))); err != nil {
			return err
		}
	}
	return nil
}
