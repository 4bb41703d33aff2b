package admin

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the metrics of one package, read from one snapshot at each
// scrape.
type Metrics struct {
	collector prometheus.Collector
	docs      []doc
}

// doc is a metric's line in the documents.
type doc struct{ name, kind, label, help string }

// kind is counter or gauge.
type kind = prometheus.ValueType

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// number is what snapshots hold.
type number interface {
	~int | ~int32 | ~int64 | ~uint64 | ~float64
}

// count is a counter; its name ends in _total.
func count[S any, N number](name, help string, f func(S) N) row[S] {
	return row[S]{name: name, help: help, kind: counter, value: func(s S) float64 { return float64(f(s)) }}
}

// level is a gauge.
func level[S any, N number](name, help string, f func(S) N) row[S] {
	return row[S]{name: name, help: help, kind: gauge, value: func(s S) float64 { return float64(f(s)) }}
}

// by is a metric with a value for each of a label's.
func by[S any](kind kind, name, label, help string, f func(s S, emit func(label string, value float64))) row[S] {
	return row[S]{name: name, help: help, kind: kind, label: label, values: f}
}

// row is one metric of a snapshot S. A metric has one of: value; a label and
// values, which emits one value for each of the label's; histogram.
type row[S any] struct {
	name, help string
	kind       kind
	value      func(S) float64
	label      string
	values     func(s S, emit func(label string, value float64))
	histogram  func(S) histogram
}

// histogram is how often something took how long. counts has one more than
// bounds, for what is over the last; they are not cumulative.
type histogram struct {
	bounds []float64
	counts []uint64
	sum    float64
}

func (h histogram) metric(d *prometheus.Desc) prometheus.Metric {
	buckets, total := map[float64]uint64{}, uint64(0)
	for i, bound := range h.bounds {
		total += h.counts[i]
		buckets[bound] = total
	}
	return prometheus.MustNewConstHistogram(d, total+h.counts[len(h.bounds)], h.sum, buckets)
}

// collector makes metrics of a table of rows and the function that takes the
// snapshot.
func collector[S any](snapshot func() S, rows []row[S]) Metrics {
	c := &table[S]{snapshot: snapshot, rows: rows}
	docs := make([]doc, 0, len(rows))
	for _, r := range rows {
		var labels []string
		if r.label != "" {
			labels = []string{r.label}
		}
		c.descs = append(c.descs, prometheus.NewDesc(r.name, r.help, labels, nil))
		docs = append(docs, doc{r.name, r.typeName(), r.label, r.help})
	}
	return Metrics{c, docs}
}

func (r *row[S]) typeName() string {
	switch {
	case r.histogram != nil:
		return "histogram"
	case r.kind == gauge:
		return "gauge"
	}
	return "counter"
}

// table is the prometheus.Collector of a snapshot.
type table[S any] struct {
	snapshot func() S
	rows     []row[S]
	descs    []*prometheus.Desc
}

func (t *table[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range t.descs {
		ch <- d
	}
}

func (t *table[S]) Collect(ch chan<- prometheus.Metric) {
	s := t.snapshot()
	for i, r := range t.rows {
		switch {
		case r.value != nil:
			ch <- prometheus.MustNewConstMetric(t.descs[i], r.kind, r.value(s))
		case r.histogram != nil:
			ch <- r.histogram(s).metric(t.descs[i])
		default:
			r.values(s, func(label string, value float64) {
				ch <- prometheus.MustNewConstMetric(t.descs[i], r.kind, value, label)
			})
		}
	}
}

// newRegistry returns a registry with what is known of the process.
func newRegistry(version string, ready func() bool) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		process(version, ready).collector)
	return r
}

// process is what is known of the process as a whole.
func process(version string, ready func() bool) Metrics {
	return collector(ready, []row[bool]{
		by(gauge, "rookery_build_info", "version", "Always 1; the label says which build this is.",
			func(_ bool, emit func(string, float64)) { emit(version+" "+runtime.Version(), 1) }),
		level("rookery_ready", "1 when /readyz answers 200.", one),
	})
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
