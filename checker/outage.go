package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// outage stops Cassandra under load, and when all is well again the brokers.
func (s *storm) outage(ctx context.Context) error {
	wait(ctx, nil, 20*time.Second)
	before := s.memoryOfOurs()
	if err := s.withoutStore(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	wait(ctx, nil, s.o.calm)
	if err := s.withoutLog(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	s.bounded(before)
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
		wait(ctx, nil, s.o.outage/2)
		a := s.tally()
		wait(ctx, nil, s.o.outage/2)
		b := s.tally()
		if sent, taken := b.attempted-a.attempted, b.accepted-a.accepted; taken < sent*9/10 {
			s.ledger.fault("outage: without the store %d of %d sends were acknowledged", taken, sent)
		}
		if now := s.cl.lag(ctx); now <= lag {
			s.ledger.fault("outage: the lag was %.0f before the store stopped, and is %.0f", lag, now)
		} else {
			fmt.Printf("       without the store %d of %d sends were acknowledged; lag from %.0f to %.0f\n", b.accepted-a.accepted, b.attempted-a.attempted, lag, now)
		}
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
		if b.accepted > a.accepted {
			s.ledger.fault("outage: %d sends were acknowledged without a broker", b.accepted-a.accepted)
		}
		if b.refused == a.refused {
			s.ledger.fault("outage: without a broker, of %d sends none was refused with a time to come back at", b.attempted-a.attempted)
		}
		fmt.Printf("       without a broker %d of %d sends were acknowledged, %d refused\n", b.accepted-a.accepted, b.attempted-a.attempted, b.refused-a.refused)
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
		t.refused += c.refusals
		c.mu.Unlock()
	}
	return t
}

// memoryOfOurs is the resident bytes of gateways and processors.
func (s *storm) memoryOfOurs() map[string]int64 {
	all := s.cl.memory()
	for name, p := range s.cl.procs {
		if p.service {
			delete(all, name)
		}
	}
	return all
}

// bounded holds the most memory that gateways and processors took against what
// they may.
func (s *storm) bounded(before map[string]int64) {
	s.times.mu.Lock()
	defer s.times.mu.Unlock()
	most := map[string]int64{}
	for i := range s.times.seconds {
		for name, bytes := range s.times.seconds[i].memory {
			most[name] = max(most[name], bytes)
		}
	}
	for name, was := range before {
		fmt.Printf("       %s took %d MB before, %d MB at most\n", name, was>>20, most[name]>>20)
		if most[name] > s.o.memory<<20 {
			s.ledger.fault("outage: %s took %d MB, more than %d", name, most[name]>>20, s.o.memory)
		}
	}
}
