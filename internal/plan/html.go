package plan

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed page.html
var pageText string

var pageFuncs = template.FuncMap{
	"share":  func(v float64) string { return Format(v, UnitShare) },
	"price":  func(v float64) string { return Format(v, UnitPrice) },
	"whole":  func(v float64) string { return digits(max(0, math.Round(v))) },
	"ms":     ms,
	"after":  after,
	"until":  func(i Interval) float64 { return i.From + i.Seconds },
	"second": func(v float64) string { return fmt.Sprintf("%.0f", v) },
	"lagms":  func(v float64) string { return ms(v * 1000) },
}

// group is the lines of a part of the fleet.
type group struct {
	Name string
	Rows []Row
}

// WritePage writes one page that needs nothing else: the plan, and what
// scenarios did to it.
func (p *Plan) WritePage(w io.Writer, outcomes []*Outcome) error {
	var groups []group
	for _, r := range p.Rows {
		if len(groups) == 0 || groups[len(groups)-1].Name != r.Group {
			groups = append(groups, group{Name: r.Group})
		}
		g := &groups[len(groups)-1]
		g.Rows = append(g.Rows, r)
	}
	var charts []template.HTML
	for _, o := range outcomes {
		charts = append(charts, o.chart())
	}
	var compared [][3]string
	if p.Textbook != nil {
		compared = p.Textbook.rows()
	}
	page, err := template.New("page").Funcs(pageFuncs).Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, map[string]any{
		"Plan": p, "Load": p.loadText(), "Groups": groups, "Tiles": p.tiles(), "Compared": compared, "Outcomes": outcomes, "Charts": charts,
	})
}

// tiles are the figures that stand first.
func (p *Plan) tiles() []Row {
	var found []Row
	for _, name := range []string{"gateways", "processors", "partitions", "brokers", "store_nodes", "redis_hosts", "balancers", "store_raw", "store_replicated", "store_compressed"} {
		for _, r := range p.Rows {
			if r.Name == name {
				found = append(found, r)
			}
		}
	}
	return found
}

// Of a chart, in its own units.
const (
	chartWidth  = 640.0
	chartHeight = 220.0
	chartLeft   = 56.0
	chartBottom = 28.0
	chartTop    = 10.0
)

// chart draws p50 and p99 over time, latency on a logarithmic scale, as steps.
func (o *Outcome) chart() template.HTML {
	if len(o.TimeLine) == 0 {
		return ""
	}
	most, least := 1.0, 1e9
	for _, i := range o.TimeLine {
		most = max(most, i.Everybody.P99)
		least = min(least, max(0.1, i.Connected.P50))
	}
	low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most)+1e-9)
	high = max(high, low+1)
	// Time is by its square root, so that the first seconds can be seen.
	first, last := o.TimeLine[0].From, o.TimeLine[len(o.TimeLine)-1]
	bend := func(t float64) float64 { return math.Copysign(math.Sqrt(math.Abs(t)), t) }
	x := func(t float64) float64 {
		return chartLeft + (bend(t)-bend(first))/(bend(last.From+last.Seconds)-bend(first))*(chartWidth-chartLeft-8)
	}
	y := func(v float64) float64 {
		share := (math.Log10(max(v, math.Pow(10, low))) - low) / (high - low)
		return chartHeight - chartBottom - share*(chartHeight-chartBottom-chartTop)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="delivery over time, %s">`, chartWidth, chartHeight, template.HTMLEscapeString(o.Scenario))
	for e := low; e <= high; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`, chartLeft, chartWidth-8, y(v), y(v), chartLeft-6, y(v)+4, short(v))
	}
	previous := -100.0
	for _, t := range []float64{0, 10, 30, 60, 120, 300, 600, 1200, 2400, 3600} {
		if t < last.From+last.Seconds && x(t)-previous >= 45 {
			previous = x(t)
			fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%g s</text>`, x(t), chartHeight-8, t)
		}
	}
	fmt.Fprintf(&b, `<line class="zero" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, x(0), x(0), chartTop, chartHeight-chartBottom)
	for _, s := range []struct {
		class string
		of    func(Interval) float64
	}{
		{"all", func(i Interval) float64 { return i.Everybody.P99 }},
		{"p99", func(i Interval) float64 { return i.Connected.P99 }},
		{"p50", func(i Interval) float64 { return i.Connected.P50 }},
	} {
		var points []string
		for _, i := range o.TimeLine {
			points = append(points, fmt.Sprintf("%.1f,%.1f %.1f,%.1f", x(i.From), y(s.of(i)), x(i.From+i.Seconds), y(s.of(i))))
		}
		fmt.Fprintf(&b, `<polyline class="%s" points="%s"/>`, s.class, strings.Join(points, " "))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// short writes milliseconds on an axis.
func short(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%g s", v/1000)
	}
	return fmt.Sprintf("%g ms", v)
}
