package plan

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Outcome is what a scenario did.
type Outcome struct {
	Scenario string `json:"scenario"`
	What     string `json:"what"`

	Lost        float64 `json:"sessions_lost"`
	HalfBack    float64 `json:"half_back_seconds"` // from the beginning of it, -1: not within the hour
	MostBack    float64 `json:"99_percent_back_seconds"`
	AllBack     float64 `json:"all_back_seconds"`
	CalmAgain   float64 `json:"calm_again_seconds"` // p99 is at most twice that of before, and stays there
	Refused     float64 `json:"refused"`            // attempts over the accept limit
	Busy        float64 `json:"busy"`               // hellos that found no room
	TimedOut    float64 `json:"timed_out"`
	MessagesAll float64 `json:"messages_followed"`

	Before   Delivery   `json:"before"`
	Worst    Delivery   `json:"worst"`          // of messages whose receiver was connected, in the worst window
	Window   float64    `json:"window_seconds"` // at least a second
	WorstLag float64    `json:"worst_queue_seconds"`
	TimeLine []Interval `json:"time_line"`
}

// Delivery is a latency in milliseconds, from the send to the receiver's socket.
type Delivery struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// Interval is a part of the time line.
type Interval struct {
	From      float64  `json:"from_seconds"` // 0 is when it happens
	Seconds   float64  `json:"seconds"`
	Out       float64  `json:"sessions_not_back"` // at its end
	Connected Delivery `json:"connected"`         // messages whose receiver was connected
	Everybody Delivery `json:"everybody"`         // all, also those that waited for their receiver
	Lag       float64  `json:"queue_seconds"`     // of the longest queue, at its end
}

// outcome sums the samples up.
func (s *simulation) outcome(sc scenario) *Outcome {
	c := s.crowd
	o := &Outcome{Scenario: sc.name, What: sc.what, Lost: c.lost, Refused: c.refused, Busy: c.busy, TimedOut: c.timedOut, MessagesAll: float64(len(s.samples))}
	slices.SortStableFunc(s.samples, func(a, b sample) int {
		if a.sent < b.sent {
			return -1
		}
		return 1
	})
	o.HalfBack, o.MostBack, o.AllBack = s.backAt(0.5), s.backAt(0.99), s.backAt(1)
	o.Before = quantiles(s.between(5, warmSeconds), false)
	end := s.curve[len(s.curve)-1].t
	o.CalmAgain = s.calm(o, end)
	for _, p := range s.curve {
		o.WorstLag = max(o.WorstLag, p.lag)
	}
	for _, edge := range edges(end - warmSeconds) {
		from, to := warmSeconds+edge[0], warmSeconds+edge[1]
		part := s.between(from, to)
		if len(part) == 0 {
			continue
		}
		last := s.curve[max(0, s.index(to-1e-9)-1)]
		o.TimeLine = append(o.TimeLine, Interval{edge[0], edge[1] - edge[0], max(0, last.out), quantiles(part, false), quantiles(part, true), last.lag})
	}
	return o
}

// backAt is when a share of all who were lost had caught up.
func (s *simulation) backAt(share float64) float64 {
	if s.crowd.lost == 0 {
		return 0
	}
	if s.busy {
		return -1
	}
	for _, p := range s.curve {
		if p.live >= s.crowd.lost*share-0.5 && p.out < s.crowd.lost*(1-share)+1 {
			return p.t - warmSeconds
		}
	}
	return -1
}

// windowMessages is how many followed messages a p99 is taken of.
const windowMessages = 100

// calm finds the last second whose p99 is over twice that of before, by windows
// long enough to have a p99, and the worst one.
func (s *simulation) calm(o *Outcome, end float64) float64 {
	window := math.Max(1, math.Ceil(windowMessages/s.followed()))
	o.Window = window
	last := 0.0
	bound := max(2*o.Before.P99, o.Before.P99+5)
	for from := warmSeconds; from+window <= end; from += window {
		part := s.between(from, from+window)
		if len(part) < windowMessages/2 {
			continue
		}
		d := quantiles(part, true)
		if d.P99 > bound {
			last = from + window - warmSeconds
		}
		if c := quantiles(part, false); c.P99 > o.Worst.P99 {
			o.Worst = c
		}
	}
	return last
}

// between returns the samples that were sent then.
func (s *simulation) between(from, to float64) []sample {
	at := func(t float64) int {
		i, _ := slices.BinarySearchFunc(s.samples, t, func(m sample, t float64) int {
			if m.sent < t {
				return -1
			}
			return 1
		})
		return i
	}
	return s.samples[at(from):at(to)]
}

// quantiles of latencies, of messages to connected receivers or to everybody.
func quantiles(samples []sample, everybody bool) Delivery {
	var all []float64
	for _, m := range samples {
		if everybody || m.returnShare < 0 {
			all = append(all, m.seconds*1000)
		}
	}
	if len(all) == 0 {
		return Delivery{}
	}
	slices.Sort(all)
	return Delivery{quantile(all, 0.5), quantile(all, 0.99)}
}

// quantile of sorted values: the smallest that at least that share is not above.
func quantile(sorted []float64, share float64) float64 {
	return sorted[max(0, min(len(sorted)-1, int(math.Ceil(share*float64(len(sorted))))-1))]
}

// edges of the time line: short intervals where much happens, and longer ones
// later.
func edges(length float64) [][2]float64 {
	marks := []float64{-10, 0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 720, 900, 1200, 1800, 2400, 3600}
	var found [][2]float64
	for i := range len(marks) - 1 {
		if marks[i] >= length {
			break
		}
		found = append(found, [2]float64{marks[i], min(marks[i+1], length)})
	}
	return found
}

// WriteText writes what a scenario did, for a terminal.
func (o *Outcome) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n", o.Scenario, o.What)
	if o.Lost > 0 {
		fmt.Fprintf(w, "  %s sessions had to come back; caught up: half after %s, 99%% after %s, all after %s\n",
			digits(math.Round(o.Lost)), after(o.HalfBack), after(o.MostBack), after(o.AllBack))
		fmt.Fprintf(w, "  attempts refused by the accept limit %s, told to come later %s, given up by the client %s\n",
			digits(math.Round(o.Refused)), digits(math.Round(o.Busy)), digits(math.Round(o.TimedOut)))
	}
	fmt.Fprintf(w, "  delivery before: p50 %s, p99 %s; in the worst %.0f s: p50 %s, p99 %s; calm again after %s\n",
		ms(o.Before.P50), ms(o.Before.P99), o.Window, ms(o.Worst.P50), ms(o.Worst.P99), after(o.CalmAgain))
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tab, "  from\tto\tnot back\tp50\tp99\tp99, all\tqueue\t\n")
	for _, i := range o.TimeLine {
		fmt.Fprintf(tab, "  %.0f s\t%.0f s\t%s\t%s\t%s\t%s\t%s\t\n", i.From, i.From+i.Seconds, digits(max(0, math.Round(i.Out))),
			ms(i.Connected.P50), ms(i.Connected.P99), ms(i.Everybody.P99), ms(i.Lag*1000))
	}
	return tab.Flush()
}

func after(seconds float64) string {
	if seconds < 0 {
		return "more than an hour"
	}
	return fmt.Sprintf("%.1f s", seconds)
}

// ms writes milliseconds, as seconds where they are many.
func ms(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.0f s", v/1000)
	case v >= 1000:
		return fmt.Sprintf("%.1f s", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f ms", v)
	}
	return fmt.Sprintf("%.1f ms", v)
}
