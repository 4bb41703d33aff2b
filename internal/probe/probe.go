// Package probe watches a server from outside, as users see it: a sender and a
// receiver, clients like any other, between whom one message after another has
// to be accepted, received and delivered in time.
package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

const (
	messageTTL  = time.Hour // so that the store does not fill with probes
	arrivals    = 1024      // that wait for a round to look at them
	maxMissing  = 10_000    // messages remembered that did not come in time
	maxBackoff  = time.Second
	goodbyeWait = 2 * time.Second // for the clients' last words
)

// Step is one of the things a message does.
type Step uint8

// The steps, in the order in which a round waits for them.
const (
	Accepted  Step = iota // the sender has its first tick
	Received              // the receiver has the message
	Delivered             // the sender has its second tick
	Steps     = 3
)

// String returns the step's name, which is its label in metrics.
func (s Step) String() string { return [Steps]string{"accepted", "received", "delivered"}[s] }

// Options of a Probe.
type Options struct {
	Sender, Receiver client.Options // two users; the probe sets what it needs of the rest
	Every            time.Duration  // from the begin of a round to that of the next
	Timeout          time.Duration  // in which a round has to be done
	Count            int            // rounds; 0: until the context ends
	Report           func(Round)    // is told of each round; nil: nobody is
}

// Validate reports all faults together.
func (o *Options) Validate() error {
	var errs []error
	if o.Every <= 0 || o.Timeout <= 0 {
		errs = append(errs, errors.New("probe: every and timeout must be positive"))
	}
	if o.Count < 0 {
		errs = append(errs, errors.New("probe: count must not be negative"))
	}
	if o.Sender.User == o.Receiver.User {
		errs = append(errs, errors.New("probe: sender and receiver must be two users"))
	}
	return errors.Join(append(errs, o.Sender.Validate(), o.Receiver.Validate())...)
}

// Round is how one message fared.
type Round struct {
	Number int
	ID     chat.ID
	Took   [Steps]time.Duration // from the send; those before Failed only
	Failed Step                 // the first step that was not reached in time; of no meaning without Err
	Err    error                // nil: all steps were in time
}

// Probe is a sender and a receiver. Run it once.
type Probe struct {
	o                Options
	sender, receiver *client.Client
	arrived          chan arrival
	missing          map[chat.ID]struct{} // sent, and not received in time
	record           record
}

// arrival is a message at the receiver.
type arrival struct {
	id chat.ID
	at time.Time
}

// New opens the two clients, which connect by themselves. Run closes them.
func New(ctx context.Context, o Options) (*Probe, error) {
	o.Sender.SendOnly, o.Sender.From = true, client.FromNow
	o.Receiver.From = client.FromLast
	for _, c := range []*client.Options{&o.Sender, &o.Receiver} {
		c.BackoffMax, c.DialTimeout = maxBackoff, o.Timeout
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Probe{o: o, arrived: make(chan arrival, arrivals), missing: map[chat.ID]struct{}{}}
	p.record.init()
	var err error
	if p.sender, err = client.Open(ctx, o.Sender); err != nil {
		return nil, err
	}
	if p.receiver, err = client.Open(ctx, o.Receiver); err != nil {
		return nil, errors.Join(err, p.sender.Close(ctx))
	}
	return p, nil
}

// Run makes the rounds. The error is why no more could be made: a client is
// refused for good. The end of ctx is none; a round that it cuts short does not
// count.
func (p *Probe) Run(ctx context.Context) (Summary, error) {
	receiving := make(chan struct{})
	life, cancel := context.WithCancel(ctx)
	go func() {
		defer close(receiving)
		p.receive(life)
	}()
	err := p.rounds(ctx)
	cancel()
	<-receiving
	goodbye, stop := context.WithTimeout(context.Background(), goodbyeWait)
	defer stop()
	closed := errors.Join(p.sender.Close(goodbye), p.receiver.Close(goodbye))
	if err == nil && ctx.Err() == nil {
		err = closed
	}
	return p.record.summary(len(p.missing)), err
}

func (p *Probe) rounds(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	next := time.NewTicker(p.o.Every)
	defer next.Stop()
	for n := 1; ; n++ {
		r := p.round(ctx, n)
		if ctx.Err() != nil {
			return nil
		}
		p.record.add(&r)
		if p.o.Report != nil {
			p.o.Report(r)
		}
		if err := p.ended(); err != nil {
			return err
		}
		if n == p.o.Count {
			p.awaitMissing(ctx)
			return nil
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// connect gives both clients the time of a round to connect, so that the first
// round measures what the others do. Whether they have, the rounds tell.
func (p *Probe) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	for _, c := range []*client.Client{p.sender, p.receiver} {
		_ = c.Connected(ctx)
	}
	return p.ended()
}

// ended is why a client will not connect again, nil when none has given up.
func (p *Probe) ended() error {
	for _, c := range []*client.Client{p.sender, p.receiver} {
		select {
		case <-c.Done():
			return c.Err()
		default:
		}
	}
	return nil
}

// round sends one message and waits for its steps.
func (p *Probe) round(life context.Context, n int) Round {
	ctx, cancel := context.WithTimeout(life, p.o.Timeout)
	defer cancel()
	r := Round{Number: n}
	began := time.Now()
	sent, err := p.sender.Send(ctx, p.o.Receiver.User, fmt.Appendf(nil, "probe %d", n), client.SendOptions{TTL: messageTTL})
	if err != nil {
		r.Err = err
		return r
	}
	r.ID = sent.ID()
	at := time.Time{}
	for step, wait := range [Steps]func() error{
		func() error { return sent.Durable(ctx) },
		func() (err error) { at, err = p.await(ctx, r.ID); return err },
		func() error { return sent.Delivered(ctx) },
	} {
		if r.Err = wait(); r.Err != nil {
			r.Failed = Step(step)
			break
		}
		if Step(step) != Received {
			at = time.Now()
		}
		r.Took[step] = at.Sub(began)
	}
	cutOff := life.Err() != nil // which says nothing about the server
	if r.Err != nil && r.Failed <= Received && !cutOff && len(p.missing) < maxMissing {
		p.missing[r.ID] = struct{}{}
	}
	return r
}

// await waits until the receiver has a message, and returns since when.
func (p *Probe) await(ctx context.Context, id chat.ID) (time.Time, error) {
	for {
		select {
		case a := <-p.arrived:
			if a.id == id {
				return a.at, nil
			}
			p.arrivedLate(a.id)
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s did not receive it: %w", p.o.Receiver.User, ctx.Err())
		}
	}
}

// arrivedLate takes note of a message that was given up. Others are of an
// earlier run.
func (p *Probe) arrivedLate(id chat.ID) {
	if _, ok := p.missing[id]; ok {
		delete(p.missing, id)
		p.record.late()
	}
}

// awaitMissing gives what is missing at the end the time of one more round.
func (p *Probe) awaitMissing(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	for len(p.missing) > 0 {
		select {
		case a := <-p.arrived:
			p.arrivedLate(a.id)
		case <-ctx.Done():
			return
		}
	}
}

// receive takes what comes for the receiver. Asking for the next message says
// that it has the one before.
func (p *Probe) receive(ctx context.Context) {
	for {
		e, err := p.receiver.Receive(ctx)
		if err != nil {
			return
		}
		m, ok := e.(client.Message)
		if !ok || string(m.From) != p.o.Sender.User {
			continue
		}
		select {
		case p.arrived <- arrival{m.ID, time.Now()}:
		case <-ctx.Done():
			return
		}
	}
}
