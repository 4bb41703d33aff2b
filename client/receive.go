package client

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
)

// inbox is the user's chain as this client knows it, and what waits for the app.
// Guarded by Client.mu.
type inbox struct {
	resume   *int64        // what Options.From asks of the first session
	limit    int           // events that may wait
	sendOnly bool          // nothing waits
	manual   bool          // nothing is handled by being passed on
	flush    func()        // what is handled is worth keeping
	known    bool          // mine is a position of the server's word or ours
	mine     chat.Position // everything up to here has been received
	returned chat.Position // everything up to here has been returned by Receive
	shown    chat.Position // of the newest link that the app was given
	handled  chat.Position // everything up to here has been handled by the app
	kept     chat.Position // everything up to here is durably known as handled
	queue    []waiting
	given    *waiting // what Receive returned last
	behind   bool     // the queue was full: what comes is not taken until it is empty
	closed   bool     // nothing more is given
	ready    signal   // the queue has grown
}

// waiting is an event in the queue. A link of the chain has a position; its
// event is nil when the app is not to see it.
type waiting struct {
	event   Event
	pos     chat.Position
	durable bool // a message or copy: worth a durable cursor and a mark
}

func (in *inbox) init(s state, o Options, flush func()) {
	in.flush = flush
	in.resume, _ = o.resume()
	in.limit, in.sendOnly, in.manual = o.EventQueue, o.SendOnly, o.Manual
	if in.resume == nil && s.hasCursor {
		in.known = true
		in.mine, in.handled, in.kept = s.cursor, s.cursor, s.cursor
	}
}

// welcome takes in where the server says that the chain goes on, and returns up
// to where there is nothing to mark.
func (in *inbox) welcome(resume chat.Position) (marked chat.Position) {
	if !in.known {
		in.known, in.resume = true, nil
		in.mine, in.handled, in.kept = resume, resume, resume
		return resume
	}
	if resume > in.mine {
		in.take(waiting{pos: resume})
	}
	return 0
}

// resumeAt is where the next session's chain begins: what is kept, as the
// protocol wants it, though more may have been received. What comes again is
// passed over. A client that keeps nothing goes by what it has received.
func (in *inbox) resumeAt() chat.Position {
	if in.sendOnly {
		return in.mine
	}
	return in.kept
}

// take puts a link of the chain into the queue. It reports false when there is
// no room, or was none: then the link counts as not received.
func (in *inbox) take(w waiting) bool {
	if in.sendOnly {
		in.mine = w.pos
		return true
	}
	if in.behind || len(in.queue) >= in.limit {
		in.behind = true
		return false
	}
	in.mine = w.pos
	in.append(w)
	return true
}

// tell puts an event that is no link into the queue, or drops it if that is full.
func (in *inbox) tell(e Event) {
	if !in.sendOnly && len(in.queue) < in.limit {
		in.append(waiting{event: e})
	}
}

func (in *inbox) append(w waiting) {
	in.queue = append(in.queue, w)
	in.ready.fire()
}

// next takes the next event for the app out of the queue. Links without one are
// handled by themselves. A client that closes gives none: what it gave would come again.
func (in *inbox) next() (w waiting, ok bool) {
	for len(in.queue) > 0 && !in.closed {
		w, in.queue = in.queue[0], in.queue[1:]
		in.returned = max(in.returned, w.pos)
		if w.event != nil {
			in.shown = max(in.shown, w.pos)
			return w, true
		}
		in.done(w)
	}
	return waiting{}, false
}

// done says that a link is handled: one without an event by itself. The server
// counts such links too until they are marked.
func (in *inbox) done(w waiting) {
	if !in.manual {
		in.handled = max(in.handled, w.pos)
	} else if !in.pass() {
		return
	}
	if w.durable {
		in.flush()
	}
}

// pass has links without an event handled once all that the app was given is.
func (in *inbox) pass() bool {
	if in.handled < in.shown {
		return false
	}
	in.handled = max(in.handled, in.returned)
	return true
}

// Receive returns the next event: messages of the user's chain in order, each
// once, and between them what happens else. Calling it again says that the event
// before has been handled. It returns an error when ctx ends, when Close was
// called, and, after the last event, when no session will follow.
func (c *Client) Receive(ctx context.Context) (Event, error) {
	c.Handled()
	for {
		c.mu.Lock()
		w, ok := c.in.next()
		if ok {
			c.in.given = &w
		}
		ready, end, drained := c.in.ready.wait(), c.end, c.in.behind && len(c.in.queue) == 0
		s := c.session
		c.mu.Unlock()
		if drained && s != nil {
			s.quit(errBehind)
		}
		if ok {
			return w.event, nil
		}
		if end != nil {
			return nil, end
		}
		select {
		case <-ready:
		case <-c.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Handled says that the event which Receive returned last has been handled,
// without asking for another.
func (c *Client) Handled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.in.given
	if w == nil {
		return
	}
	c.in.given = nil
	if c.in.manual {
		return
	}
	c.in.done(*w)
}

// Received returns how far Receive has come in the user's chain. The Place of a
// message to a group does not tell: that is in the group's order.
func (c *Client) Received() chat.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.returned
}

// HandledTo says, with Options.Manual, that everything up to a position has been
// handled, which Received returned after Receive had.
func (c *Client) HandledTo(position chat.Position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.in.manual || position > c.in.mine {
		return chat.Errorf(chat.CodeBadPosition, "%v is above what was received, or the client is not manual", position)
	}
	if position > c.in.handled {
		c.in.handled = position
		c.in.pass()
		c.wakeFlush()
	}
	return nil
}

// flush makes the cursor durable whenever it has moved on, as often as the disk
// allows, and has it marked.
func (c *Client) flush() {
	for {
		select {
		case <-c.flushMe:
		case <-c.ctx.Done():
			return
		}
		if err := c.keep(); err != nil {
			c.finish(err)
			return
		}
		c.wakeWriter()
	}
}

func (c *Client) keep() error {
	c.mu.Lock()
	pos, ticks, old := c.in.handled, c.ticks, c.in.kept
	c.mu.Unlock()
	if pos == old {
		return nil
	}
	if c.o.BeforeMark != nil {
		if err := c.o.BeforeMark(); err != nil {
			return err
		}
	}
	if err := c.journal.sync(c.journal.setCursor(pos, ticks)); err != nil {
		return err
	}
	c.mu.Lock()
	c.in.kept = pos
	c.mu.Unlock()
	return nil
}
