package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/rookery-chat/rookery/client"
)

// sendLeft sends what commands that were a spare device left in its outbox, as they
// ended before the server had it: nobody may be that device again. What is there is
// encrypted, so that takes no keys. What another process has is left to it. What cannot
// be sent within connectWait goes on waiting, and does not keep the command from its own.
func (f *clientFlags) sendLeft(ctx context.Context, env *Env, o client.Options) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	o.SendOnly, o.From = true, client.FromNow
	for _, f.name = range f.names[1:] { // the tokens are for f.name
		o.Device, o.State = f.name, f.statePath(f.name)
		n, err := client.Unsent(o.State)
		if err == nil && n > 0 {
			err = sendOutbox(ctx, env, o, n)
		}
		if err != nil && !errors.Is(err, client.ErrInUse) {
			env.Errorf("left by earlier commands of %s, and not sent: %v", f.name, err)
		}
	}
}

// sendOutbox connects as a device until the n messages of its outbox are sent or refused.
func sendOutbox(ctx context.Context, env *Env, o client.Options, n int) error {
	c, err := client.Dial(ctx, o)
	if err != nil {
		return err
	}
	for _, s := range c.Earlier() {
		err := s.Durable(ctx)
		if _, refused := s.Status(); refused != nil {
			env.Errorf("left by earlier commands of %s, to %s: %v", o.Device, s.To(), refused)
			n--
		} else if err != nil {
			return errors.Join(err, c.Close(ctx))
		}
	}
	fmt.Fprintf(env.Stderr, "left by earlier commands of %s, and sent: %d\n", o.Device, n)
	return c.Close(ctx)
}
