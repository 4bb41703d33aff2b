package suite

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Origin says of what a summary is, in a line.
func (s *Summary) Origin() string {
	m := &s.Machine
	commit := m.Version
	if m.Commit != "" {
		commit = m.Commit[:min(len(m.Commit), 12)]
	}
	if m.Dirty {
		commit += " and changes that are not committed (binary " + m.Binary + ")"
	}
	return fmt.Sprintf("%s run of %s, %d rounds; commit %s, %s; %d processors, %s, %.0f GiB, Linux %s", s.Plan, s.Finished.Format("2 January 2006"),
		s.Rounds, commit, m.Go, m.CPUs, m.Model, float64(m.Memory)/(1<<30), m.Kernel)
}

// text is a figure's median and range with its unit. None looks better than it is.
func (f *Figure) text() string {
	write := digits
	if f.Way == lower {
		write = digitsUp
	}
	s := write(f.Spread.Median)
	if len(f.Values) > 1 {
		s += fmt.Sprintf(" (%s to %s)", write(f.Spread.Min), write(f.Spread.Max))
	}
	return strings.TrimSpace(s + " " + f.Unit)
}

// digits writes a number with three digits that count, or whole above a
// thousand, where it is cut.
func digits(v float64) string {
	if v < 0 {
		return "-" + digits(-v)
	}
	if v >= 1000 {
		whole := strconv.FormatInt(int64(v), 10)
		for i := len(whole) - 3; i > 0; i -= 3 {
			whole = whole[:i] + "," + whole[i:]
		}
		return whole
	}
	places := placesOf(v)
	scale := math.Pow10(places)
	return strconv.FormatFloat(math.Trunc(v*scale+1e-9)/scale, 'f', places, 64)
}

// digitsUp is digits of the next number that has no more of them.
func digitsUp(v float64) string {
	scale := math.Pow10(placesOf(v))
	return digits(math.Ceil(v*scale-1e-9) / scale)
}

// placesOf is how many of a number's digits behind the point count.
func placesOf(v float64) int {
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	case v < 0.01 && v > 0:
		return 4
	}
	return 2
}

// WriteTargets prints each target with what the run found.
func WriteTargets(w io.Writer, s *Summary) {
	fmt.Fprintln(w, s.Origin())
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range s.Targets {
		r := &s.Targets[i]
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\n", r.What, r.bound(), r.found(), r.verdict())
	}
	tab.Flush()
	fmt.Fprintf(w, "%d rounds were noisy or invalid in the end, %d were measured again\n", len(s.Bad), s.Repeated)
}

func (r *Reached) bound() string {
	word := "at most "
	if r.Least {
		word = "at least "
	}
	return strings.TrimSpace(word + digits(r.Bound) + " " + r.Unit)
}

func (r *Reached) found() string {
	switch {
	case !r.Measured:
		return "–"
	case r.Aside != nil:
		return r.Figure.text() + ": " + r.Aside.text()
	}
	return r.Figure.text()
}

func (r *Reached) verdict() string {
	v := "not reached"
	switch {
	case !r.Measured:
		return r.Note
	case r.Unjudged:
		return "not judged: " + r.Note
	case r.Behind != "":
		v += ": " + r.Behind
	case r.Reached:
		v = "reached"
	}
	if r.Note != "" {
		v += "; " + r.Note
	}
	return v
}
