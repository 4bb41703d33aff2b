package suite

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/bench"
)

//go:embed page.html
var pageText string

// curve is a latency's distribution: pairs of a quantile and milliseconds.
type curve struct {
	Step   string       `json:"step"`
	Name   string       `json:"name"`
	Bad    int          `json:"bad_rounds,omitempty"` // among those that are merged
	Points [][2]float64 `json:"points"`
}

// line is a figure as it went during the newest round of a step.
type line struct {
	Step  string `json:"step"`
	Round int    `json:"round"`
	bench.TimeLine
}

// page is what the page draws.
type page struct {
	Summary *Summary `json:"summary"`
	Curves  []curve  `json:"curves"`
	Lines   []line   `json:"lines"`
}

// WritePage writes a page that needs nothing else, of the run in a folder.
// settings is the text of bench/peers/README.md, whose table of the peers'
// settings it shows.
func WritePage(w io.Writer, dir, settings string) error {
	f, err := read(dir)
	if err != nil {
		return fmt.Errorf("suite: %s is no folder of a run: %w", dir, err)
	}
	p := page{Summary: f.summarize()}
	if p.Curves, err = f.curves(); err != nil {
		return err
	}
	newest := f.newest()
	for _, r := range newest {
		for _, l := range r.TimeLines {
			p.Lines = append(p.Lines, line{r.Step, r.Round, l})
		}
	}
	steps, flags := settingsOf(newest)
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Data": p, "Origin": p.Summary.Origin(), "Summary": p.Summary, "Peers": table(settings), "Targets": targetRows(p.Summary), "Steps": steps, "Flags": flags,
	})
}

// newest are the steps' last rounds that count, in the order of the steps.
func (f *folder) newest() (rounds []*Round) {
	at := map[string]int{}
	for _, r := range f.counting() {
		if r.Error != "" || r.Result == nil {
			continue
		}
		if i, ok := at[r.Step]; ok {
			rounds[i] = r
			continue
		}
		at[r.Step] = len(rounds)
		rounds = append(rounds, r)
	}
	return rounds
}

// curves merges the histograms of the rounds that count.
func (f *folder) curves() ([]curve, error) {
	var curves []curve
	merged, at := []*hdrhistogram.Histogram{}, map[[2]string]int{}
	add := func(step, name, raw string, bad bool) error {
		h, err := hdrhistogram.Decode([]byte(raw))
		if err != nil {
			return fmt.Errorf("suite: %s: histogram %s: %w", step, name, err)
		}
		i, ok := at[[2]string{step, name}]
		if ok {
			merged[i].Merge(h)
		} else {
			i = len(curves)
			at[[2]string{step, name}] = i
			curves, merged = append(curves, curve{Step: step, Name: name}), append(merged, h)
		}
		if bad {
			curves[i].Bad++
		}
		return nil
	}
	for _, r := range f.counting() {
		if r.Result == nil {
			continue
		}
		for i := range r.Echo {
			if e := &r.Echo[i]; e.Histogram != "" {
				if err := add(r.Step, fmt.Sprintf("%d in flight", e.Depth), e.Histogram, r.badAt(i)); err != nil {
					return nil, err
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r.Histograms)) {
			if err := add(r.Step, name, r.Histograms[name], len(r.bad()) > 0); err != nil {
				return nil, err
			}
		}
	}
	for i := range curves {
		curves[i].Points = quantiles(merged[i])
	}
	return curves, nil
}

// quantiles are points of a distribution, ten for each ten times rarer, as far
// as it has values.
func quantiles(h *hdrhistogram.Histogram) (points [][2]float64) {
	tenths := int(10 * math.Log10(float64(max(h.TotalCount(), 1))))
	for n := range tenths + 1 {
		rare := float64(n) / 10
		q := 1 - math.Pow(10, -rare)
		points = append(points, [2]float64{rare, float64(h.ValueAtQuantile(100*q)) / 1e3})
	}
	return points
}

// table are the cells of the first table of a text in Markdown.
func table(text string) (rows [][]string) {
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if !strings.HasPrefix(l, "|") {
			if len(rows) > 0 {
				break
			}
			continue
		}
		if strings.HasPrefix(l, "|--") || strings.HasPrefix(l, "| --") {
			continue
		}
		cells := strings.Split(strings.Trim(l, "|"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
		}
		rows = append(rows, cells)
	}
	return rows
}

// targetRow is a target as text.
type targetRow struct{ What, Bound, Found, Verdict, Class, Why, Anchor string }

func targetRows(s *Summary) (rows []targetRow) {
	for i := range s.Targets {
		r := &s.Targets[i]
		rows = append(rows, targetRow{r.What, r.bound(), r.found(), r.verdict(), r.class(), r.why, r.anchor})
	}
	return rows
}

// class is a verdict's colour on the page.
func (r *Reached) class() string {
	switch {
	case !r.Measured || r.Unjudged:
		return "absent"
	case r.Reached:
		return "reached"
	}
	return "missed"
}

// WritePageFile writes the page of a run to a file.
func WritePageFile(path, dir, settings string) error {
	var b strings.Builder
	if err := WritePage(&b, dir, settings); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o666)
}
