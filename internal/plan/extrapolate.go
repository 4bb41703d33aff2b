package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// extrapolation predicts the lines that have the most of something from those
// that have the least of it. But for the rate nothing else differs.
type extrapolation struct {
	what   string
	times  int // the most is so many times the least, or it is none
	size   func(Line) int
	others func(Line) int // the size that has to be the same
}

var extrapolations = []extrapolation{
	{"cores", 2, cpusOf, sessionsOf},
	{"sockets", 10, sessionsOf, cpusOf},
}

func cpusOf(l Line) int     { return l.Machine.CPUs }
func sessionsOf(l Line) int { return l.Connections }

// extrapolate does so for each group of lines that are alike.
func (c *checker) extrapolate(lines []Line, e extrapolation) {
	key := func(l Line) string {
		return fmt.Sprint(l.Profile, max(1, l.PerWrite), e.others(l), l.ServerFlags)
	}
	seen := map[string]bool{}
	for _, l := range lines {
		if seen[key(l)] {
			continue
		}
		seen[key(l)] = true
		group := slices.DeleteFunc(slices.Clone(lines), func(o Line) bool { return key(o) != key(l) || e.size(o) == 0 })
		c.fromLeast(group, e)
	}
}

// fromLeast predicts the largest lines of a group from its smallest ones.
func (c *checker) fromLeast(group []Line, e extrapolation) {
	if len(group) == 0 {
		return
	}
	slices.SortStableFunc(group, func(a, b Line) int { return e.size(a) - e.size(b) })
	least, most := e.size(group[0]), e.size(group[len(group)-1])
	if most < least*e.times {
		return
	}
	of := func(size int) []Line {
		return slices.DeleteFunc(slices.Clone(group), func(l Line) bool { return e.size(l) != size })
	}
	name := fmt.Sprintf("%s, from %s to %s %s", group[0].Profile, digits(float64(least)), digits(float64(most)), e.what)
	for _, l := range of(most) {
		c.predict(l, of(least), name)
	}
}

// errorsOf are the errors of an extrapolation, a figure after the other: the
// median, and of several the least and the most.
func errorsOf(checks []Check, extrapolation string, of func(Check) (float64, bool)) string {
	var figures []string
	all := map[string][]float64{}
	for _, c := range checks {
		if v, ok := of(c); ok && c.Extrapolation == extrapolation {
			if all[c.Figure] == nil {
				figures = append(figures, c.Figure)
			}
			all[c.Figure] = append(all[c.Figure], v)
		}
	}
	for i, f := range figures {
		v := all[f]
		slices.Sort(v)
		figures[i] += " " + percent(quantile(v, 0.5))
		if len(v) > 1 {
			figures[i] += fmt.Sprintf(" (%s to %s)", percent(v[0]), percent(v[len(v)-1]))
		}
	}
	return strings.Join(figures, ", ")
}

// percent writes an error such as +7 %.
func percent(v float64) string { return fmt.Sprintf("%+.0f %%", math.Round(100*v)+0) }
