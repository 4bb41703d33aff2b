package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// result is the report as JSON.
type result struct {
	Began                                          time.Time
	Seed                                           uint64
	Rate, Sockets                                  int
	Seconds                                        int
	Attempted, Accepted, Retried, Delivered, Again int
	CaughtUps, Outcomes                            int
	P50, P99                                       float64 // ms, over all
	CalmP50, CalmP99                               float64 // in seconds without a fault
	CheckerCores                                   float64
	Counts                                         map[string]int
	Checks                                         []check `json:",omitempty"` // of an outage
	FaultsFound                                    []string
	FaultsCount                                    int
	Events                                         []*event
	Line                                           []row
	MemoryMB                                       map[string]int64 // the most
}

// row is a second of the time line.
type row struct {
	Second, Attempted, Accepted, Delivered, Refused, Online int
	P50, P99                                                float64
	Lag                                                     float64
}

// result is what there is to tell.
func (s *storm) result() *result {
	l, t := s.ledger, s.times
	r := &result{
		Began: t.began, Seed: s.o.seed, Rate: s.o.rate, Sockets: s.o.sockets, Attempted: l.attempted, Accepted: l.accepted, Retried: l.retried,
		Delivered: l.delivered, Again: l.again, CaughtUps: l.caughtUps, Outcomes: l.outcomes, Counts: t.counts, Events: t.events,
		Checks: s.checks, FaultsFound: l.faults, FaultsCount: l.count, CheckerCores: cpuSeconds() / time.Since(t.began).Seconds(), MemoryMB: map[string]int64{},
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r.Seconds = len(t.seconds)
	var all, calm []uint32
	for i := range t.seconds {
		sec := &t.seconds[i]
		slices.Sort(sec.latencies)
		all = append(all, sec.latencies...)
		if !t.troubled(i) {
			calm = append(calm, sec.latencies...)
		}
		r.Line = append(r.Line, row{
			i, sec.attempted, sec.accepted, sec.delivered, sec.refused, sec.online,
			float64(quantile(sec.latencies, 0.5)) / 10, float64(quantile(sec.latencies, 0.99)) / 10, sec.lag,
		})
		for name, bytes := range sec.memory {
			r.MemoryMB[name] = max(r.MemoryMB[name], bytes>>20)
		}
	}
	slices.Sort(all)
	slices.Sort(calm)
	r.P50, r.P99 = float64(quantile(all, 0.5))/10, float64(quantile(all, 0.99))/10
	r.CalmP50, r.CalmP99 = float64(quantile(calm, 0.5))/10, float64(quantile(calm, 0.99))/10
	return r
}

// troubled reports whether a second lies in a fault, or shortly after one.
func (t *times) troubled(second int) bool {
	for _, e := range t.events {
		if x := float64(second); x >= e.Begin-1 && (x <= e.Whole+2 || e.Whole == 0) {
			return true
		}
	}
	return false
}

// report writes report.json and report.html.
func (s *storm) report() error {
	if err := os.MkdirAll(s.o.out, 0o755); err != nil {
		return err
	}
	r := s.result()
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.o.out, "report.json"), b, 0o644); err != nil {
		return err
	}
	var page bytes.Buffer
	if err := pageTemplate.Execute(&page, newPage(r)); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.o.out, "report.html"), page.Bytes(), 0o644)
}

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is the report as curves over the seconds of the run.
type page struct {
	*result
	Width, Height int
	Bands         []band
	Latency, Flow chart
}

type band struct {
	X, W  float64
	Label string
}

type chart struct {
	Lines []line
	Ticks []tick
}

type line struct{ Name, Color, Points string }

type tick struct {
	Y     float64
	Label string
}

const width, height = 1400, 260

func newPage(r *result) *page {
	p := &page{result: r, Width: width, Height: height}
	scale := float64(width) / float64(max(1, r.Seconds))
	for _, e := range r.Events {
		p.Bands = append(p.Bands, band{e.Begin * scale, max(2, (e.Heal-e.Begin)*scale), e.What + " " + e.Target})
	}
	p.Latency = curves(r.Line, true, []series{
		{"p50", "#2a7", func(r row) float64 { return r.P50 }}, {"p99", "#c33", func(r row) float64 { return r.P99 }},
	})
	p.Flow = curves(r.Line, false, []series{
		{"attempted", "#999", func(r row) float64 { return float64(r.Attempted) }}, {"accepted", "#27c", func(r row) float64 { return float64(r.Accepted) }},
		{"delivered, copies included", "#2a7", func(r row) float64 { return float64(r.Delivered) }}, {"online", "#c73", func(r row) float64 { return float64(r.Online) }},
	})
	return p
}

type series struct {
	name, color string
	of          func(row) float64
}

// curves draws series against the seconds; decades when logarithmic.
func curves(rows []row, logarithmic bool, all []series) (c chart) {
	highest := 1.0
	for _, r := range rows {
		for _, s := range all {
			highest = max(highest, s.of(r))
		}
	}
	y := func(v float64) float64 { return height - v/highest*height*0.95 }
	if logarithmic {
		y = func(v float64) float64 {
			return height - math.Log10(max(v, 1))/math.Log10(max(highest, 10))*height*0.95
		}
		for v := 1.0; v <= highest; v *= 10 {
			c.Ticks = append(c.Ticks, tick{y(v), strconv.FormatFloat(v, 'f', 0, 64) + " ms"})
		}
	} else {
		for i := 1; i <= 4; i++ {
			v := highest / 4 * float64(i)
			c.Ticks = append(c.Ticks, tick{y(v), strconv.FormatFloat(v, 'f', 0, 64)})
		}
	}
	for _, s := range all {
		var points strings.Builder
		for i, r := range rows {
			x := (float64(i) + 0.5) * float64(width) / float64(len(rows))
			points.WriteString(strconv.FormatFloat(x, 'f', 1, 64) + "," + strconv.FormatFloat(y(s.of(r)), 'f', 1, 64) + " ")
		}
		c.Lines = append(c.Lines, line{s.name, s.color, points.String()})
	}
	return c
}
