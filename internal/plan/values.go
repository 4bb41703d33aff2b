package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/internal/nearest"
)

// Load is what the fleet is for.
type Load struct {
	Users          float64 `json:"users"`
	Online         float64 `json:"online"` // share of the users that are connected at once
	MessagesPerDay float64 `json:"messages_per_day"`
	RetentionDays  float64 `json:"retention_days"`
	SizeBytes      float64 `json:"size_bytes"`  // of a message's content
	Replication    float64 `json:"replication"` // copies in the store
	Peak           float64 `json:"peak"`        // busiest second, of the mean
}

// Validate reports everything that is wrong with the load.
func (l Load) Validate() error {
	var faults []string
	for _, f := range []struct {
		name       string
		value      float64
		least, max float64
	}{
		{"users", l.Users, 1, 1e12}, {"messages", l.MessagesPerDay, 1, 1e16}, {"retention", l.RetentionDays, 0, 36500},
		{"size", l.SizeBytes, 0, 8 << 20}, {"replication", l.Replication, 1, 9}, {"peak", l.Peak, 1, 1000}, {"online", l.Online, 0, 1},
	} {
		if !(f.value >= f.least && f.value <= f.max) {
			faults = append(faults, fmt.Sprintf("%s is from %s to %s, not %s", f.name, digits(f.least), digits(f.max), digits(f.value)))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("plan: %s", strings.Join(faults, "; "))
	}
	return nil
}

// Kinds of sources.
const (
	FromLoad       = "load"
	FromMeasured   = "measured"
	FromAssumption = "assumption"
	FromSet        = "set"
	FromFormula    = "formula"
)

// Value is a figure with its source.
type Value struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	What   string  `json:"what"`
	Kind   string  `json:"kind"`   // load, measured, assumption, set or formula
	Source string  `json:"source"` // which line of the bench, or why it is assumed
}

// Show is the value in its unit.
func (v Value) Show() string { return Format(v.Value, v.Unit) }

// values are the figures that formulas read.
type values map[string]Value

func (v values) lookUp(name string) (float64, bool) {
	x, ok := v[name]
	return x.Value, ok
}

// gather joins load, measured figures and assumptions, and applies what is set.
func gather(l Load, m *Measured, set []string) (values, error) {
	all := values{}
	for _, x := range []Value{
		{"users", l.Users, UnitCount, "people who use it", FromLoad, "--users"},
		{"online_share", l.Online, UnitShare, "of them connected at once", FromLoad, "--online"},
		{"messages_per_day", l.MessagesPerDay, UnitPerDay, "messages", FromLoad, "--messages"},
		{"retention_days", l.RetentionDays, UnitDays, "how long messages are kept", FromLoad, "--retention"},
		{"size", l.SizeBytes, UnitBytes, "content of a message", FromLoad, "--size"},
		{"replication", l.Replication, UnitCount, "copies in the store", FromLoad, "--replication"},
		{"peak", l.Peak, UnitFactor, "the busiest second, of the mean", FromLoad, "--peak"},
	} {
		all[x.Name] = x
	}
	for _, f := range m.figures() {
		all[f.Name] = f
	}
	bounds := map[string]Assumption{}
	for _, a := range Assumptions() {
		if _, measured := all[a.Name]; !measured {
			all[a.Name] = Value{a.Name, a.Default, a.Unit, a.What, FromAssumption, a.Why}
		}
		bounds[a.Name] = a
	}
	for _, s := range set {
		if err := all.set(s, bounds); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// set applies name=value, of an assumption or a measured figure.
func (v values) set(text string, bounds map[string]Assumption) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("plan: --set %s: write name=value", text)
	}
	x, ok := v[name]
	if !ok || x.Kind == FromLoad {
		return fmt.Errorf("plan: --set: no figure is called %q%s", name, nearest.Hint(name, v.settable()))
	}
	n, err := parseValue(x.Unit, value)
	if err != nil {
		return fmt.Errorf("plan: --set %s: %w", name, err)
	}
	least, most := 0.0, huge
	if b, ok := bounds[name]; ok {
		least, most = b.Min, b.Max
	}
	if n < least || n > most {
		return fmt.Errorf("plan: --set %s: %s is not from %s to %s", name, Format(n, x.Unit), Format(least, x.Unit), Format(most, x.Unit))
	}
	x.Source = fmt.Sprintf("--set, over %s (%s)", x.Show(), x.Source)
	x.Value, x.Kind = n, FromSet
	v[name] = x
	return nil
}

func (v values) settable() []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if v[name].Kind != FromLoad {
			found = append(found, name)
		}
	}
	return found
}
