package suite

import (
	"fmt"

	"github.com/rookery-chat/rookery/bench"
)

// Ways of a figure.
const (
	higher = "higher is better"
	lower  = "lower is better"
	either = "neither is better"
)

// Figure is one number, as the rounds of a step found it.
type Figure struct {
	Step   string       `json:"step"`
	Name   string       `json:"name"`
	Unit   string       `json:"unit"`
	Way    string       `json:"way"`
	Values []float64    `json:"values"` // by round
	Spread bench.Spread `json:"spread"`
	Bad    int          `json:"bad_rounds,omitempty"` // of these, that stayed noisy or invalid
}

// point is a round's value of a figure.
type point struct {
	name, unit, way string
	value           float64
	bad             bool // the round, or what it is related to, was noisy or invalid
}

// points are the figures of a round.
func points(r *Round) (p []point) {
	bad := len(r.bad()) > 0
	add := func(name, unit, way string, value float64) { p = append(p, point{name, unit, way, value, bad}) }
	switch r.Profile {
	case "echo":
		for i := range r.Echo {
			p = append(p, echoPoints(r, i)...)
		}
	case "idle":
		if r.BytesPerConnection > 0 { // else they were silent
			add("bytes a session", "B", lower, r.BytesPerConnection)
		}
		add("bytes a silent session", "B", lower, r.BytesPerSilentConnection)
		if m := r.Memory; m != nil {
			add("heap bytes a session", "B", lower, m.HeapBytes)
			add("kernel bytes a session", "B", either, m.SlabBytes+m.SocketPagesBytes)
		}
	case "connect":
		for _, c := range r.Connects {
			of := c.Server + ", " + c.Way + ": "
			add(of+"connects", "/s", higher, c.PerSecond)
			add(of+"server CPU a connect", "us", lower, c.CPUUs)
			add(of+"p99", "ms", lower, float64(c.Latency.P99)/1e3)
			if c.RatioRate > 0 {
				add(of+"rate, of a bare server's", "", higher, c.RatioRate)
			}
		}
	case "fanout":
		for _, f := range r.Fanout {
			of := fmt.Sprintf("to %d: ", f.Recipients)
			add(of+"CPU a recipient before the kernel", "us", lower, f.UserUs)
			add(of+"CPU a recipient in the kernel", "us", lower, f.KernelUs)
			add(of+"p99", "ms", lower, float64(f.Latency.P99)/1e3)
		}
	case "stages":
		for _, f := range r.Stages {
			add(f.Name+": CPU a message", "us", lower, f.CPUUs)
			add(f.Name+": messages", "/s", higher, f.PerSecond)
			add(f.Name+": allocations a message", "", lower, f.Allocations)
			if f.Name != bench.StageReference {
				add(f.Name+": CPU, of the reference's", "", lower, f.OfReference)
			}
		}
	case "reconnect":
		if b := r.Reconnect; b != nil {
			add("all settled after", "s", lower, b.SettledSecs)
			add("a session settled, p99", "ms", lower, float64(b.Session.P99)/1e3)
			add("server CPU a session", "us", lower, b.CPUUs)
			add("errors shown to apps, and sessions not back", "", lower, float64(b.AppErrors)+float64(b.Unsettled))
		}
	default:
		p = loadPoints(r)
	}
	return p
}

// echoPoints are those of a server at a depth, the i-th; memory once.
func echoPoints(r *Round, i int) (p []point) {
	e, bad := &r.Echo[i], r.badAt(i)
	of := fmt.Sprintf("%d in flight: ", e.Depth)
	p = []point{
		{of + "messages a server CPU second", "/s", higher, e.PerCPUSecond.Median, bad},
		{of + "messages", "/s", higher, e.PerSecond.Median, bad},
		{of + "load CPU a message", "us", either, e.LoadCPUUs.Median, bad},
		{of + "load's share of its processor", "", either, e.LoadCores.Median, bad},
		{of + "p50", "ms", lower, float64(e.Latency.P50) / 1e3, bad},
		{of + "p99", "ms", lower, float64(e.Latency.P99) / 1e3, bad},
	}
	if i == 0 && e.IdleConnections > 0 {
		p = append(p, point{"bytes an idle connection", "B", lower, e.BytesPerIdle, bad})
	}
	return p
}

// ofSent follows the name of a figure that is a share of what the load sent
// while it counted.
const ofSent = ", " + whatWasSent

// loadPoints are those of an open-loop load: trickle, firehose, slow, real.
func loadPoints(r *Round) (p []point) {
	bad := len(r.bad()) > 0
	add := func(name, unit, way string, value float64) { p = append(p, point{name, unit, way, value, bad}) }
	ms := func(us int64) float64 { return float64(us) / 1e3 }
	sent := sentPS(r)
	rate := func(name string, perSecond float64) {
		add(name, "/s", higher, perSecond)
		if sent > 0 {
			add(name+ofSent, "", higher, perSecond/sent)
		}
	}
	add("connections", "", either, float64(r.Connections))
	add("offered", "/s", either, r.Rate)
	rate("accepted", r.AcceptedPS)
	rate("stored", r.StoredPS)
	rate("delivered", r.DeliveredPS)
	add("delivery p50", "ms", lower, ms(r.Delivery.P50))
	add("delivery p99", "ms", lower, ms(r.Delivery.P99))
	add("acknowledged p50", "ms", lower, ms(r.Ack.P50))
	add("acknowledged p99", "ms", lower, ms(r.Ack.P99))
	add("server CPU a message", "us", lower, r.ServerCPUPerMessageUs)
	add("server cores", "", either, r.ServerCores)
	add("load cores", "", either, r.LoadCores)
	add("load late p99", "ms", either, ms(r.LoadLag.P99))
	add("drained after", "s", lower, r.DrainedSecs)
	if r.NeighboursBefore != nil {
		add("before the freeze: delivery p99", "ms", lower, ms(r.NeighboursBefore.P99))
	}
	return p
}

// sentPS is what a load sent in a second that counted: of a Poisson load some
// more or less than the rate, but a load that fell behind is no excuse.
func sentPS(r *Round) float64 {
	if r.Sent == 0 || r.Seconds == 0 {
		return 0
	}
	return max(float64(r.Sent)/r.Seconds, wholeOfSent*r.Rate)
}
