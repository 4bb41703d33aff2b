package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// wide are server settings that keep its limits out of the way of a load from
// one address.
var wide = []string{
	"--session-unauthenticated-per-address=1000000", "--engine-accept-per-second=0",
	"--session-rate-messages=1000000", "--session-rate-burst=1000000", "--session-rate-bytes=1GiB",
}

// up starts a server and connects the load to it.
func up(o *Options, res *Result, flags ...string) (*target, *run, error) {
	flags = append(append(append([]string{}, wide...), flags...), o.ServerFlags...)
	t, err := startTarget(o.Dir, flags...)
	if err != nil {
		return nil, nil, err
	}
	res.ServerFlags = flags
	r, err := connect(o, res, t)
	if err != nil {
		t.kill()
		return nil, nil, err
	}
	return t, r, nil
}

// connect connects the load to a server.
func connect(o *Options, res *Result, t *target) (*run, error) {
	res.EmptyBytes, res.Connections = t.resident(), o.Connections
	r, err := newRun()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Progress, "connecting %d sessions\n", o.Connections)
	if err = r.connect(t.sockets, o.Connections, t.token); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	return r, nil
}

// idle measures the resident bytes of a session that has received a message.
func idle(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 15_000)
	t, r, err := up(o, res)
	if err != nil {
		return err
	}
	defer t.kill()
	defer r.loop.close()
	connected := t.settle()
	for i, c := range r.conns {
		r.burst(c, r.conns[(i+1)%len(r.conns)], 1, o.Size, r.loop.clock())
		if i%64 == 63 {
			if err := r.loop.poll(r.loop.clock()); err != nil {
				return err
			}
			r.markAll()
		}
	}
	all := uint64(len(r.conns))
	done, err := r.drain(settleFor, func() bool { return r.delivered >= all && r.accepted >= all && r.receipts >= all })
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("bench: %d of %d messages were delivered, %d receipts", r.delivered, all, r.receipts)
	}
	res.SettledBytes = t.settle()
	res.Delivered, res.Accepted, res.Receipts = r.delivered, r.accepted, r.receipts
	res.BytesPerConnection = float64(res.SettledBytes-res.EmptyBytes) / float64(o.Connections)
	res.BytesPerSilentConnection = float64(connected-res.EmptyBytes) / float64(o.Connections)
	return t.stop()
}

// pace sends one burst after another when it is due.
type pace struct {
	run      *run
	rate     float64 // bursts a second
	perWrite int
	size     int
	rng      *rand.Rand
	nextNs   int64
	pick     func(rng *rand.Rand) (from, to *conn)
	sent     uint64
	marking  int64 // ns between two marks of a receiver
	markNs   int64
}

const (
	markEvery    = 5 * time.Millisecond // how often receivers mark
	burstsAtOnce = 64                   // bursts sent before the sockets are looked at again
)

// until runs the load until a time of the loop. Bursts have Poisson arrivals.
func (p *pace) until(ctx context.Context, endNs int64) error {
	r := p.run
	for {
		now := r.loop.clock()
		for n := 0; p.nextNs <= now && p.nextNs < endNs && n < burstsAtOnce; n++ {
			from, to := p.pick(p.rng)
			r.burst(from, to, p.perWrite, p.size, p.nextNs)
			p.sent += uint64(p.perWrite)
			p.nextNs += int64(p.rng.ExpFloat64() / p.rate * 1e9)
		}
		if now >= endNs {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if now-p.markNs > p.marking {
			p.markNs = now
			r.markAll()
		}
		if err := r.loop.poll(min(p.nextNs, endNs, now+p.marking)); err != nil {
			return err
		}
	}
}

// load warms up, measures, and fills in what every load has.
func load(ctx context.Context, o *Options, res *Result, t *target, r *run, pick func(*rand.Rand) (from, to *conn)) error {
	setDefault(&o.MarkEvery, markEvery)
	p := &pace{run: r, rate: o.Rate / float64(o.PerWrite), perWrite: o.PerWrite, size: o.Size, rng: rand.New(rand.NewPCG(1, 2)), pick: pick, marking: int64(o.MarkEvery)}
	p.nextNs = r.loop.clock()
	fmt.Fprintf(o.Progress, "%.0f messages a second, %d a write\n", o.Rate, o.PerWrite)
	warm := p.nextNs + int64(o.Warmup)
	r.measureFromNs = warm
	if err := p.until(ctx, warm); err != nil {
		return err
	}
	accepted, delivered, sent := r.accepted, r.delivered, p.sent
	stored, err := t.metric("rookery_partition_messages_total")
	if err != nil {
		return err
	}
	stolen := stolenTime()
	serverCPU, each, loadCPU, began := t.cpu(), t.cpuByProcess(), processCPU(os.Getpid()), r.loop.clock()
	if err := p.until(ctx, warm+int64(o.Duration)); err != nil {
		return err
	}
	seconds := float64(r.loop.clock()-began) / 1e9
	serverCPU, loadCPU = t.cpu()-serverCPU, processCPU(os.Getpid())-loadCPU
	for name, now := range t.cpuByProcess() {
		if res.ProcessCores == nil {
			res.ProcessCores = map[string]float64{}
		}
		res.ProcessCores[name] = (now - each[name]).Seconds() / seconds
	}
	storedNow, err := t.metric("rookery_partition_messages_total")
	if err != nil {
		return err
	}
	res.Rate, res.PerWrite, res.SizeBytes, res.Seconds = o.Rate, o.PerWrite, o.Size, seconds
	res.MarkEveryMs = float64(o.MarkEvery) / 1e6
	res.Sent = p.sent - sent
	res.Accepted, res.Delivered, res.Stored = r.accepted-accepted, r.delivered-delivered, uint64(storedNow-stored)
	res.AcceptedPS, res.DeliveredPS = float64(res.Accepted)/seconds, float64(res.Delivered)/seconds
	res.StoredPS = float64(res.Stored) / seconds
	res.ServerCores, res.LoadCores = serverCPU.Seconds()/seconds, loadCPU.Seconds()/seconds
	if res.Delivered > 0 {
		res.ServerCPUPerMessageUs = serverCPU.Seconds() * 1e6 / float64(max(res.Accepted, res.Delivered))
	}
	res.StolenCores = (stolenTime() - stolen).Seconds() / seconds
	res.PeakBytes = t.resident()
	end := r.loop.clock()
	fmt.Fprintf(o.Progress, "draining\n")
	done, err := r.drain(5*time.Minute, func() bool { return r.accepted+r.refused >= p.sent && r.delivered >= r.accepted })
	if err != nil {
		return err
	}
	res.DrainedSecs = float64(r.loop.clock()-end) / 1e9
	res.Refused, res.Receipts = r.refused, r.receipts
	if !done {
		res.Invalid = append(res.Invalid, fmt.Sprintf("of %d sends %d were accepted and %d delivered in the end", p.sent, r.accepted, r.delivered))
	}
	res.Delivery, res.Ack, res.LoadLag = percentiles(r.delivery), percentiles(r.ack), percentiles(r.lag)
	return nil
}

// judgeLag marks the run as invalid when the load was late itself.
func judgeLag(res *Result, p99 time.Duration) {
	if lag := time.Duration(res.LoadLag.P99) * time.Microsecond; lag > p99 {
		res.Invalid = append(res.Invalid, fmt.Sprintf("the load fell behind: p99 of %v late, more than %v", lag, p99))
	}
}

// trickle is very many sessions that each send now and then.
func trickle(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 10_000)
	setDefault(&o.Rate, 5_000)
	setDefault(&o.PerWrite, 1)
	setDefault(&o.Duration, 20*time.Second)
	t, r, err := up(o, res)
	if err != nil {
		return err
	}
	defer t.kill()
	defer r.loop.close()
	if err := load(ctx, o, res, t, r, r.anyTwo); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	judgeLag(res, 5*time.Millisecond)
	return t.stop()
}

// anyTwo picks a random sender and a random receiver.
func (r *run) anyTwo(rng *rand.Rand) (from, to *conn) {
	return r.conns[rng.IntN(len(r.conns))], r.conns[rng.IntN(len(r.conns))]
}

// firehose is as much as the log takes, many packets a write.
func firehose(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 10_000)
	setDefault(&o.Rate, 1_160_000)
	setDefault(&o.PerWrite, 64)
	setDefault(&o.Duration, 10*time.Second)
	t, r, err := up(o, res, "--pipeline-partition-bytes=2GiB", "--session-window=100000", "--session-window-bytes=64MiB", "--session-inflight=100000", "--engine-out-bytes-per-connection=64MiB")
	if err != nil {
		return err
	}
	defer t.kill()
	defer r.loop.close()
	if err := load(ctx, o, res, t, r, r.anyTwo); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	judgeLag(res, 100*time.Millisecond)
	if err := r.readBack(res, 200, o.Size); err != nil {
		return err
	}
	return t.stop()
}

// slow freezes one reader while the others go on, then lets it read again.
func slow(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 10_001)
	setDefault(&o.Rate, 5_000)
	setDefault(&o.PerWrite, 1)
	setDefault(&o.Duration, 20*time.Second)
	t, r, err := up(o, res)
	if err != nil {
		return err
	}
	defer t.kill()
	defer r.loop.close()
	frozen, others := r.conns[0], r.conns[1:]
	// Every tenth message goes to the one who will freeze.
	pick := func(rng *rand.Rand) (from, to *conn) {
		from = others[rng.IntN(len(others))]
		if rng.IntN(10) == 0 {
			return from, frozen
		}
		return from, others[rng.IntN(len(others))]
	}
	r.frozen = frozen // its own latency does not count, before or after
	if err := load(ctx, o, res, t, r, pick); err != nil {
		return err
	}
	was := percentiles(r.delivery)
	res.NeighboursBefore = &was
	if err := r.freeze(ctx, o, res, t, pick); err != nil {
		return fmt.Errorf("%w (%s)", err, tail(t.stderr))
	}
	judgeLag(res, 5*time.Millisecond)
	return t.stop()
}

// freeze runs the load again while one reader reads nothing, then lets it read
// and waits until it has everything.
func (r *run) freeze(ctx context.Context, o *Options, res *Result, t *target, pick func(*rand.Rand) (from, to *conn)) error {
	r.delivery, r.ack, r.lag = newHistogram(), newHistogram(), newHistogram()
	r.toFrozen, r.frozenGot = 0, 0
	f := r.frozen
	f.frozen = true
	r.loop.want(f, false, false)
	p := &pace{run: r, rate: o.Rate, perWrite: 1, size: o.Size, rng: rand.New(rand.NewPCG(3, 4)), pick: pick, nextNs: r.loop.clock(), marking: int64(o.MarkEvery)}
	r.measureFromNs = p.nextNs
	fmt.Fprintf(o.Progress, "one reader is frozen\n")
	if err := p.until(ctx, p.nextNs+int64(o.Duration)); err != nil {
		return err
	}
	res.PeakBytes = t.resident()
	res.Delivery, res.Ack, res.LoadLag = percentiles(r.delivery), percentiles(r.ack), percentiles(r.lag)
	fmt.Fprintf(o.Progress, "it reads again\n")
	f.frozen = false
	r.loop.want(f, len(f.out) > 0, true)
	done, err := r.drain(time.Minute, func() bool { return r.frozenGot >= r.toFrozen })
	if err != nil {
		return err
	}
	res.FrozenGot, res.FrozenWaiting = r.frozenGot, r.toFrozen
	if !done || r.frozenGot != r.toFrozen {
		return fmt.Errorf("bench: %d messages were sent to the frozen reader, it got %d", r.toFrozen, r.frozenGot)
	}
	return nil
}
