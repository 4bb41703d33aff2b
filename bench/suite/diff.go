package suite

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"

	"github.com/rookery-chat/rookery/bench"
)

// The rule of what is beyond noise: the rounds of the two runs do not overlap,
// the gap between them is at least half of the wider of the two ranges, and the
// medians differ by a twentieth. With fewer than three rounds on a side nothing is
// said. TestNoiseIsNoChange plays it: of a hundred figures that did not change
// two are said to have at three rounds, of ten thousand four at five.
const (
	fewestRounds  = 3
	gapOfRange    = 0.5
	leastChange   = 0.05
	countsAsEqual = 1e-9
)

// Changes of a figure.
const (
	Better  = "better"
	Worse   = "worse"
	Changed = "changed" // where neither is better
)

// Change is a figure that two runs have.
type Change struct {
	A, B    *Figure
	By      float64 // B's median of A's, less one; infinite when A's is 0
	Verdict string  // "" is noise
	Few     bool    // too few rounds to say
}

// Diff says what changed from a to b beyond noise.
func Diff(a, b *Summary) (changes []Change) {
	for i := range a.Figures {
		f := &a.Figures[i]
		g := b.Figure(f.Step, f.Name)
		if g == nil {
			continue
		}
		c := Change{A: f, B: g, By: g.Spread.Median/f.Spread.Median - 1, Few: min(len(f.Values), len(g.Values)) < fewestRounds}
		if f.Spread.Median == 0 {
			c.By = math.Inf(1)
			if g.Spread.Median == 0 {
				c.By = 0
			}
		}
		if !c.Few && beyondNoise(f.Spread, g.Spread) {
			c.Verdict = verdict(f.Way, c.By)
		}
		changes = append(changes, c)
	}
	return changes
}

func beyondNoise(a, b bench.Spread) bool {
	low, high := a, b
	if low.Median > high.Median {
		low, high = b, a
	}
	gap, widest := high.Min-low.Max, max(a.Max-a.Min, b.Max-b.Min)
	least := leastChange * max(math.Abs(a.Median), countsAsEqual)
	return gap > 0 && gap >= gapOfRange*widest && high.Median-low.Median >= least
}

func verdict(way string, by float64) string {
	switch {
	case way == either:
		return Changed
	case (by > 0) == (way == higher):
		return Better
	}
	return Worse
}

// WriteDiff prints what changed, the worst first, and reports whether anything
// got worse.
func WriteDiff(w io.Writer, a, b *Summary, changes []Change) (worse bool) {
	fmt.Fprintf(w, "A  %s\nB  %s\n", a.Origin(), b.Origin())
	if a.Machine.Model != b.Machine.Model || a.Machine.CPUs != b.Machine.CPUs || a.Machine.Kernel != b.Machine.Kernel {
		fmt.Fprintln(w, "the machines differ: only ratios can be compared")
	}
	order := []string{Worse, Better, Changed}
	few, same := 0, 0
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(x, y Change) int {
		if d := slices.Index(order, x.Verdict) - slices.Index(order, y.Verdict); d != 0 {
			return d
		}
		return cmp.Compare(math.Abs(y.By), math.Abs(x.By))
	})
	for _, c := range sorted {
		switch {
		case c.Few:
			few++
		case c.Verdict == "":
			same++
		default:
			worse = worse || c.Verdict == Worse
			fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t→ %s\t%+.1f %%\n", c.Verdict, c.A.Step, c.A.Name, c.A.text(), c.B.text(), 100*c.By)
		}
	}
	tab.Flush()
	fmt.Fprintf(w, "%d figures did not change beyond the spread of their rounds, %d have fewer than %d rounds on a side and are not judged\n", same, few, fewestRounds)
	return worse
}
