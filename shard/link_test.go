package shard

import (
	"fmt"
	"testing"
)

// TestFirstEntryNeedsNoCatchUp gives a user who has everything the first entry
// that the worker knows of.
func TestFirstEntryNeedsNoCatchUp(t *testing.T) {
	s := newSim(t, 1, 1)
	s.from("ann", 1, "before the restart", 0)
	s.run()
	bob, cid := s.reader("bob"), s.reader("cid")
	cid.at = s.log.End(0)
	before := bob.catchUps
	for n := range uint64(20) {
		s.from("ann", 10+n, "m", 0)
	}
	s.log.put(0, message(s.ring, "cid", "ann", 40, 0))
	s.run()
	if n := bob.catchUps - before + cid.catchUps; n != 0 || len(bob.seen) != 21 || len(cid.seen) != 1 {
		t.Errorf("%d catch-ups of readers that had everything; they saw %v and %v", n, bob.seen, cid.seen)
	}
	s.check()
}

// TestForgottenHead hides nothing: who has missed an entry that the worker has
// forgotten catches up.
func TestForgottenHead(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.Heads, s.opt.BatchRecords = 1, 1
	s.from("ann", 1, "missed", 0)
	s.start()
	w := s.workers[0]
	turn := func() {
		w.begin(s.log.next(0, w.last, 1<<20))
		for w.left > 0 {
			s.must(w.cycle(t.Context()))
		}
	}
	s.dropped = 100
	turn()
	s.dropped = 0
	for n := range uint64(100) {
		s.log.put(0, message(s.ring, fmt.Sprint("noise", n), "ann", 10+n, 0))
	}
	s.from("ann", 200, "m", 0)
	turn()
	if bob := s.reader("bob"); bob.catchUps != 1 || len(bob.seen) != 2 {
		t.Errorf("bob saw %v, after %d catch-ups", bob.seen, bob.catchUps)
	}
}
