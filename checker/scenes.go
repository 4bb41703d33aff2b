package main

import (
	"context"
	"syscall"
	"time"
)

// bufferedSends: a gateway holds sends that no broker has taken when it stops;
// its clients retry them elsewhere; then it wakes up and appends them too.
func (s *storm) bufferedSends(ctx context.Context) error {
	all := s.cl.of("gateway")
	p := all[s.rng.IntN(len(all))]
	return s.during(ctx, s.times.begin("buffered", p.name), func() error {
		for _, b := range s.cl.of("broker") {
			if err := b.signal(s.cl, syscall.SIGSTOP); err != nil {
				return err
			}
		}
		wait(ctx, nil, time.Second)
		err := p.signal(s.cl, syscall.SIGSTOP)
		for _, b := range s.cl.of("broker") {
			b.signal(s.cl, syscall.SIGCONT)
		}
		if err != nil {
			return err
		}
		wait(ctx, nil, s.holding())
		return p.signal(s.cl, syscall.SIGCONT)
	})
}

// droppedHints: nothing reaches gateways from processors.
func (s *storm) droppedHints(ctx context.Context) error {
	return s.during(ctx, s.times.begin("hints", "all gateways"), func() error {
		if err := s.cl.drop(in, s.rpcPorts()); err != nil {
			return err
		}
		wait(ctx, nil, s.holding())
		return s.cl.heal()
	})
}

func (s *storm) rpcPorts() (ports []int) {
	for _, p := range s.cl.of("gateway") {
		ports = append(ports, p.ports[2])
	}
	return ports
}

// zombieOwner: a processor sleeps until its partitions are others', and wakes up.
func (s *storm) zombieOwner(ctx context.Context) error {
	all := s.cl.of("processor")
	p := all[s.rng.IntN(len(all))]
	return s.during(ctx, s.times.begin("zombie", p.name), func() error { return s.paused(ctx, p, s.o.hold+8*time.Second) })
}

// sleepingFollowers: the leader of most partitions dies while the other brokers
// sleep, so that nobody else has what they were sent meanwhile; which must not
// have been acknowledged.
func (s *storm) sleepingFollowers(ctx context.Context) error {
	brokers := s.cl.of("broker")
	s.rng.Shuffle(len(brokers), func(a, b int) { brokers[a], brokers[b] = brokers[b], brokers[a] })
	leader, followers := brokers[0], brokers[1:]
	return s.during(ctx, s.times.begin("followers", leader.name), func() error {
		for _, p := range followers {
			if err := p.signal(s.cl, syscall.SIGSTOP); err != nil {
				return err
			}
		}
		wait(ctx, nil, 4*time.Second) // below the sessions of brokers with their controller
		pid := leader.pid(s.cl)
		err := leader.signal(s.cl, syscall.SIGKILL)
		for _, p := range followers {
			p.signal(s.cl, syscall.SIGCONT)
		}
		if err != nil {
			return err
		}
		if err := gone(ctx, pid); err != nil {
			return err
		}
		wait(ctx, nil, s.holding()) // others lead, without what it alone had
		return s.cl.start(ctx, leader)
	})
}

// noOwners: all processors die at once, in the middle of their cycles.
func (s *storm) noOwners(ctx context.Context) error {
	return s.during(ctx, s.times.begin("owners", "all processors"), func() error {
		all := s.cl.of("processor")
		for _, p := range all {
			if err := p.signal(s.cl, syscall.SIGKILL); err != nil {
				return err
			}
		}
		for _, p := range all {
			<-p.ended
			if err := s.cl.spawn(p); err != nil {
				return err
			}
		}
		return nil
	})
}
