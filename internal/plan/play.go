package plan

import (
	"cmp"
	"math"
	"slices"
)

// player lets the simulation play what the bench measures: one server with log
// and store in its process, on the cores that the load leaves.
type player struct {
	seed   uint64
	queued map[string]float64 // by line: p50 of what its messages wait in queues, ms
}

// oneServer are its numbers. All processor time of a message is gateway_us, as
// everything shares its cores, none is owners', brokers' or the store's; all other
// waits are commit_ms.
var oneServer = map[string]float64{
	"gateways": 1, "brokers": 1, "store_nodes": 1, "partitions": 1, "replication": 1, "log_replication": 1, "append_messages": 1,
	"heartbeat_us": 0, "linger_ms": 0, "rtt_ms": 0, "store_write_ms": 0, "read_ms": 0,
	"dial_ms": 1e9, // the bench's sessions do not give an attempt up
}

// play simulates it with these numbers too.
func (p *player) play(sc scenario, set map[string]float64) *simulation {
	all := values{}
	for _, a := range Assumptions() {
		all[a.Name] = Value{Value: a.Default}
	}
	for _, numbers := range []map[string]float64{oneServer, set} {
		for name, v := range numbers {
			all[name] = Value{Value: v}
		}
	}
	s, _ := newSimulation(&Plan{all: all}, p.seed) // which refuses a fleet without a session
	s.run(sc)
	return s
}

// steady plays a load to which nothing happens: delivery, and the cores at work.
func (p *player) steady(l Line, cores, commitMs float64) (Delivery, float64) {
	left := leftOf(l)
	cores = min(cores, maxLoad*left)
	s := p.play(scenario{begin: func(s *simulation) { s.busy = false }}, map[string]float64{
		"online": float64(l.Connections), "messages_ps": carried(l), "gateway_cores": left, "gateway_us": cores / carried(l) * 1e6, "commit_ms": commitMs,
	})
	served := 0.0
	for _, loop := range s.loops {
		served += loop.served / loop.at / gatewayLoops
	}
	return quantiles(s.samples, false), served * left
}

// commitP50 is the median of a commit, of its mean.
const commitP50 = 0.5 + 0.5*math.Ln2

// load predicts delivery and cores of trickle. A message takes what the formula
// says of the cores; what is no queue for them, such as the disk, takes what p50
// has beyond the queues in the line whose rate is nearest.
func (p *player) load(l Line, others []Line, cores float64) (Delivery, float64) {
	if !playable(l) || cores <= 0 {
		return Delivery{}, 0
	}
	others = slices.DeleteFunc(slices.Clone(others), func(o Line) bool { return !playable(o) || o.ServerCores <= 0 || o.Delivery.P50 <= 0 })
	if len(others) == 0 {
		return Delivery{}, 0
	}
	apart := func(o Line) float64 { return math.Abs(carried(o) - carried(l)) }
	nearest := slices.MinFunc(others, func(a, b Line) int { return cmp.Compare(apart(a), apart(b)) })
	wait := max(0, nearest.Delivery.P50/1000-p.queuesOf(nearest))
	return p.steady(l, cores, wait/commitP50)
}

// playable are lines of a load on one server that it carried.
func playable(l Line) bool {
	return l.Profile == "trickle" && l.Connections > 0 && carried(l) > 0 && !overloaded(l)
}

func (p *player) queuesOf(l Line) float64 {
	v, ok := p.queued[l.From]
	if !ok {
		d, _ := p.steady(l, l.ServerCores, 0)
		v = d.P50
		p.queued[l.From] = v
	}
	return v
}

// storm predicts when all are back whose sockets closed at once, and 99 of 100:
// which is p99 of a session. A session takes us of the processor time that the load
// leaves.
func (p *player) storm(l Line, us float64) (all, most float64) {
	s := p.play(scenario{begin: func(s *simulation) {
		s.crowd.lose(s.online, 0, 0, 0)
		s.busy = false
	}}, map[string]float64{"online": max(1, float64(l.Reconnect.Sessions)), "gateway_cores": leftOf(l), "connect_us": us, "messages_ps": 0})
	return max(0, s.backAt(1)), max(0, s.backAt(0.99))
}
