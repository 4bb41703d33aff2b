package plan

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// builtin are lines of scripts/plan-check.sh, and one of a cluster with the
// figures that docs/performance.md of commit 94d987f states.
//
//go:embed builtin.jsonl
var builtin []byte

const builtinFrom = "built in"

// Measured are lines from which figures are taken: those given, and the
// built-in ones for what they do not have.
type Measured struct{ given, builtin []Line }

// NewMeasured takes lines that were given, which may be none. Lines that the
// bench called invalid are not used.
func NewMeasured(given []Line) (*Measured, error) {
	own, err := ReadLines(bytes.NewReader(builtin), "built in")
	if err != nil {
		return nil, err
	}
	for i := range own {
		own[i].From = builtinFrom
	}
	valid := slices.DeleteFunc(slices.Clone(given), func(l Line) bool { return !l.Valid })
	if len(given) > 0 && len(valid) == 0 {
		return nil, errors.New("plan: every line given is of a run that the bench called invalid")
	}
	return &Measured{valid, own}, nil
}

// figure is something that lines tell.
type figure struct {
	name, unit, what string
	of               func(l Line) float64 // 0: this line does not tell
}

// figures of a scaled-out fleet. A message's cost falls with the load, as more
// go in one batch; so the line with the most load counts.
var figures = []figure{
	{"bytes_per_connection", UnitBytes, "resident bytes of a session that has received a message", func(l Line) float64 {
		if l.Profile != "idle" {
			return 0
		}
		return l.BytesPerConnection
	}},
	{"bytes_per_silent_connection", UnitBytes, "resident bytes of a session before any message", func(l Line) float64 { return l.BytesPerSilent }},
	{"gateway_us", UnitUs, "a gateway's processor time for a message, both legs", ofProcesses("gateway")},
	{"owner_us", UnitUs, "a processor's processor time for a message", ofProcesses("processor")},
	{"broker_us", UnitUs, "a broker's processor time for a message, one copy", ofProcesses("kafka")},
	{"store_us", UnitUs, "the store's processor time for a message, one copy", ofProcesses("cassandra", "scylla")},
	{"balancer_us", UnitUs, "the balancer's processor time for a message", ofProcesses("haproxy")},
	{"connect_us", UnitUs, "processor time of a connection up to its hello", func(l Line) float64 {
		for _, c := range l.Connects {
			if c.Server == "rookery" {
				return c.CPUUs
			}
		}
		return 0
	}},
}

// ofProcesses is the processor time that processes of a cluster took for each
// message that was delivered meanwhile.
func ofProcesses(names ...string) func(Line) float64 {
	return func(l Line) float64 {
		perSecond := max(l.AcceptedPS, l.DeliveredPS)
		if perSecond == 0 {
			return 0
		}
		var cores []float64
		for process, c := range l.ProcessCores {
			for _, name := range names {
				if process == name || strings.HasPrefix(process, name+"-") {
					cores = append(cores, c)
				}
			}
		}
		slices.Sort(cores) // the sum of a map in the same order each time
		total := 0.0
		for _, c := range cores {
			total += c
		}
		return total / perSecond * 1e6
	}
}

// figures returns the measured values, in order.
func (m *Measured) figures() []Value {
	var found []Value
	for _, f := range figures {
		v, ok := pick(m.given, f)
		if !ok {
			v, ok = pick(m.builtin, f)
		}
		if ok {
			found = append(found, v)
		}
	}
	return found
}

// pick takes a figure from the line with the most load; of several with as
// much, the median.
func pick(lines []Line, f figure) (Value, bool) {
	var best []Line
	for _, l := range lines {
		if f.of(l) <= 0 {
			continue
		}
		if len(best) > 0 {
			switch c := moreLoad(l, best[0]); {
			case c < 0:
				continue
			case c > 0:
				best = nil
			}
		}
		best = append(best, l)
	}
	if len(best) == 0 {
		return Value{}, false
	}
	slices.SortStableFunc(best, func(a, b Line) int { return cmp.Compare(f.of(a), f.of(b)) })
	middle := best[(len(best)-1)/2]
	source := middle.source()
	if len(best) > 1 {
		source = fmt.Sprintf("median of %d: %s", len(best), source)
	}
	return Value{f.name, f.of(middle), f.unit, f.what, FromMeasured, source}, true
}

func moreLoad(a, b Line) int {
	return cmp.Or(cmp.Compare(a.Rate, b.Rate), cmp.Compare(a.Connections, b.Connections))
}
