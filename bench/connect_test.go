package bench

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Rounds of connects are kept together, raw, and those at a rate have a lag.
func TestConnectKeepsAllRounds(t *testing.T) {
	full, d := startTestServer(t, nil)
	bare := &target{processes: map[string]int{"echo": os.Getpid()}, addresses: []netip.AddrPort{echoServer(t)}}
	o, res := quick(t, 10), &Result{}
	o.Rate = 100
	f, err := startFleet(t.Context(), o, res, o.Connections)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	c := &connectRun{
		o: o, f: f, bare: bare, full: full, raw: map[string]*hdrhistogram.Histogram{},
		places: map[string]destination{serverBare: {to: bare.addresses, bare: true}, serverNew: d, serverFull: d},
	}
	if err := c.all(t.Context(), res); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"connect bare, storm": 30, "connect rookery-new, storm": 10, "connect rookery, storm": 30, "connect bare, rate": 10, "connect rookery, rate": 10, "load_lag": 20}
	for name, n := range want {
		if h, err := decodeHistogram(res.Histograms[name]); err != nil || h.TotalCount() != n {
			t.Errorf("%s: %v, want %d latencies", name, err, n)
		}
	}
	if len(res.Histograms) != len(want) || res.LoadLag.Count != 20 {
		t.Errorf("%d histograms, %d lags", len(res.Histograms), res.LoadLag.Count)
	}
	for _, x := range res.Connects {
		lags := int64(0)
		if x.Way == wayRate {
			lags = 10
		}
		if x.Latency.Count != want["connect "+x.Server+", "+x.Way] || x.LoadLag.Count != lags {
			t.Errorf("%s, %s: %d latencies, %d lags", x.Server, x.Way, x.Latency.Count, x.LoadLag.Count)
		}
	}
}

// A load that was late or the limit of connects is said to have been.
func TestConnectsAreJudged(t *testing.T) {
	c := &connectRun{f: &fleet{agents: make([]*agentLink, 1)}}
	for _, x := range []struct {
		figures          ConnectFigures
		invalid, warning string
	}{
		{ConnectFigures{LoadCores: 0.5}, "", ""},
		{ConnectFigures{LoadCores: 0.99}, "", "bare (storm): the load was the limit"},
		{ConnectFigures{LoadLag: Percentiles{P99: 5001}}, "bare (storm): the load fell behind", ""},
		{ConnectFigures{Incomplete: 1}, "were not up in time", ""},
	} {
		res := &Result{Machine: Machine{CPUs: 2}}
		x.figures.Server, x.figures.Way, x.figures.Rounds, x.figures.RoundsCPU = serverBare, wayStorm, []float64{5000}, []float64{100} // half a core
		c.judge(res, &x.figures)
		invalid, warning := strings.Join(res.Invalid, "; "), strings.Join(res.Warnings, "; ")
		if (invalid == "") != (x.invalid == "") || !strings.Contains(invalid, x.invalid) || (warning == "") != (x.warning == "") || !strings.Contains(warning, x.warning) {
			t.Errorf("%+v: invalid %q, warnings %q", x.figures, invalid, warning)
		}
	}
}

func TestALoadThatWasTheLimit(t *testing.T) {
	for _, c := range []struct {
		processes, cpus int
		remote          bool
		load, server    float64
		limit           bool
	}{
		{1, 2, false, 0.99, 0.5, true},
		{1, 2, false, 0.99, 0.99, false},
		{1, 2, false, 0.9, 0.5, false},
		{1, 8, false, 0.99, 5, true},
		{1, 8, false, 0.99, 6.9, false},
		{4, 2, false, 1.95, 0.05, true},
		{3, 2, true, 2.9, 1.5, true},
		{3, 2, true, 1.9, 1.5, false},
	} {
		f := &fleet{agents: make([]*agentLink, c.processes), remote: c.remote}
		had, left := f.processors(c.cpus)
		if why := wasLimit(c.load, had, c.server, left); (why != "") != c.limit {
			t.Errorf("%+v: %q", c, why)
		}
	}
}
