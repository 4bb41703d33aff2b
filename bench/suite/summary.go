package suite

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/bench"
)

// Summary is what a run found: every figure with its spread, and what to know
// of it. Two of them can be compared.
type Summary struct {
	Head
	Finished time.Time `json:"finished"` // of the newest round
	Rounds   int       `json:"rounds"`
	Repeated int       `json:"repeated"` // rounds that were bad, measured again
	Bad      []string  `json:"bad,omitempty"`
	Figures  []Figure  `json:"figures"`
	Targets  []Reached `json:"targets"`
}

// counting are the rounds that count: of the attempts at one the newest good
// one, and else the newest, in the order of first attempts.
func (f *folder) counting() (rounds []*Round) {
	at := map[string]int{}
	for i := range f.rounds {
		r := &f.rounds[i]
		key := fmt.Sprintf("%s %d", r.Step, r.Round)
		if j, ok := at[key]; !ok {
			at[key] = len(rounds)
			rounds = append(rounds, r)
		} else if len(r.bad()) == 0 || len(rounds[j].bad()) > 0 {
			rounds[j] = r
		}
	}
	return rounds
}

// summarize makes figures of rounds.
func (f *folder) summarize() *Summary {
	s := &Summary{Head: f.head, Finished: f.head.Began}
	for i := range f.rounds {
		r := &f.rounds[i]
		if r.Attempt > 1 {
			s.Repeated++
		}
		if end := r.When.Add(time.Duration(r.TookS * 1e9)); end.After(s.Finished) {
			s.Finished = end
		}
	}
	at := map[string]int{}
	add := func(step string, p point, bad bool) {
		key := step + " " + p.name
		i, ok := at[key]
		if !ok {
			i = len(s.Figures)
			at[key] = i
			s.Figures = append(s.Figures, Figure{Step: step, Name: p.name, Unit: p.unit, Way: p.way})
		}
		s.Figures[i].Values = append(s.Figures[i].Values, p.value)
		if bad {
			s.Figures[i].Bad++
		}
	}
	rounds := f.counting()
	first := firstSettings(rounds)
	for _, r := range rounds {
		s.Rounds++
		why := r.bad()
		if len(why) > 0 {
			s.Bad = append(s.Bad, fmt.Sprintf("%s round %d: %s", r.Step, r.Round, strings.Join(why, "; ")))
		}
		if r.Error != "" {
			continue
		}
		for _, p := range append(points(r), relations(r, rounds, first)...) {
			add(r.Step, p, len(why) > 0)
		}
	}
	for i := range s.Figures {
		s.Figures[i].Spread = bench.SpreadOf(s.Figures[i].Values)
	}
	s.Targets = reached(s)
	return s
}

// Names of what relates a step to another.
const (
	toC    = "of the bare echo in C"
	toGo   = "of the bare echo in Go"
	toPeer = "times the best other library"
)

// The servers that others are related to.
const (
	bareC  = "echo/barec/"
	bareGo = "echo/barego/"
	ours   = "echo/rookery"
)

// firstSettings are the steps of the echo that measure a server with its first
// settings, bench/peers/README.md says which: a plan takes the memory of these
// alone. The others, which a full plan measures too, count for no relation.
func firstSettings(rounds []*Round) map[string]bool {
	first := map[string]bool{}
	for _, r := range rounds {
		for i := range r.Echo {
			if r.Echo[i].IdleConnections > 0 {
				first[r.Step] = true
			}
		}
	}
	return first
}

// relations are figures of a round beside others of the same number: the machine
// was in much the same mood then.
func relations(r *Round, all []*Round, first map[string]bool) (p []point) {
	if r.Profile != "echo" {
		return nil
	}
	for i := range r.Echo {
		mine := &r.Echo[i]
		best := 0.0
		for _, o := range all {
			if o.Round != r.Round || o.Profile != "echo" || o.Step == r.Step || i >= len(o.Echo) {
				continue
			}
			ratio := mine.PerCPUSecond.Median / max(o.Echo[i].PerCPUSecond.Median, 1)
			name := fmt.Sprintf("%d in flight: ", mine.Depth)
			switch {
			case strings.HasPrefix(o.Step, bareC):
				p = append(p, point{name + toC, "", higher, ratio})
			case strings.HasPrefix(o.Step, bareGo):
				p = append(p, point{name + toGo, "", higher, ratio})
			case first[o.Step] && !strings.HasPrefix(o.Step, ours):
				best = max(best, o.Echo[i].PerCPUSecond.Median)
			}
		}
		if r.Step == ours && best > 0 {
			p = append(p, point{fmt.Sprintf("%d in flight: %s", mine.Depth, toPeer), "", higher, mine.PerCPUSecond.Median / best})
		}
	}
	return p
}

// Figure is one of the summary's by its step and name; nil when there is none.
func (s *Summary) Figure(step, name string) *Figure {
	i := slices.IndexFunc(s.Figures, func(f Figure) bool { return f.Step == step && f.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Figures[i]
}

// Load reads what a run found, from its folder as far as it has come, or from
// its file of figures.
func Load(path string) (*Summary, error) {
	if at, err := os.Stat(path); err == nil && at.IsDir() {
		f, err := read(path)
		if err != nil {
			return nil, fmt.Errorf("suite: %s is no folder of a run: %w", path, err)
		}
		return f.summarize(), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &Summary{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("suite: %s: %w", path, err)
	}
	if len(s.Figures) == 0 {
		return nil, fmt.Errorf("suite: %s has no figures: it is a folder of a run, or its %s", path, filepath.Base(SummaryFile))
	}
	return s, nil
}
