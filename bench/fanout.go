package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// fanoutWidths are to how many sockets one message goes, up to the number of
// connections asked for.
var fanoutWidths = []int{2, 10, 100, 1_000, 10_000}

const (
	mostDevices  = 10_000 // session.devices at most
	fanoutOwner  = 1      // the user whose devices receive
	fanoutRate   = 20_000 // deliveries a second, unless a rate says otherwise
	fanoutFewest = 20     // messages a width is measured with, at least
	mostMembers  = 8_191  // groups.members at most, but for the sender
	addedAtOnce  = 2_000  // members, by one change
)

// audience grows the receivers of one send to so many sockets: devices of one
// user, of whom session.devices bounds how many there are, or members of a group
// with a device each, whom groups.members does.
func (f *fleet) audience(ctx context.Context, s destination, group bool, have, want, total int) error {
	devicesOf := fanoutOwner
	if group {
		devicesOf = -1
	}
	_, err := f.open(ctx, s, connectOrder{First: 1 + have, Count: want - have, Total: total, DevicesOf: devicesOf, AtOnce: dialsAtOnce})
	for group && err == nil && have < want {
		more := min(want-have, addedAtOnce)
		err = f.gather(ctx, have, more)
		have += more
	}
	return err
}

// gather adds members to the group, and waits until all of it are told.
func (f *fleet) gather(ctx context.Context, have, more int) error {
	before, err := f.count(ctx)
	if err != nil {
		return err
	}
	if _, err := f.same(ctx, 0, order{Op: opGroup, First: 1 + have, Count: more}); err != nil {
		return err
	}
	all := uint64(have + more)
	now, done, err := f.drain(ctx, drainWithin, func(c counts) bool { return c.since(before).Told >= all })
	if err == nil && !done {
		err = fmt.Errorf("bench: of %d members %d know that they are in the group", all, now.since(before).Told)
	}
	return err
}

// fanout is one message to many sockets, more of them in each step. Receivers
// mark between the steps, so that what is measured is the way out.
func fanout(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 1_000)
	setDefault(&o.Rate, fanoutRate)
	setDefault(&o.Duration, 5*time.Second)
	if o.PerWrite > 1 {
		return errors.New("bench: fanout sends one message a write")
	}
	o.PerWrite = 1
	most := mostDevices
	if o.Group {
		most = mostMembers
	}
	if o.Connections < fanoutWidths[0] || o.Connections > most {
		return fmt.Errorf("bench: one message goes to %d to %d sockets, not %d", fanoutWidths[0], most, o.Connections)
	}
	t, err := start(o, res, fmt.Sprintf("--session-devices=%d", mostDevices), fmt.Sprintf("--groups-members=%d", mostMembers+1), "--session-window=100000", "--session-window-bytes=64MiB", "--engine-out-bytes-per-connection=64MiB")
	if err != nil {
		return err
	}
	defer t.kill()
	s, err := t.destination()
	if err != nil {
		return err
	}
	f, err := startFleet(ctx, o, res, o.Connections+1)
	if err != nil {
		return err
	}
	defer f.close()
	res.Connections, res.SizeBytes, res.Rate = o.Connections+1, o.Size, o.Rate
	// The first agent has the sender: only it is asked to send.
	if _, err := f.open(ctx, s, connectOrder{Count: 1, Total: o.Connections + 1, DevicesOf: -1, AtOnce: 1}); err != nil {
		return err
	}
	return fanoutSteps(ctx, o, res, t, f, s)
}

func fanoutSteps(ctx context.Context, o *Options, res *Result, t *target, f *fleet, s destination) error {
	have := 0
	for _, width := range fanoutWidthsTo(o.Connections) {
		fmt.Fprintf(o.Progress, "to %d sockets\n", width)
		if err := f.audience(ctx, s, o.Group, have, width, o.Connections+1); err != nil {
			return fmt.Errorf("%w (%s)", err, tail(t.stderr))
		}
		have = width
		figures, err := fanoutStep(ctx, o, res, t, f, width)
		if err != nil {
			return fmt.Errorf("to %d sockets: %w (%s)", width, err, tail(t.stderr))
		}
		res.Fanout = append(res.Fanout, *figures)
		if len(res.Invalid) > 0 {
			break
		}
	}
	return t.stop()
}

// fanoutWidthsTo are the steps up to n sockets, n among them.
func fanoutWidthsTo(n int) (widths []int) {
	for _, w := range fanoutWidths {
		if w < n {
			widths = append(widths, w)
		}
	}
	return append(widths, n)
}

func fanoutStep(ctx context.Context, o *Options, res *Result, t *target, f *fleet, width int) (*FanoutFigures, error) {
	step := *o
	rate := o.Rate / float64(width)
	step.Duration = max(o.Duration, time.Duration(math.Ceil(fanoutFewest/rate))*time.Second)
	step.Warmup = min(o.Warmup, time.Second)
	before, err := f.count(ctx)
	if err != nil {
		return nil, err
	}
	pattern := patternOneWay
	if o.Group {
		pattern = patternGroup
	}
	type profiled struct {
		share   float64
		samples int64
		err     error
	}
	kernel, begins := make(chan profiled, 1), nowNs()+int64(startIn+step.Warmup)
	go func() {
		share, samples, err := t.kernelShare(ctx, begins, step.Duration) // receivers mark afterwards, which is not the way out
		kernel <- profiled{share, samples, err}
	}()
	m, err := measure(ctx, &step, t, f, pattern, rate, markEvery)
	part := <-kernel
	if err = errors.Join(err, part.err); err != nil {
		return nil, err
	}
	copies := uint64(width)
	now, done, err := f.drain(ctx, drainWithin, func(c counts) bool {
		c = c.since(before)
		return c.Accepted+c.Refused >= c.Sent && c.Delivered >= c.Accepted*copies
	})
	if err != nil {
		return nil, err
	}
	now = now.since(before)
	h, err := f.latencies(ctx)
	if err != nil {
		return nil, err
	}
	if !done || now.Refused > 0 {
		res.Invalid = append(res.Invalid, fmt.Sprintf("to %d sockets: of %d sends %d were accepted and %d delivered", width, now.Sent, now.Accepted, now.Delivered))
	}
	res.Invalid = append(res.Invalid, unbelievable(now, h, copies)...)
	if err := res.keep(h); err != nil {
		return nil, err
	}
	judgeLag(res, 5*time.Millisecond)
	if err := res.KeepHistogram(fmt.Sprintf("delivery_to_%d", width), h["delivery"]); err != nil {
		return nil, err
	}
	n := float64(max(m.window.Delivered, 1))
	cost := m.server.Seconds() * 1e6 / n
	return &FanoutFigures{
		Recipients: width, Messages: m.window.Sent, Delivered: m.window.Delivered, Latency: percentiles(h["delivery"]),
		Group: o.Group, UserUs: cost * (1 - part.share), KernelUs: cost * part.share, Samples: part.samples,
	}, nil
}
