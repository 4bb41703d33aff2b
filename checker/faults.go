package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// targets are the kinds of processes that faults befall, one at a time.
var targets = []string{"broker", "cassandra", "redis", "gateway", "processor", "haproxy"}

// fault is one kind of trouble for a target.
type fault struct{ what, target string }

// scenes are faults with a plan.
var scenes = map[string]func(*storm, context.Context) error{
	"buffered":  (*storm).bufferedSends,
	"hints":     (*storm).droppedHints,
	"zombie":    (*storm).zombieOwner,
	"followers": (*storm).sleepingFollowers,
	"owners":    (*storm).noOwners,
}

// errFound ends a run early that has found what it was expected to.
var errFound = errors.New("found what was expected")

// trouble brings one fault after the other, each healed before the next, in an
// order in which every kind comes once before any comes twice.
func (s *storm) trouble(ctx context.Context) error {
	if s.o.outage > 0 {
		return s.outage(ctx)
	}
	plan, err := s.plan() // looked at before
	if err != nil {
		return err
	}
	for len(plan) == 0 && ctx.Err() == nil && !s.found() {
		wait(ctx, nil, time.Second)
	}
	if len(plan) == 0 {
		return nil
	}
	for {
		s.rng.Shuffle(len(plan), func(a, b int) { plan[a], plan[b] = plan[b], plan[a] })
		for _, f := range plan {
			wait(ctx, nil, s.o.calm)
			if ctx.Err() != nil {
				return nil
			}
			if s.found() {
				return errFound
			}
			if err := s.one(context.WithoutCancel(ctx), f); err != nil {
				return err
			}
		}
	}
}

// plan is the faults and scenes that were asked for.
func (s *storm) plan() (plan []fault, err error) {
	for what := range strings.SplitSeq(s.o.faults, ",") {
		if what == "" {
			continue
		}
		if !slices.Contains([]string{"kill", "pause", "cut"}, what) {
			return nil, fmt.Errorf("no fault %q: there are kill, pause, cut", what)
		}
		for _, target := range targets {
			if s.o.targets == "" || slices.Contains(strings.Split(s.o.targets, ","), target) {
				plan = append(plan, fault{what, target})
			}
		}
	}
	for name := range scenes {
		if s.o.scenes == "all" || slices.Contains(strings.Split(s.o.scenes, ","), name) {
			plan = append(plan, fault{name, ""})
		}
	}
	for _, f := range plan {
		if s.o.large && !slices.Contains([]string{"gateway", "processor", "haproxy"}, f.target) {
			return nil, fmt.Errorf("--large is for servers that nothing befalls: leave out %s", strings.TrimSpace(f.what+" "+f.target))
		}
	}
	slices.SortFunc(plan, func(a, b fault) int { return strings.Compare(a.what+a.target, b.what+b.target) })
	return plan, s.mayCut(plan)
}

// mayCut makes sure that what is cut is a network of this run's own.
func (s *storm) mayCut(plan []fault) error {
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) <= 1 { // nothing but a loopback of its own
		return err
	}
	for _, f := range plan {
		if f.what == "cut" || f.what == "hints" {
			return fmt.Errorf("%s drops packets, which needs a network namespace of its own: run this under unshare -n, or without it", f.what)
		}
	}
	return nil
}

// one brings a fault about, heals it, and waits until all is well.
func (s *storm) one(ctx context.Context, f fault) error {
	if scene := scenes[f.what]; scene != nil {
		return scene(s, ctx)
	}
	all := s.cl.of(f.target)
	p := all[s.rng.IntN(len(all))]
	switch f.what {
	case "kill":
		return s.during(ctx, s.times.begin("kill", p.name), func() error { return s.killed(ctx, p) })
	case "pause":
		return s.during(ctx, s.times.begin("pause", p.name), func() error { return s.paused(ctx, p, s.holding()) })
	}
	d := []direction{in, out, in | out}[s.rng.IntN(3)]
	return s.during(ctx, s.times.begin("cut "+d.String(), p.name), func() error { return s.severed(ctx, d, s.holding(), p) })
}

// holding is how long a fault stays: around the option, never below it, for it
// is chosen above the time-outs that are to pass.
func (s *storm) holding() time.Duration {
	return s.o.hold + time.Duration(s.rng.Int64N(int64(s.o.hold/2)+1))
}

// during runs a fault to its healing, then waits until all is whole.
func (s *storm) during(ctx context.Context, e *event, f func() error) error {
	fmt.Printf("       %s %s\n", e.What, e.Target)
	err := f()
	e.Heal = s.times.since()
	if err == nil {
		err = s.whole(ctx)
	}
	e.Whole = s.times.since()
	if err != nil {
		e.Note = err.Error()
		s.ledger.fault("unhealed: after %s %s: %v", e.What, e.Target, err)
		return err
	}
	fmt.Printf("       %s %s is healed after %.1f s, all is whole after %.1f s\n", e.What, e.Target, e.Heal-e.Begin, e.Whole-e.Begin)
	return nil
}

const healing = 3 * time.Minute

// whole waits until every replica is in sync, every process ready, and nearly
// everybody who is not away is back.
func (s *storm) whole(ctx context.Context) error {
	if err := s.cl.inSync(ctx, healing); err != nil {
		return err
	}
	for _, name := range s.cl.names {
		if p := s.cl.procs[name]; !p.service {
			if err := s.cl.ready(ctx, p, healing); err != nil {
				return err
			}
		}
	}
	return s.until(ctx, healing, "everybody is connected again", func() bool {
		missing := 0
		for _, c := range s.clients {
			c.mu.Lock()
			if !c.away.Load() && !(c.online && c.welcomed) {
				missing++
			}
			c.mu.Unlock()
		}
		return missing <= len(s.clients)/50
	})
}

// killed is kill -9, a while without it, and a start.
func (s *storm) killed(ctx context.Context, p *proc) error {
	pid := p.pid(s.cl)
	if err := p.signal(s.cl, syscall.SIGKILL); err != nil {
		return err
	}
	if err := gone(ctx, pid); err != nil {
		return err
	}
	wait(ctx, nil, rand.N(s.o.hold))
	return s.cl.start(ctx, p)
}

// gone waits until a process is none any more, or nobody has asked how it ended.
func gone(ctx context.Context, pid int) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); wait(ctx, nil, 20*time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil
		}
		if _, rest, ok := strings.Cut(string(b), ") "); ok && strings.HasPrefix(rest, "Z") {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// paused is SIGSTOP for a while.
func (s *storm) paused(ctx context.Context, p *proc, hold time.Duration) error {
	if err := p.signal(s.cl, syscall.SIGSTOP); err != nil {
		return err
	}
	wait(ctx, nil, hold)
	return p.signal(s.cl, syscall.SIGCONT)
}

// severed is without packets from, or to, some processes for a while.
func (s *storm) severed(ctx context.Context, d direction, hold time.Duration, procs ...*proc) error {
	if err := s.cl.cut(d, procs...); err != nil {
		return err
	}
	wait(ctx, nil, hold)
	return s.cl.heal()
}
