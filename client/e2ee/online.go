package e2ee

import (
	"context"
	"errors"
)

var errOffline = errors.New("e2ee: the connection is gone")

// whileOnline calls f, which asks the server, where there is a connection and
// until it ends. That is no error: the answer would come over the next one, and
// what is known does until then.
func (c *Machine) whileOnline(ctx context.Context, f func(context.Context) error) error {
	session := c.link.Session()
	if session == nil {
		return nil
	}
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-session:
			cancel(errOffline)
		case <-asking.Done():
		}
	}()
	err := f(asking)
	if context.Cause(asking) == errOffline {
		return nil
	}
	return err
}
