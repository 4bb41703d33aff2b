package e2ee

import (
	"context"
	"errors"
	"time"
)

// onlineEvery is how often it is looked whether there still is a connection.
const onlineEvery = 100 * time.Millisecond

var errOffline = errors.New("e2ee: the connection is gone")

// whileOnline calls f, which asks the server, until the connection ends, which is
// no error: the answer would come over the next one, and what is known does until
// then.
func (c *Machine) whileOnline(ctx context.Context, f func(context.Context) error) error {
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		tick := time.NewTicker(onlineEvery)
		defer tick.Stop()
		for {
			select {
			case <-asking.Done():
				return
			case <-tick.C:
				if !c.link.Online() {
					cancel(errOffline)
				}
			}
		}
	}()
	err := f(asking)
	if context.Cause(asking) == errOffline {
		return nil
	}
	return err
}
