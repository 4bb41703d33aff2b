package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Check is a measured figure beside what other lines predict for it.
type Check struct {
	Extrapolation  string  `json:"extrapolation,omitempty"` // such as from 1 to 2 cores; else it is from all others
	Line           string  `json:"line"`                    // file:line that was measured
	Run            string  `json:"run"`                     // what it was
	From           string  `json:"from"`                    // what the prediction was made from
	Figure         string  `json:"figure"`                  // such as server cores
	Unit           string  `json:"unit"`
	Predicted      float64 `json:"predicted"` // by formula
	Measured       float64 `json:"measured"`
	Error          float64 `json:"error"`                     // predicted over measured, less 1
	Simulated      float64 `json:"simulated,omitempty"`       // predicted by the simulation; 0: it does not tell
	SimulatedError float64 `json:"simulated_error,omitempty"` // the same over measured, less 1
}

// maxLoad is the most that the delivery formula takes; above it a queue has no
// end, and the prediction is that of this load.
const maxLoad = 0.99

// carriedWhole is the least share of what was offered that a server delivers
// meanwhile when it is not overloaded: of open-loop load some more or less falls
// into the time that counts.
const carriedWhole = 0.95

// errAlone says that a line cannot be predicted from itself.
var errAlone = errors.New("plan: a check needs two valid lines of one profile at least: each is predicted from the others")

// CheckLines predicts each valid line from the other valid lines of its profile,
// then lines with more cores or sessions from those with the least. The same
// seed gives the same answer.
func CheckLines(lines []Line, seed uint64) ([]Check, error) {
	lines = slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return !l.Valid })
	c := checker{player{seed, map[string]float64{}}, nil}
	for i, l := range lines {
		others := alike(slices.Delete(slices.Clone(lines), i, i+1), l)
		c.predict(l, others, "")
	}
	if c.found == nil {
		return nil, errAlone
	}
	for _, e := range extrapolations {
		c.extrapolate(lines, e)
	}
	return c.found, nil
}

// alike are lines that a line is predicted from.
func alike(lines []Line, l Line) []Line {
	return slices.DeleteFunc(lines, func(o Line) bool {
		return o.Profile != l.Profile || max(1, o.PerWrite) != max(1, l.PerWrite) || !slices.Equal(o.ServerFlags, l.ServerFlags)
	})
}

// checker gathers predictions.
type checker struct {
	player player
	found  []Check
}

// predict what a line has and the others tell, by formula and by simulation.
func (c *checker) predict(l Line, others []Line, extrapolation string) {
	add := func(figure, unit string, measured, predicted, simulated float64, from int) {
		if measured > 0 && predicted > 0 && from > 0 {
			found := Check{Extrapolation: extrapolation, Line: l.From, Run: run(l), From: calibration(others, from), Figure: figure, Unit: unit,
				Predicted: predicted, Measured: measured, Error: predicted/measured - 1}
			if simulated > 0 {
				found.Simulated, found.SimulatedError = simulated, simulated/measured-1
			}
			c.found = append(c.found, found)
		}
	}
	cores, n := coresOf(l, others)
	played, busy := c.player.load(l, others, cores)
	add("server cores", UnitCores, l.ServerCores, cores, busy, n)
	if l.Rate > 0 && !overloaded(l) {
		p50, p99, n := delivery(l, others, cores, func(o Line) Percentiles { return o.Delivery })
		add("delivery p50", UnitMs, l.Delivery.P50/1000, p50/1000, played.P50, n)
		add("delivery p99", UnitMs, l.Delivery.P99/1000, p99/1000, played.P99, n)
		p50, p99, n = delivery(l, others, cores, func(o Line) Percentiles { return o.Ack })
		add("acknowledged p50", UnitMs, l.Ack.P50/1000, p50/1000, 0, n)
		add("acknowledged p99", UnitMs, l.Ack.P99/1000, p99/1000, 0, n)
	}
	if l.Profile == "idle" {
		bytes, n := fit(others, func(o Line) (x, y float64) { return float64(o.Connections), o.SettledBytes }, l.EmptyBytes, float64(l.Connections))
		add("resident", UnitBytes, l.SettledBytes, bytes, 0, n)
	}
	others = slices.DeleteFunc(slices.Clone(others), func(o Line) bool { return o.Reconnect == nil })
	if l.Reconnect == nil || len(others) == 0 {
		return
	}
	back := func(of func(*Reconnect) float64) (float64, int) {
		return fit(others, func(o Line) (x, y float64) { return float64(o.Reconnect.Sessions) / cpus(o), of(o.Reconnect) }, 0, float64(l.Reconnect.Sessions)/cpus(l))
	}
	us, n := median(others, func(o Line) float64 { return o.Reconnect.CPUUs })
	add("processor time a session", UnitUs, l.Reconnect.CPUUs, us, 0, n)
	all, most := c.player.storm(l, us)
	seconds, n := back(func(r *Reconnect) float64 { return r.SettledSecs })
	add("all back", UnitS, l.Reconnect.SettledSecs, seconds, all, n)
	seconds, n = back(func(r *Reconnect) float64 { return r.Session.P99 / 1e6 })
	add("session p99", UnitS, l.Reconnect.Session.P99/1e6, seconds, most, n)
}

func run(l Line) string {
	s := fmt.Sprintf("%s, %s sessions", l.Profile, digits(float64(l.Connections)))
	if l.Rate > 0 {
		s += fmt.Sprintf(", %s msg/s", digits(l.Rate))
	}
	return s + fmt.Sprintf(", %d CPUs", l.Machine.CPUs)
}

// calibration says what the prediction stands on.
func calibration(others []Line, from int) string {
	if from == 1 && len(others) == 1 {
		return run(others[0])
	}
	return fmt.Sprintf("%d lines", from)
}

func cpus(l Line) float64 { return float64(max(1, l.Machine.CPUs)) }

// coresOf predicts what the server takes: cores = a + b·rate, fitted over the
// others, a at least 0. Where they have one rate only, a is 0.
func coresOf(l Line, others []Line) (float64, int) {
	return fit(others, func(o Line) (x, y float64) { return carried(o), o.ServerCores }, 0, carried(l))
}

// overloaded reports whether a server carried less than it was offered. Its
// queue grew until the run's end, so that its latencies tell how long that was.
func overloaded(l Line) bool { return l.DeliveredPS > 0 && l.DeliveredPS < carriedWhole*l.Rate }

// carried is the messages a second that the server worked on.
func carried(l Line) float64 {
	if v := max(l.AcceptedPS, l.DeliveredPS); v > 0 {
		return v
	}
	return l.Rate
}

// fit is a straight line through what the others have, by least squares, at x.
// With one x only, or where the line would begin below least, it begins there.
// Points with x or y of 0 do not count.
func fit(others []Line, point func(Line) (x, y float64), least, at float64) (float64, int) {
	var n, sx, sy, sxx, sxy float64
	for _, o := range others {
		if x, y := point(o); x > 0 && y > 0 {
			n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
		}
	}
	if n == 0 {
		return 0, 0
	}
	if spread := n*sxx - sx*sx; spread > 1e-9*n*sxx {
		slope := (n*sxy - sx*sy) / spread
		if begin := (sy - slope*sx) / n; begin >= least && slope >= 0 {
			return begin + slope*at, int(n)
		}
	}
	slope := (sxy - least*sx) / sxx // through least at 0
	return least + max(0, slope)*at, int(n)
}

func median(others []Line, of func(Line) float64) (float64, int) {
	var all []float64
	for _, o := range others {
		if v := of(o); v > 0 {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return quantile(all, 0.5), len(all)
}

// delivery predicts p50 and p99, in microseconds. A latency is a fixed part and
// a wait as in M/M/c, where c are the cores that the load, other guests and
// other programs leave, and the load is what the server takes of them. The fixed
// part and the length of what is waited for are solved from p50 and p99 of each
// other line; their medians count.
func delivery(l Line, others []Line, cores float64, of func(Line) Percentiles) (p50, p99 float64, n int) {
	var fixed, scale []float64
	for _, o := range others {
		p, servers := of(o), serversOf(o)
		if p.P50 <= 0 || p.P99 <= 0 || o.ServerCores <= 0 || overloaded(o) {
			continue
		}
		load := min(maxLoad, o.ServerCores/float64(servers))
		at50, at99 := waitQuantile(0.5, servers, load, 1), waitQuantile(0.99, servers, load, 1)
		if at99 <= at50 {
			continue // nobody waits: this line does not tell how long
		}
		each := max(0, (p.P99-p.P50)/(at99-at50))
		fixed, scale = append(fixed, max(0, p.P50-each*at50)), append(scale, each)
	}
	if len(fixed) == 0 || cores <= 0 {
		return 0, 0, 0
	}
	slices.Sort(fixed)
	slices.Sort(scale)
	servers := serversOf(l)
	load := min(maxLoad, cores/float64(servers))
	d, each := quantile(fixed, 0.5), quantile(scale, 0.5)
	return d + waitQuantile(0.5, servers, load, each), d + waitQuantile(0.99, servers, load, each), len(fixed)
}

// serversOf is how many cores the server may use: what others leave, rounded.
func serversOf(l Line) int { return max(1, int(math.Round(leftOf(l)))) }

// leftOf is what the load, other guests and other programs left of a line's cores.
func leftOf(l Line) float64 {
	return max(leastCores, cpus(l)-l.LoadCores-l.StolenCores-l.ForeignCores)
}

// leastCores is what a server has at least, whatever others took.
const leastCores = 0.1
