package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	startIn     = 250 * time.Millisecond // agents get their order before it
	drainWithin = 5 * time.Minute
	lateWindow  = 0.02 // of the time that counts: an agent whose own differs by more was late
)

// load warms up, measures, and fills in what every load has. Each message goes
// to one session.
func load(ctx context.Context, o *Options, res *Result, t *target, f *fleet, pattern string) error {
	setDefault(&o.MarkEvery, markEvery)
	fmt.Fprintf(o.Progress, "%.0f messages a second, %d a write\n", o.Rate, o.PerWrite)
	err := loadAndDrain(ctx, o, res, t, f, pattern)
	if errors.Is(err, errAgent) && ctx.Err() == nil {
		res.Invalid = append(res.Invalid, err.Error())
		return nil
	}
	return err
}

func loadAndDrain(ctx context.Context, o *Options, res *Result, t *target, f *fleet, pattern string) error {
	before, err := t.allocations()
	if err != nil {
		return err
	}
	m, err := measure(ctx, o, t, f, pattern, o.Rate, o.MarkEvery)
	if err != nil {
		return err
	}
	res.Rate, res.PerWrite, res.SizeBytes, res.Seconds = o.Rate, o.PerWrite, o.Size, m.seconds
	res.LookEveryMs, res.Rise = float64(o.LookEvery)/1e6, o.Rise
	res.MarkEveryMs, res.Contacts, res.Encrypted = float64(o.MarkEvery)/1e6, o.Contacts, o.Encrypted
	res.window(m)
	res.lines(m, o.Duration)
	res.PeakBytes = t.resident()
	c, err := drained(ctx, o, res, f)
	if err != nil {
		return err
	}
	after, err := t.allocations()
	if c.Delivered > 0 {
		res.AllocationsPerMessage = (after - before) / float64(c.Delivered)
	}
	return err
}

// window fills in what the time that counts has of a load.
func (res *Result) window(m *measured) {
	w := m.window
	res.Sent, res.Accepted, res.Delivered, res.Stored = w.Sent, w.Accepted, w.Delivered, uint64(m.stored)
	res.AcceptedPS, res.DeliveredPS = float64(w.Accepted)/m.seconds, float64(w.Delivered)/m.seconds
	res.StoredPS = m.stored / m.seconds
	res.ServerCores, res.LoadCores = m.server.Seconds()/m.seconds, m.loadCPU.Seconds()/m.seconds
	res.StolenCores = m.stolen.Seconds() / m.seconds
	if w.Delivered > 0 {
		res.ServerCPUPerMessageUs = m.server.Seconds() * 1e6 / float64(w.Delivered)
	}
	for name, cpu := range m.each {
		if res.ProcessCores == nil {
			res.ProcessCores = map[string]float64{}
		}
		res.ProcessCores[name] = cpu.Seconds() / m.seconds
	}
}

// drained waits until all messages have come, and takes the latencies. What does
// not add up makes the run invalid. It returns what the load has done in all.
func drained(ctx context.Context, o *Options, res *Result, f *fleet) (counts, error) {
	fmt.Fprintf(o.Progress, "draining\n")
	began := time.Now()
	c, done, err := f.drain(ctx, drainWithin, func(c counts) bool { return c.Accepted+c.Refused >= c.Sent && c.Delivered >= c.Accepted })
	if err != nil {
		return c, err
	}
	res.DrainedSecs = time.Since(began).Seconds()
	res.Refused, res.Receipts = c.Refused, c.Receipts
	if !done {
		res.Invalid = append(res.Invalid, fmt.Sprintf("of %d sends %d were accepted and %d delivered in the end", c.Sent, c.Accepted, c.Delivered))
	}
	h, err := f.latencies(ctx)
	if err != nil {
		return c, err
	}
	res.Invalid = append(res.Invalid, f.late...)
	res.Invalid = append(res.Invalid, unbelievable(c, h, 1)...)
	return c, res.keep(h)
}

// keep fills in the latencies of a load, raw ones too.
func (res *Result) keep(h map[string]*hdrhistogram.Histogram) error {
	res.Delivery, res.Ack, res.LoadLag = percentiles(h["delivery"]), percentiles(h["ack"]), percentiles(h["load_lag"])
	for _, name := range []string{"delivery", "ack", "load_lag"} {
		if err := res.KeepHistogram(name, h[name]); err != nil {
			return err
		}
	}
	return nil
}

// unbelievable says what of the agents' sums cannot be, once everything was
// drained: more came than was accepted, or latencies that are not of these
// messages.
func unbelievable(c counts, h map[string]*hdrhistogram.Histogram, copies uint64) (why []string) {
	if c.Accepted+c.Refused > c.Sent {
		why = append(why, fmt.Sprintf("agents say that of %d sends %d were accepted and %d refused", c.Sent, c.Accepted, c.Refused))
	}
	if c.Delivered > c.Accepted*copies {
		why = append(why, fmt.Sprintf("agents say that of %d accepted messages %d were delivered", c.Accepted, c.Delivered))
	}
	if n := uint64(h["delivery"].TotalCount()); n > c.Measured*copies {
		why = append(why, fmt.Sprintf("agents have %d latencies of %d messages", n, c.Measured))
	}
	return why
}

// measured is what a load found in the time that counts.
type measured struct {
	window  counts
	seconds float64
	stored  float64 // messages, by the server's own count
	server  time.Duration
	each    map[string]time.Duration
	loadCPU time.Duration
	stolen  time.Duration

	steps    []counts // of all agents, for each step
	followed followed
}

// measure lets all agents send, each its share of the rate, and watches the
// server in the time that counts.
func measure(ctx context.Context, o *Options, t *target, f *fleet, pattern string, rate float64, marking time.Duration) (*measured, error) {
	start := nowNs() + int64(startIn)
	senders := 0
	for _, n := range f.parts {
		senders += n
	}
	type answer struct {
		reports []*report
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		reports, err := f.all(ctx, startIn+o.Warmup+o.Duration, func(i int) *order {
			share := float64(f.parts[i]) / float64(senders)
			if fromFirst(pattern) {
				share = 1 // of the agent that has the sender
			}
			return &order{Op: opLoad, Load: &loadOrder{
				StartNs: start, WarmupNs: int64(o.Warmup), Rise: o.Rise, DurationNs: int64(o.Duration), Rate: rate * share, PerWrite: o.PerWrite,
				SizeBytes: o.Size, MarkEveryNs: int64(marking), LookEveryNs: int64(o.LookEvery), Seed: uint64(i) + 2, Pattern: pattern, Contacts: o.Contacts, Encrypted: o.Encrypted,
			}}
		})
		answered <- answer{reports, err}
	}()
	counter := storedCounter
	if fromFirst(pattern) {
		counter = "" // a fan-out stores little, and does not pay for being asked
	}
	m, err := t.watch(ctx, start+int64(o.Warmup), o.Duration, counter)
	a := <-answered
	if err = errors.Join(err, a.err); err != nil {
		return nil, err
	}
	for i, rep := range a.reports {
		m.window.add(rep.Window)
		m.steps = addSteps(m.steps, rep.Steps)
		m.loadCPU += time.Duration(rep.CPUNs)
		m.seconds = max(m.seconds, rep.Seconds)
		if asked := o.Duration.Seconds(); rep.Seconds > asked*(1+lateWindow) || rep.Seconds < asked*(1-lateWindow) {
			f.late = append(f.late, fmt.Sprintf("%s measured %.2f s instead of %.2f", f.agents[i].name, rep.Seconds, asked))
		}
	}
	return m, nil
}

// watch measures the server from a time on, for a while.
func (t *target) watch(ctx context.Context, fromNs int64, d time.Duration, counter string) (*measured, error) {
	f, err := t.follow(ctx, fromNs, d, counter)
	if err != nil {
		return nil, err
	}
	m := &measured{followed: f, stored: f.last.counter - f.first.counter, server: f.last.server - f.first.server, stolen: f.last.stolen - f.first.stolen, each: f.last.each}
	for name := range m.each {
		m.each[name] -= f.first.each[name]
	}
	return m, nil
}

func sleepUntil(ctx context.Context, ns int64) error {
	timer := time.NewTimer(time.Duration(ns - nowNs()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// judgeLag marks the run as invalid when the load was late itself.
func judgeLag(res *Result, p99 time.Duration) {
	if why := fellBehind(res.LoadLag, p99); why != "" {
		res.Invalid = append(res.Invalid, why)
	}
}

// fellBehind says that a load was late itself.
func fellBehind(lag Percentiles, p99 time.Duration) string {
	if late := time.Duration(lag.P99) * time.Microsecond; late > p99 {
		return fmt.Sprintf("the load fell behind: p99 of %v late, more than %v", late, p99)
	}
	return ""
}
