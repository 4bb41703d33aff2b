package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// wide are server settings that keep its limits out of the way of a load from
// one address.
var wide = []string{
	"--session-unauthenticated-per-address=1000000", "--engine-accept-per-second=0",
	"--session-rate-messages=1000000", "--session-rate-burst=1000000", "--session-rate-bytes=1GiB",
}

// up starts a server and connects the load to it.
func up(ctx context.Context, o *Options, res *Result, flags ...string) (*target, *fleet, error) {
	t, err := start(o, res, flags...)
	if err != nil {
		return nil, nil, err
	}
	f, err := connect(ctx, o, res, t)
	if err != nil {
		t.kill()
		return nil, nil, err
	}
	return t, f, nil
}

// start starts a server with the wide settings.
func start(o *Options, res *Result, flags ...string) (*target, error) {
	res.ServerFlags = slices.Concat(wide, flags, o.ServerFlags)
	res.Servers = max(o.Servers, 1)
	if res.Servers > 1 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%d servers that know nothing of each other: no message crosses from one to another", res.Servers))
		o.Connections -= o.Connections % res.Servers // session i is of server i modulo their number, and so is whom it writes to
	}
	return startTarget(o, res.Servers, res.ServerFlags...)
}

// connect connects the load to a server.
func connect(ctx context.Context, o *Options, res *Result, t *target) (*fleet, error) {
	res.EmptyBytes, res.Connections = t.resident(), o.Connections
	s, err := t.destination()
	if err != nil {
		return nil, err
	}
	f, err := startFleet(ctx, o, res, o.Connections)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Progress, "connecting %d sessions from %d processes\n", o.Connections, len(f.agents))
	if _, err = f.connect(ctx, s, o.Connections); err != nil {
		f.close()
		return nil, fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	return f, nil
}

// exchangeWithin is how long so many sessions may take to send a message each,
// and again until all have come.
func exchangeWithin(sessions int) time.Duration {
	return time.Duration(sessions)*dialWithin + settleFor
}

// exchange sends a message from each session to the next, and waits until all
// are delivered and their senders know.
func exchange(ctx context.Context, o *Options, res *Result, f *fleet) error {
	before, err := f.count(ctx)
	if err != nil {
		return err
	}
	within := exchangeWithin(f.total)
	if _, err := f.same(ctx, within, order{Op: opExchange, SizeBytes: o.Size}); err != nil {
		return err
	}
	all := uint64(f.total)
	now, done, err := f.drain(ctx, within, func(c counts) bool {
		c = c.since(before)
		return c.Delivered >= all && c.Accepted >= all && c.Receipts >= all
	})
	if err != nil {
		return err
	}
	got := now.since(before)
	if !done {
		return fmt.Errorf("bench: %d of %d messages were delivered, %d receipts", got.Delivered, all, got.Receipts)
	}
	res.Delivered, res.Accepted, res.Receipts = got.Delivered, got.Accepted, got.Receipts
	return nil
}

// trickle is very many sessions that each send now and then.
func trickle(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 10_000)
	setDefault(&o.Rate, 5_000)
	setDefault(&o.PerWrite, 1)
	setDefault(&o.Duration, 20*time.Second)
	t, f, err := up(ctx, o, res)
	if err != nil {
		return err
	}
	defer t.kill()
	defer f.close()
	if err := load(ctx, o, res, t, f, patternAnyTwo); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	judgeLag(res, 5*time.Millisecond)
	return t.stop()
}

// firehose is as much as the log takes, many packets a write.
func firehose(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 10_000)
	setDefault(&o.Rate, 1_160_000)
	setDefault(&o.PerWrite, 64)
	setDefault(&o.Duration, 10*time.Second)
	t, f, err := up(ctx, o, res, "--pipeline-partition-bytes=2GiB", "--session-window=100000", "--session-window-bytes=64MiB", "--session-inflight=100000", "--engine-out-bytes-per-connection=64MiB")
	if err != nil {
		return err
	}
	defer t.kill()
	defer f.close()
	if err := load(ctx, o, res, t, f, patternAnyTwo); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	judgeLag(res, 100*time.Millisecond)
	reports, err := f.same(ctx, drainWithin, order{Op: opReadBack, Samples: max(readBackBursts/len(f.agents), 1), SizeBytes: o.Size})
	if err != nil {
		return err
	}
	for _, rep := range reports {
		res.ReadBack += rep.ReadBack
	}
	return t.stop()
}

// readBackBursts is how many bursts of a firehose are compared with the store.
const readBackBursts = 200

// slow freezes some readers while the others go on, then lets them read again.
func slow(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 10_000+slowReaders)
	setDefault(&o.Rate, 5_000)
	setDefault(&o.PerWrite, 1)
	setDefault(&o.Duration, 20*time.Second)
	t, f, err := up(ctx, o, res)
	if err != nil {
		return err
	}
	defer t.kill()
	defer f.close()
	if err := slowPhases(ctx, o, res, t, f); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	return t.stop()
}

// slowPhases measures before the readers stop, and while they have stopped.
func slowPhases(ctx context.Context, o *Options, res *Result, t *target, f *fleet) error {
	if err := load(ctx, o, res, t, f, patternToSlow); err != nil {
		return err
	}
	was := res.Delivery
	res.NeighboursBefore = &was
	if raw, ok := res.Histograms["delivery"]; ok {
		res.Histograms["delivery_before"] = raw
	}
	judgeLag(res, 5*time.Millisecond)
	if err := whileFrozen(ctx, o, res, t, f); err != nil {
		return err
	}
	judgeLag(res, 5*time.Millisecond)
	return nil
}

// whileFrozen runs the load again while readers read nothing, then lets them read
// and waits until they have everything.
func whileFrozen(ctx context.Context, o *Options, res *Result, t *target, f *fleet) error {
	fmt.Fprintf(o.Progress, "%d readers are frozen\n", slowReaders)
	if _, err := f.same(ctx, 0, order{Op: opFreeze}); err != nil {
		return err
	}
	again := *o
	again.Warmup, f.late = 0, nil
	m, err := measure(ctx, &again, t, f, patternToSlow, o.Rate, o.MarkEvery)
	if err != nil {
		if errors.Is(err, errAgent) && ctx.Err() == nil {
			res.Invalid = append(res.Invalid, err.Error())
			return nil
		}
		return err
	}
	res.PeakBytes = t.resident()
	res.Invalid = append(res.Invalid, f.late...)
	res.lines(m, o.Duration)
	h, err := f.latencies(ctx)
	if err != nil {
		return err
	}
	if err := res.keep(h); err != nil {
		return err
	}
	fmt.Fprintf(o.Progress, "they read again\n")
	if _, err := f.same(ctx, 0, order{Op: opThaw}); err != nil {
		return err
	}
	c, _, err := f.drain(ctx, time.Minute, func(c counts) bool { return c.FrozenGot >= c.ToFrozen })
	if err != nil {
		return err
	}
	if res.FrozenGot, res.FrozenWaiting = c.FrozenGot, c.ToFrozen; c.FrozenGot != c.ToFrozen {
		return fmt.Errorf("bench: %d messages were sent to frozen readers, they got %d", c.ToFrozen, c.FrozenGot)
	}
	return nil
}
