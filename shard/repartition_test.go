package shard

import (
	"fmt"
	"math"
	"testing"
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
