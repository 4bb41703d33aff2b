package gateway

import "sync/atomic"

// lease tells those on other goroutines whether a session is still there: what
// nobody waits for is not worked at. life counts the sessions that a slot has
// had, and their ends.
type lease struct {
	life *atomic.Uint32
	at   uint32
}

func (s *session) lease() lease {
	life := s.st().lives.At(s.conn.Slot())
	return lease{life, life.Load()}
}

func (l lease) ended() bool { return l.life.Load() != l.at }
