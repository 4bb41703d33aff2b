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
	add := func(step string, p point) {
		key := step + " " + p.name
		i, ok := at[key]
		if !ok {
			i = len(s.Figures)
			at[key] = i
			s.Figures = append(s.Figures, Figure{Step: step, Name: p.name, Unit: p.unit, Way: p.way})
		}
		s.Figures[i].Values = append(s.Figures[i].Values, p.value)
		if p.bad {
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
		for _, p := range slices.Concat(points(r), relations(r, rounds, first), ratios(r, rounds)) {
			add(r.Step, p)
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
	toC     = "of the bare echo in C"
	toGo    = "of the bare echo in Go"
	toPeer  = "times the best other library"
	toFirst = "of its first settings"
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

// relations are figures of an echo's round beside others of the same number: the
// machine was in much the same mood then.
func relations(r *Round, all []*Round, first map[string]bool) (p []point) {
	if r.Profile != "echo" {
		return nil
	}
	for i := range r.Echo {
		of, best := fmt.Sprintf("%d in flight: ", r.Echo[i].Depth), 0.0
		var toBest point
		for _, o := range all {
			if o.Round != r.Round || o.Profile != "echo" || o.Step == r.Step || i >= len(o.Echo) {
				continue
			}
			theirs := o.Echo[i].PerCPUSecond.Median
			to := point{way: higher, value: r.Echo[i].PerCPUSecond.Median / max(theirs, 1), bad: r.badAt(i) || o.badAt(i)}
			for _, name := range relationsTo(r.Step, o.Step, first) {
				to.name = of + name
				if name != toPeer {
					p = append(p, to)
				} else if theirs > best {
					best, toBest = theirs, to
				}
			}
		}
		if best > 0 {
			p = append(p, toBest)
		}
	}
	return p
}

// relationsTo are what relates a step of the echo to another.
func relationsTo(step, other string, first map[string]bool) (names []string) {
	switch {
	case strings.HasPrefix(other, bareC):
		names = append(names, toC)
	case strings.HasPrefix(other, bareGo):
		names = append(names, toGo)
	case step == ours && first[other] && !strings.HasPrefix(other, ours):
		names = append(names, toPeer)
	}
	if peer(step) == peer(other) && first[other] && !first[step] {
		names = append(names, toFirst)
	}
	return names
}

// peer is whose step of the echo it is.
func peer(step string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(step, "echo/"), "/")
	return name
}

// ratios are figures of a round over those of the steps that targets divide them
// by, in the round of the same number.
func ratios(r *Round, all []*Round) (p []point) {
	for _, t := range targets {
		if t.Over == "" || t.Step != r.Step {
			continue
		}
		for _, o := range all {
			if o.Step != t.Over || o.Round != r.Round {
				continue
			}
			if mine, other := pointOf(r, t.Name), pointOf(o, t.Name); mine.value > 0 && other.value > 0 {
				p = append(p, point{t.figure(), "", lower, mine.value / other.value, mine.bad || other.bad})
			}
		}
	}
	return p
}

// pointOf is a round's point by its name; the zero one where there is none.
func pointOf(r *Round, name string) point {
	for _, p := range points(r) {
		if p.name == name {
			return p
		}
	}
	return point{}
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
