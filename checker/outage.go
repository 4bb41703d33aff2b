package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bounds are MB that a process of a kind may take, whatever is down: of a JVM
// its heap (1 GB, 384 MB), what it keeps beside it, and a fifth.
var bounds = map[string]int64{"gateway": 1024, "processor": 1024, "kafka": 1000, "cassandra": 2600, "redis": 256, "haproxy": 512}

// check is a claim of an outage, judged.
type check struct {
	Claim, Bound, Got string
	Held              bool
}

// check enters one, and makes a fault of it when it did not hold.
func (s *storm) check(held bool, claim, bound, format string, a ...any) {
	c := check{claim, bound, fmt.Sprintf(format, a...), held}
	s.checks = append(s.checks, c)
	fmt.Printf("       %s: %s; want %s\n", claim, c.Got, bound)
	if !held {
		s.ledger.fault("outage: %s: %s; want %s", claim, c.Got, bound)
	}
}

// outage stops Cassandra under load, and when all is well again the brokers.
func (s *storm) outage(ctx context.Context) error {
	wait(ctx, nil, 20*time.Second)
	if err := s.withoutStore(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	wait(ctx, nil, s.o.calm)
	if err := s.withoutLog(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// withoutStore: senders are acknowledged all the same, and the lag shows.
func (s *storm) withoutStore(ctx context.Context) error {
	p := s.cl.procs["cassandra"]
	return s.during(ctx, s.times.begin("outage", p.name), func() error {
		lag := s.cl.lag(ctx)
		if err := s.stop(ctx, p); err != nil {
			return err
		}
		wait(ctx, nil, time.Second) // what was on its way
		a := s.tally()
		wait(ctx, nil, s.o.outage)
		b := s.tally()
		sent, taken := b.attempted-a.attempted, b.accepted-a.accepted
		s.check(sent > 0 && taken >= sent*9/10, "without Cassandra, sends acknowledged", "9 of 10", "%d of %d in %v", taken, sent, s.o.outage)
		now := s.cl.lag(ctx)
		s.check(now >= lag+float64(taken)/2, "without Cassandra, the lag that owners show", "it grows by what is acknowledged", "from %.0f to %.0f positions", lag, now)
		return s.cl.start(ctx, p)
	})
}

// withoutLog: nothing is acknowledged, and who is refused is told when to come back.
func (s *storm) withoutLog(ctx context.Context) error {
	return s.during(ctx, s.times.begin("outage", "all brokers"), func() error {
		for _, p := range s.cl.of("broker") {
			if err := s.stop(ctx, p); err != nil {
				return err
			}
		}
		wait(ctx, nil, time.Second) // what was on its way
		a := s.tally()
		wait(ctx, nil, s.o.outage/5)
		b := s.tally()
		s.check(b.accepted == a.accepted, "without Kafka, sends acknowledged", "none", "%d of %d in %v", b.accepted-a.accepted, b.attempted-a.attempted, s.o.outage/5)
		s.check(b.overloaded > a.overloaded, "without Kafka, senders refused as overloaded, with a time to come back at", "some", "%d", b.overloaded-a.overloaded)
		start := []string{"start"}
		for _, p := range s.cl.of("broker") {
			start = append(start, p.name)
		}
		return s.cl.services(ctx, start...)
	})
}

func (s *storm) stop(ctx context.Context, p *proc) error {
	pid := p.pid(s.cl)
	return errors.Join(p.signal(s.cl, syscall.SIGKILL), gone(ctx, pid))
}

// tally is what the ledger and the devices count.
func (s *storm) tally() (t second) {
	s.ledger.mu.Lock()
	t.attempted, t.accepted = s.ledger.attempted, s.ledger.accepted
	s.ledger.mu.Unlock()
	for _, c := range s.clients {
		c.mu.Lock()
		t.overloaded += c.overloaded
		c.mu.Unlock()
	}
	return t
}

// after judges what an outage has to have left behind: nothing that waits, all
// that was accepted delivered, and every process within its bound all the time.
func (s *storm) after(ctx context.Context) {
	lag := -1.0
	err := s.until(ctx, s.o.patience, "owners have applied everything", func() bool { lag = s.cl.lag(ctx); return lag == 0 })
	s.check(err == nil, "afterwards, the lag that owners show", "0 positions", "%.0f positions", lag)
	s.ledger.mu.Lock()
	accepted, attempted, faults := s.ledger.accepted, s.ledger.attempted, s.ledger.count
	s.ledger.mu.Unlock()
	s.check(accepted == attempted && faults == 0, "afterwards, messages accepted, stored and delivered", "all, without a fault",
		"%d of %d accepted, %d faults", accepted, attempted, faults)
	s.bounded()
}

// bounded holds the most memory that every process took, from the load's
// beginning on, against its bound.
func (s *storm) bounded() {
	most, seen := map[string]int64{}, map[string]int{}
	s.times.mu.Lock()
	for i := range s.times.seconds {
		for name, bytes := range s.times.seconds[i].memory {
			most[name] = max(most[name], bytes)
			seen[name]++
		}
	}
	s.times.mu.Unlock()
	for _, name := range slices.Sorted(slices.Values(s.cl.names)) {
		kind, _, _ := strings.Cut(name, "-")
		s.check(seen[name] > 0 && most[name] <= bounds[kind]<<20, "memory of "+name, fmt.Sprintf("at most %d MB", bounds[kind]),
			"%d MB at most, of %d looks", most[name]>>20, seen[name])
	}
}
