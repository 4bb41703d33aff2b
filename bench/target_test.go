package bench

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoryIsTakenWhenItStandsStill reads memory that goes as it does: a server
// gives the last burst's back late, and what a collection freed in steps.
func TestMemoryIsTakenWhenItStandsStill(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		reads []int64 // one a second, the last one for ever
		want  int64
		after time.Duration // the least it takes
	}{
		"still at once":                {[]int64{50 * mib}, 50 * mib, quietFor + stillFor*time.Second},
		"given back in the end":        {[]int64{90 * mib, 90 * mib, 90 * mib, 50 * mib}, 50 * mib, quietFor + (3+stillFor)*time.Second},
		"given back in steps":          {[]int64{90 * mib, 89 * mib, 70 * mib, 70 * mib, 69 * mib, 50 * mib}, 50 * mib, quietFor + (5+stillFor)*time.Second},
		"taken meanwhile":              {[]int64{50 * mib, 50 * mib, 52 * mib, 52 * mib, 52 * mib, 52 * mib, 60 * mib}, 52 * mib, quietFor + (2+stillFor)*time.Second},
		"moved by less than the bound": {[]int64{50 * mib, 50*mib + stillBytes - 1, 50 * mib, 50*mib + stillBytes - 1}, 50*mib + stillBytes - 1, quietFor + stillFor*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, n := time.Now(), 0
				got := settle(func() int64 {
					if time.Since(begun) < quietFor {
						t.Errorf("memory was read after %v", time.Since(begun))
					}
					n++
					return c.reads[min(n, len(c.reads))-1]
				}, stillBytes)
				if took := time.Since(begun); got != c.want || took < c.after {
					t.Errorf("%d bytes after %v, want %d after %v at least", got, took, c.want, c.after)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		begun, last := time.Now(), int64(0)
		if got := settle(func() int64 { last += mib; return last }, stillBytes); got != last || time.Since(begun) < quietFor+settleMost {
			t.Errorf("what never stands still: %d of %d after %v", got, last, time.Since(begun))
		}
	})
}
