package client

// signal tells any number of waiters that something changed. Its zero value is
// ready; whoever uses it holds Client.mu.
type signal struct{ ch chan struct{} }

// wait returns a channel that closes when fire is called next.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
