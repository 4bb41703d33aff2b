package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Without a rise a second is as full as another; with one, the n-th of four
// seconds has 2n-1 of 16 parts of what comes in them, which is half, and those
// after it are full.
func TestRise(t *testing.T) {
	const rate, second = 10_000.0, int64(1e9)
	for _, rise := range []int64{0, 4 * second} {
		p := &pace{rate: rate, rng: rand.New(rand.NewPCG(1, 2)), nextNs: second, fromNs: second, riseNs: rise}
		var came [6]float64
		for ; p.nextNs < 7*second; p.advance() {
			came[p.nextNs/second-1]++
		}
		for i, n := range came {
			want := rate
			if rise > 0 && i < 4 {
				want *= float64(2*i+1) / 8
			}
			if math.Abs(n-want) > 5*math.Sqrt(want) {
				t.Errorf("rise of %d s: second %d has %v bursts, not about %v", rise/second, i, n, want)
			}
		}
	}
}
