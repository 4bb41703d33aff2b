package plan

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteChecks writes predicted and measured side by side, for a terminal; then
// each extrapolation and its errors, and which lines are noisy.
func WriteChecks(w io.Writer, checks []Check, lines []Line) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := ""
	var names []string
	for i, c := range checks {
		if i == 0 || c.Extrapolation != head {
			if head = c.Extrapolation; head != "" {
				names = append(names, head)
				fmt.Fprintf(tab, "\n%s\n", head)
			}
			fmt.Fprintf(tab, "measured\tfrom\tfigure\tmeasured\tby formula\terror\tby simulation\terror\n")
		}
		simulated := "–\t–"
		if c.Simulated > 0 {
			simulated = Format(c.Simulated, c.Unit) + "\t" + percent(c.SimulatedError)
		}
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Run, c.From, c.Figure, Format(c.Measured, c.Unit), Format(c.Predicted, c.Unit), percent(c.Error), simulated)
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintf(w, "\nerror of %s\n", name)
		fmt.Fprintf(w, "  by formula:    %s\n", errorsOf(checks, name, func(c Check) (float64, bool) { return c.Error, true }))
		if s := errorsOf(checks, name, func(c Check) (float64, bool) { return c.SimulatedError, c.Simulated > 0 }); s != "" {
			fmt.Fprintf(w, "  by simulation: %s\n", s)
		}
	}
	before := "\n"
	for _, l := range lines {
		if l.Valid && len(l.Noisy) > 0 {
			fmt.Fprintf(w, "%snote: %s is noisy: %s\n", before, l.From, strings.Join(l.Noisy, ", "))
			before = ""
		}
	}
	return nil
}
