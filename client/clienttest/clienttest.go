// Package clienttest is the other end of a client for tests: a server on a
// loopback port that does as the test says, packet by packet.
package clienttest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

// ErrGone says that the client's end of a connection is closed.
var ErrGone = errors.New("clienttest: the connection is closed")

// Server accepts connections for a test to play the server on.
type Server struct {
	URL string // ws://127.0.0.1:port

	listener net.Listener
	conns    chan *Conn
	closed   chan struct{}
	serving  sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	decide func(*frame.Request) frame.Decision
}

// Listen starts a server on a free loopback port.
func Listen() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL: "ws://" + l.Addr().String(), listener: l,
		conns: make(chan *Conn, 64), closed: make(chan struct{}), open: map[net.Conn]struct{}{},
	}
	s.serving.Go(s.accept)
	return s, nil
}

// Decide sets who judges handshakes from now on; nil takes all.
func (s *Server) Decide(f func(*frame.Request) frame.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decide = f
}

// Close ends the server and its connections, and waits for its goroutines. It is
// called once.
func (s *Server) Close() {
	close(s.closed)
	s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// Accept returns the next connection whose handshake was taken, ErrGone when the
// server was closed.
func (s *Server) Accept() (*Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, ErrGone
	case <-time.After(patience):
		return nil, errors.New("clienttest: nobody connects")
	}
}

func (s *Server) accept() {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[raw] = struct{}{}
		s.mu.Unlock()
		s.serving.Go(func() {
			s.serve(raw)
			s.mu.Lock()
			delete(s.open, raw)
			s.mu.Unlock()
		})
	}
}

func (s *Server) judge(c *Conn) func(*frame.Request) frame.Decision {
	return func(r *frame.Request) frame.Decision {
		c.Path, c.Authorization = r.Path, r.Authorization
		s.mu.Lock()
		decide := s.decide
		s.mu.Unlock()
		if decide == nil {
			return frame.Decision{Status: 101, Protocol: packet.Subprotocol}
		}
		return decide(r)
	}
}

// serve reads a connection to its end.
func (s *Server) serve(raw net.Conn) {
	defer raw.Close()
	c := &Conn{raw: raw, packets: make(chan packet.Raw, 1<<16), gone: make(chan struct{})}
	defer close(c.gone)
	var in []byte
	buf := make([]byte, 32<<10)
	for upgraded := false; ; {
		n, err := raw.Read(buf)
		if err != nil {
			return
		}
		in = append(in, buf[:n]...)
		if !upgraded {
			used, out, _, done, err := frame.Upgrade(in, frame.HandshakeLimits{}, s.judge(c))
			if !done && err == nil {
				continue
			}
			raw.Write(out)
			if err != nil {
				return
			}
			upgraded, in = true, in[used:]
			s.conns <- c
		}
		if err := c.feed(in); err != nil {
			return
		}
		in = in[:0]
	}
}

// Conn is one connection of a client.
type Conn struct {
	Path, Authorization string // of the handshake

	raw     net.Conn
	reader  frame.Reader // of the serving goroutine
	packets chan packet.Raw
	gone    chan struct{}

	mu       sync.Mutex
	messages int
	closed   uint16
	pongs    int
}

func (c *Conn) feed(in []byte) error {
	limits := frame.Limits{MessageBytes: 1 << 20}
	for {
		n, ev, ok, err := c.reader.Next(in, &limits)
		if err != nil || !ok {
			return err
		}
		in = in[n:]
		if err := c.event(ev); err != nil {
			return err
		}
	}
}

func (c *Conn) event(ev frame.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ev.Op {
	case frame.OpClose:
		c.closed = ev.Code
		c.raw.Write(frame.AppendClose(nil, ev.Code, ""))
		return ErrGone
	case frame.OpPong:
		c.pongs++
	case frame.OpBinary:
		c.messages++
		rest := append([]byte(nil), ev.Payload...)
		for len(rest) > 0 {
			p, next, err := packet.Next(rest)
			if err != nil {
				return err
			}
			c.packets <- p
			rest = next
		}
	}
	return nil
}

// Read returns the next packet of the client, ErrGone when none will follow.
func (c *Conn) Read() (packet.Raw, error) {
	select {
	case p := <-c.packets:
		return p, nil
	case <-time.After(patience):
		return packet.Raw{}, errors.New("clienttest: the client sends nothing")
	case <-c.gone:
	}
	select {
	case p := <-c.packets:
		return p, nil
	default:
		return packet.Raw{}, ErrGone
	}
}

// Packet is what both sides encode.
type Packet interface{ AppendTo(dst []byte) []byte }

// Write sends packets in one message.
func (c *Conn) Write(packets ...Packet) {
	var payload []byte
	for _, p := range packets {
		payload = p.AppendTo(payload)
	}
	c.WriteFrame(frame.OpBinary, payload)
}

// WriteFrame sends one frame. What cannot be written any more is dropped.
func (c *Conn) WriteFrame(op frame.Op, payload []byte) {
	c.raw.Write(frame.AppendMessage(nil, op, payload))
}

// Welcome reads the hello and answers with w, with what is missing filled in.
func (c *Conn) Welcome(w packet.Welcome) (packet.Hello, error) {
	var hello packet.Hello
	if err := c.Expect(packet.TypeHello, &hello); err != nil {
		return hello, err
	}
	w.Version = packet.Version
	if w.Now == 0 {
		w.Now = chat.MillisNow()
	}
	if w.Node == (chat.Node{}) {
		w.Node = chat.Node{1, 2, 3, 4, 5, 6}
	}
	if w.Resume == 0 && hello.Resume > 0 {
		w.Resume = chat.Position(hello.Resume)
	}
	c.Write(&w)
	return hello, nil
}

// Expect reads the next packet, of a type, into x.
func (c *Conn) Expect(t packet.Type, x interface{ Decode(packet.Raw) error }) error {
	p, err := c.Read()
	if err != nil {
		return fmt.Errorf("waiting for a packet of type %d: %w", t, err)
	}
	if p.Type != t {
		return fmt.Errorf("clienttest: a packet of type %d came instead of %d", p.Type, t)
	}
	return x.Decode(p)
}

// Drop cuts the connection without a word.
func (c *Conn) Drop() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.raw.Close()
}

// Gone waits until the client's end is closed and returns the code of its close
// frame, 0 when it sent none.
func (c *Conn) Gone() (uint16, error) {
	select {
	case <-c.gone:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.closed, nil
	case <-time.After(patience):
		return 0, errors.New("clienttest: the client stays")
	}
}

// Messages returns how many binary messages the client has sent, and Pongs how
// many pongs.
func (c *Conn) Messages() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.messages
}

func (c *Conn) Pongs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pongs
}
