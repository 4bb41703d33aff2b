package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Row is a computed figure of the plan.
type Row struct {
	Group   string  `json:"group"`
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit,omitempty"`
	What    string  `json:"what"`
	Formula string  `json:"formula"`
	Numbers string  `json:"numbers"` // the formula with the numbers put in
}

// Show is the value in its unit.
func (r Row) Show() string { return Format(r.Value, r.Unit) }

// Cost is a share of the price.
type Cost struct {
	What  string  `json:"what"`
	Price float64 `json:"usd_per_month"`
	Share float64 `json:"share"`
}

// Plan is a fleet, with what it was computed from.
type Plan struct {
	Load     Load     `json:"load"`
	Rows     []Row    `json:"rows"`
	Inputs   []Value  `json:"inputs"` // that a formula reads, in the order of use
	Costs    []Cost   `json:"costs"`  // dearest first
	Warnings []string `json:"warnings,omitempty"`
	Textbook *Compare `json:"textbook,omitempty"`

	all values // of inputs, assumptions of the simulation, and rows
}

// maxPartitions is what pipeline.partitions takes.
const maxPartitions = 1024

// New computes the plan. set has name=value each.
func New(l Load, m *Measured, set []string) (*Plan, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	all, err := gather(l, m, set)
	if err != nil {
		return nil, err
	}
	p := &Plan{Load: l, all: all}
	for _, d := range definitions() {
		if err := p.add(d); err != nil {
			return nil, err
		}
	}
	p.readInputs()
	p.costs()
	p.warn()
	return p, nil
}

// add computes a line.
func (p *Plan) add(d definition) error {
	v, err := evaluate(d.formula, p.all.lookUp)
	if err != nil {
		return err
	}
	numbers := withNumbers(d.formula, func(name string) string { return p.all[name].Show() })
	p.Rows = append(p.Rows, Row{d.group, d.name, v, d.unit, d.what, d.formula, numbers})
	p.all[d.name] = Value{d.name, v, d.unit, d.what, FromFormula, d.formula}
	return nil
}

// Get returns a figure by name, 0 for one that there is not.
func (p *Plan) Get(name string) float64 { return p.all[name].Value }

// readInputs lists what the formulas read that is no formula itself.
func (p *Plan) readInputs() {
	seen := map[string]bool{}
	for _, r := range p.Rows {
		for _, name := range names(r.Formula) {
			if v := p.all[name]; !seen[name] && v.Kind != FromFormula {
				seen[name] = true
				p.Inputs = append(p.Inputs, v)
			}
		}
	}
}

func (p *Plan) costs() {
	total := p.Get("cost")
	for _, c := range []struct{ what, name string }{
		{"cores", "cost_cores"}, {"memory", "cost_memory"}, {"disk", "cost_disk"}, {"network", "cost_network"},
	} {
		price := p.Get(c.name)
		share := 0.0
		if total > 0 {
			share = price / total
		}
		p.Costs = append(p.Costs, Cost{c.what, price, share})
	}
	slices.SortStableFunc(p.Costs, func(a, b Cost) int { return cmp.Compare(b.Price, a.Price) })
}

// warn says what the plan leaves behind.
func (p *Plan) warn() {
	if n := p.Get("partitions"); n > maxPartitions {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s partitions are more than pipeline.partitions takes (%d): a message has to cost an owner less than %.0f µs, or there have to be several topics",
			digits(n), maxPartitions, maxPartitions*p.Get("partition_use")/p.Get("peak_ps")*1e6))
	}
	if p.Get("zones_lost") >= p.Get("zones") {
		p.Warnings = append(p.Warnings, "as many zones may be lost as there are: the headroom is that of a single zone")
	}
	if p.Get("sessions_by_memory") < p.Get("gateway_sessions") {
		p.Warnings = append(p.Warnings, "a gateway's memory holds fewer sessions than gateway_sessions")
	}
	if p.Get("zones") < p.Get("replication") {
		p.Warnings = append(p.Warnings, "there are more copies than zones: a zone holds several")
	}
	builtIn, noisy := false, []string(nil)
	for _, f := range figures {
		v := p.all[f.name]
		if v.Kind != FromMeasured {
			continue
		}
		builtIn = builtIn || strings.HasSuffix(v.Source, builtinFrom)
		if strings.Contains(v.Source, noisyMark) {
			noisy = append(noisy, f.name)
		}
	}
	if len(noisy) > 0 {
		p.Warnings = append(p.Warnings, "figures of noisy runs, as their sources say: "+strings.Join(noisy, ", "))
	}
	if builtIn {
		p.Warnings = append(p.Warnings, "some figures are built in, from a small shared machine; --measured takes your own")
	}
}
