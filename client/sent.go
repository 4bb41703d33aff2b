package client

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
)

// Sent is a message on its way. Its methods are safe for concurrent use.
type Sent struct {
	c        *Client
	id       chat.ID
	to       chat.User
	accepted chan struct{} // closed when it is durable, or never will be

	// Guarded by c.mu.
	place chat.Position // 0 until it is durable
	err   error         // why it will come no further
	peer  *peer
}

// peer is how far another user has come with what this one sent. Guarded by
// Client.mu.
type peer struct {
	delivered, read chat.Position
	moved           signal // something here changed, or a message to this user did
}

// ID returns the message's id.
func (s *Sent) ID() chat.ID { return s.id }

// To returns the receiver.
func (s *Sent) To() chat.User { return s.to }

// Place returns the message's position in the receiver's partition, which is
// what receipts compare with; 0 until it is durable.
func (s *Sent) Place() chat.Position {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.place
}

// Status returns how far the message has come, 0 before it is durable, and the
// error that ended its way, if one did.
func (s *Sent) Status() (chat.Status, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.status(), s.err
}

func (s *Sent) status() chat.Status {
	if s.place == 0 {
		return 0
	}
	return chat.StatusOf(s.place, chat.Receipt{Delivered: s.peer.delivered, Read: s.peer.read})
}

// Durable waits until the server has the message durably: it will not be lost.
func (s *Sent) Durable(ctx context.Context) error { return s.await(ctx, chat.Sent) }

// Delivered waits until a device of the receiver has the message.
func (s *Sent) Delivered(ctx context.Context) error { return s.await(ctx, chat.Delivered) }

// Read waits until the message has been shown to the receiver.
func (s *Sent) Read(ctx context.Context) error { return s.await(ctx, chat.Read) }

// await returns nil when the message has come as far as want. Otherwise the
// error is the server's refusal, the end of the client, or ctx's, which says
// nothing of the message: it stays in the outbox and goes on its way.
func (s *Sent) await(ctx context.Context, want chat.Status) error {
	if err := s.wait(ctx, s.accepted); err != nil {
		return err
	}
	for {
		s.c.mu.Lock()
		reached, err, moved := s.status(), s.err, s.peer.moved.wait()
		s.c.mu.Unlock()
		if err != nil {
			return err
		}
		if reached >= want {
			return nil
		}
		if err := s.wait(ctx, moved); err != nil {
			return err
		}
	}
}

func (s *Sent) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-s.c.ended:
		return s.c.endError()
	case <-ctx.Done():
		return s.c.because(ctx, fmt.Sprintf("message %s %s", s.id, s.whereabouts()))
	}
}

func (s *Sent) whereabouts() string {
	if status, _ := s.Status(); status != 0 {
		return "is " + status.String() + ", and goes on its way"
	}
	return "is not accepted, and stays in the outbox until it is"
}

// settle says where the message lies, or why it lies nowhere. c.mu is held.
func (s *Sent) settle(place chat.Position, err error) {
	first := s.place == 0 && s.err == nil
	if err == nil && s.err == nil {
		s.place = place
	} else if s.err == nil {
		s.err = err
	}
	if first {
		close(s.accepted)
	}
	s.peer.moved.fire()
}

// advance takes in a receipt, and reports whether it said anything new.
func (p *peer) advance(delivered, read chat.Position) bool {
	if delivered <= p.delivered && read <= p.read {
		return false
	}
	p.delivered, p.read = max(p.delivered, delivered), max(p.read, read)
	p.moved.fire()
	return true
}
