// Package engine runs event loops over TCP sockets. It knows bytes,
// connections, deadlines and mailboxes, and has no idea what the bytes mean.
//
// A loop is one goroutine. It serves the sockets that are ready (Handler.Open
// and Data), and ends the turn with its mailbox (Post), the deadlines that
// have passed (Deadline), Handler.Turn and, for every connection that was
// written to, one system call. Nothing on a loop may block: every connection
// of the loop would wait.
//
// On Linux the loops are our own, on epoll (epoll.go). Elsewhere, and with the
// build tag gnet, they are gnet's (gnet.go), which no other package imports.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// Handler is what is done with the bytes. Its methods are called on the loop
// that owns the connection, must not block, and may write to any connection of
// that loop. A panic costs the connection it was called for.
type Handler interface {
	// Open is called when a connection was accepted.
	Open(c *Conn)
	// Data is called when bytes have come, at most 64 KiB. They are lent until
	// it returns, and all of them are taken: what is left over is the
	// handler's to keep.
	Data(c *Conn, in []byte)
	// Deadline is called when the time set by SetDeadline has passed.
	Deadline(c *Conn)
	// Drained is called when a blocked connection has nothing unsent any more.
	Drained(c *Conn)
	// Closed is the last call for c. err is nil after Close, io.EOF when the
	// peer closed, else ErrSlow, ErrPanic or the socket's error.
	Closed(c *Conn, err error)
	// Turn is called at the end of each turn in which the loop did anything,
	// before the output is written, and at every tick. It is also the first
	// call of each loop.
	Turn(l *Loop)
}

// Engine is a set of running loops.
type Engine struct {
	// Set once.
	opts    Options
	handler Handler
	addr    *net.TCPAddr
	loops   []*Loop
	sockets sockets
	accepts *bucket
	started time.Time

	ready    chan struct{} // closed when the loops are known
	done     chan struct{} // closed when they have ended
	idle     chan struct{} // told when the last connection has gone and none is accepted
	startErr error         // set before done is closed

	refusing    atomic.Bool
	open        atomic.Int64
	blocked     atomic.Int64
	unsentBytes atomic.Int64
}

// Start listens and runs the loops. Connections may come before it returns.
func Start(o Options, h Handler) (*Engine, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	now := time.Now()
	e := &Engine{
		opts: o, handler: h, started: now, accepts: newBucket(o.AcceptPerSecond, now),
		ready: make(chan struct{}), done: make(chan struct{}), idle: make(chan struct{}, 1),
	}
	for i := range o.Loops {
		e.loops = append(e.loops, newLoop(e, i))
	}
	var err error
	if e.addr, err = e.listen(o.Listen); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	go e.run()
	select {
	case <-e.ready:
		return e, nil
	case <-e.done:
		return nil, fmt.Errorf("engine: %w", e.startErr)
	}
}

// run is the engine's life.
func (e *Engine) run() {
	defer close(e.done)
	err := e.serve()
	select {
	case <-e.ready:
		if !e.refusing.Load() {
			e.opts.Logger.Error("engine: ended without being stopped", "error", err)
		}
	default:
		e.startErr = errors.Join(e.startErr, err)
	}
}

// Addr returns the address listened on, with the port that was taken.
func (e *Engine) Addr() net.Addr { return e.addr }

// Loops returns the number of loops.
func (e *Engine) Loops() int { return len(e.loops) }

// Loop returns the loop of this index.
func (e *Engine) Loop(i int) *Loop { return e.loops[i] }

// Done is closed when the loops have ended: after Stop, or without it when the
// kernel lets a loop wait no more.
func (e *Engine) Done() <-chan struct{} { return e.done }

// admit decides on one more connection.
func (e *Engine) admit() bool {
	if e.open.Add(1) > int64(e.opts.MaxConns) || e.refusing.Load() || !e.accepts.take(time.Now()) {
		e.leave()
		return false
	}
	return true
}

func (e *Engine) leave() {
	if e.open.Add(-1) == 0 && e.refusing.Load() {
		select {
		case e.idle <- struct{}{}:
		default:
		}
	}
}

// StopAccepting closes connections from now on as soon as they come. The
// port stays open until Stop.
func (e *Engine) StopAccepting() { e.refusing.Store(true) }

// Stop ends the engine: no more connections, Close for every one there is,
// and when they have gone or ctx is done, the end of the mailboxes and the
// loops. What is pending is flushed as far as the sockets take it in that
// time. Every connection's Closed has been called when it returns nil, or the
// context's error if that came first. It must not be called on a loop.
func (e *Engine) Stop(ctx context.Context) error {
	e.StopAccepting()
	for _, l := range e.loops {
		l.Post(func(l *Loop) { l.Each((*Conn).Close) })
	}
	err := e.waitIdle(ctx)
	for _, l := range e.loops {
		l.seal()
	}
	e.stopLoops()
	select {
	case <-e.done:
		return err
	case <-time.After(lingerMs * time.Millisecond):
		return errors.Join(err, errors.New("engine: a loop is stuck in its handler"))
	}
}

func (e *Engine) waitIdle(ctx context.Context) error {
	for e.open.Load() > 0 {
		select {
		case <-e.idle:
		case <-e.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
