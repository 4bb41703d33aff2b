package shard

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// TestMoves compares what is told with where the ring puts users.
func TestMoves(t *testing.T) {
	for _, c := range [][2]int{{4, 4}, {4, 8}, {8, 3}, {1, 5}, {6, 1}, {16, 24}} {
		from, to := NewRing(c[0], [16]byte{1}), NewRing(c[1], [16]byte{1})
		const users = 20_000
		seen := map[[2]int]float64{}
		for i := range users {
			name := []byte(fmt.Sprint("user", i))
			seen[[2]int{from.Partition(name), to.Partition(name)}] += 1.0 / users
		}
		sum := 0.0
		for _, m := range Moves(c[0], c[1]) {
			sum += m.Share
			at := [2]int{m.From, m.To}
			if math.Abs(seen[at]-m.Share) > 0.02 {
				t.Errorf("%v: %v told for %v, %v are", c, m.Share, at, seen[at])
			}
			delete(seen, at)
		}
		if math.Abs(sum-1) > 1e-9 || len(seen) != 0 {
			t.Errorf("%v: shares make %v, not told: %v", c, sum, seen)
		}
	}
}

// TestEndedAndBegin goes from one log to another: not before everything is
// stored, and then from the start of the new one's epoch, with what is known of
// ids.
func TestEndedAndBegin(t *testing.T) {
	s := newSim(t, 1, 2)
	s.from("ann", 1, "hi", 0)
	if _, err := Ended(t.Context(), s.log, s.store); !errors.Is(err, ErrNotApplied) {
		t.Errorf("before it is stored: %v", err)
	}
	s.run()
	newest, err := Ended(t.Context(), s.log, s.store)
	if err != nil || newest == 0 {
		t.Fatalf("newest %d, %v", newest, err)
	}
	next := newMemLog(3)
	next.identity = [16]byte{9}
	next.epoch = 1
	for range 2 { // it may be repeated
		if err := Begin(t.Context(), next, 1, newest, s.store); err != nil {
			t.Fatal(err)
		}
	}
	for p := range 3 {
		mark, _ := s.store.Mark(t.Context(), p)
		var id uint64
		if err := decodeOwner(mark.Owner, &id, make([]chat.Position, 3)); err != nil || id != newest {
			t.Errorf("partition %d: newest %d, %v", p, id, err)
		}
		if mark.Log != next.identity || mark.Position != chat.NewPosition(1, 0) {
			t.Errorf("partition %d is marked %v", p, mark)
		}
	}
	if _, err := Ended(t.Context(), next, s.store); err != nil {
		t.Errorf("a log without records: %v", err)
	}
}
