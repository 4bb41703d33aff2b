package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// changeEvery is how often somebody joins or leaves, in any of the groups.
const changeEvery = 500 * time.Millisecond

// fewestMembers is how many a storm's group always has.
const fewestMembers = 5

var errNoFounder = errors.New("who is to make a group is not there")

// makeGroups has groups made by users who may be members of them, and waits until
// there are all. A single one is as large as it may be.
func (s *storm) makeGroups(ctx context.Context) error {
	phones := map[string]*client{}
	var users []string
	for _, c := range s.clients {
		if c.name == "phone" {
			phones[c.user] = c
			users = append(users, c.user)
		}
	}
	s.phones = phones
	for range s.o.groups {
		s.rng.Shuffle(len(users), func(a, b int) { users[a], users[b] = users[b], users[a] })
		size := min(len(users), s.o.members)
		if s.o.groups > 1 {
			size = min(len(users), fewestMembers+1+s.rng.IntN(s.o.members-fewestMembers))
		}
		of := append([]string{}, users[:size]...)
		g := newGroup(of, max(3, size/4))
		in := map[string]bool{}
		for _, u := range of {
			in[u] = true
		}
		for _, c := range s.clients {
			if in[c.user] {
				c.mu.Lock()
				c.groups, c.oneIn = append(c.groups, g), s.o.toGroups
				c.mu.Unlock()
			}
		}
		s.groups = append(s.groups, g)
		if !phones[g.creator].change(g, &change{verbCreate, of[1:max(g.steady, size*7/8)]}) {
			return errNoFounder
		}
	}
	return s.until(ctx, time.Minute, "there are the groups", func() bool {
		s.ledger.mu.Lock()
		defer s.ledger.mu.Unlock()
		for _, g := range s.groups {
			if !g.open {
				return false
			}
		}
		return true
	})
}

// churn lets members join, leave and be removed, until ctx ends. A comer follows a
// goer, so that groups stay about as large as they were made.
func (s *storm) churn(ctx context.Context) {
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	rng := rand.New(rand.NewPCG(s.o.seed, 11))
	for coming := false; ; coming = !coming {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(s.groups) == 0 {
			return
		}
		g := s.groups[rng.IntN(len(s.groups))]
		s.ledger.mu.Lock()
		user := g.any(coming, rng)
		in, members, comings := g.asked[user], len(g.asked), g.comings[user]
		s.ledger.mu.Unlock()
		switch {
		case !in && comings < mostComings:
			s.phones[g.creator].change(g, &change{verbAdd, []string{user}})
		case in && members > max(fewestMembers, g.steady) && rng.IntN(2) == 0:
			s.phones[g.creator].change(g, &change{verbRemove, []string{user}})
		case in && members > max(fewestMembers, g.steady):
			s.phones[user].change(g, &change{verb: verbLeave})
		}
	}
}

// any is one of those who come and go: of who is no member, where there is one,
// to come, else of who is.
func (g *group) any(toCome bool, rng *rand.Rand) (user string) {
	others := g.users[g.steady:]
	from := rng.IntN(len(others))
	for i := range others {
		if user = others[(from+i)%len(others)]; g.asked[user] != toCome {
			break
		}
	}
	return user
}

// change sends a change of a group; false: the device is not there.
func (c *client) change(g *group, to *change) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun || c.away.Load() {
		return false
	}
	c.outbox = append(c.outbox, c.composeToGroup(g, to))
	c.wake(0)
	return true
}

// groupCounts are for the summary.
func (l *ledger) groupCounts() (messages, changes, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.groups {
		for _, m := range g.messages {
			messages++
			if m.change != nil {
				changes++
			}
			if m.code != 0 {
				refused++
			}
		}
	}
	return messages, changes, refused
}
