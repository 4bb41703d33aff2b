package admin

import (
	"time"

	"github.com/rookery-chat/rookery/internal/probe"
)

// Probe are the metrics of a probe, which runs beside the server's users.
func Probe(snapshot func() probe.Stats) Metrics {
	type s = probe.Stats
	rows := []row[s]{
		count("rookery_probe_in_time_total", "Rounds of rookery probe in which every step was in time.", func(s s) uint64 { return s.InTime }),
		by(counter, "rookery_probe_failed_total", "step", "Rounds of rookery probe that were not, by the first step that was not reached.",
			func(s s, emit func(string, float64)) {
				for step, n := range s.Failed {
					emit(probe.Step(step).String(), float64(n))
				}
			}),
		count("rookery_probe_late_total", "Messages of those rounds that were received later.", func(s s) uint64 { return s.Late }),
		level("rookery_probe_last_in_time_seconds", "When the last round in time ended, in seconds since 1970; 0 before the first.", func(s s) float64 {
			if s.Last.IsZero() {
				return 0
			}
			return float64(s.Last.UnixMilli()) / 1000
		}),
	}
	for i, help := range [probe.Steps]string{
		"Time from the probe's send to the sender's first tick.",
		"Time from the probe's send until the receiver had it.",
		"Time from the probe's send to the sender's second tick.",
	} {
		rows = append(rows, row[s]{name: "rookery_probe_" + probe.Step(i).String() + "_seconds", help: help,
			histogram: func(s s) histogram { return probeHistogram(&s.Took[i]) }})
	}
	return collector(snapshot, rows)
}

func probeHistogram(h *probe.Histogram) histogram {
	bounds := make([]float64, len(probe.Buckets))
	for i, b := range probe.Buckets {
		bounds[i] = b.Seconds()
	}
	return histogram{bounds: bounds, counts: h.Counts, sum: time.Duration(h.Sum).Seconds()}
}
