package plan

import "math"

// scenario is something that happens to the fleet.
type scenario struct {
	name, what string
	begin      func(s *simulation)
}

func scenarios() []scenario {
	return []scenario{
		{"gateway", "a gateway that is filled to sessions_per_gateway dies", (*simulation).loseGateway},
		{"zone", "a zone goes: its gateways, brokers, processors and store nodes", (*simulation).loseZone},
		{"broker", "a broker dies", (*simulation).loseBroker},
		{"upgrade", "every gateway is upgraded, upgrade_share at once", (*simulation).upgrade},
		{"newyear", "newyear_load times the load for newyear_minutes", (*simulation).newYear},
	}
}

// ScenarioNames lists what Simulate knows.
func ScenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// shrink takes gateways away that held so many sessions, and dies.
func (s *simulation) dropGateways(n, sessions float64) {
	s.gateways = max(1, s.gateways-n)
	s.crowd.resize(s.gateways)
	s.crowd.lose(min(sessions, s.online), s.p.Get("balancer_ms")/1000, 0, 0)
}

func (s *simulation) loseGateway() {
	s.dropGateways(1, s.p.Get("sessions_per_gateway"))
	s.busy = false
	s.rates()
}

func (s *simulation) loseZone() {
	zones := s.p.Get("zones")
	share := 1 / zones
	s.dropGateways(math.Round(s.gateways*share), s.online*share)
	s.loseBrokers(math.Round(s.brokersN * share))
	s.nodes = max(1, s.nodes-math.Round(s.nodes*share))
	s.loseOwners(share)
	s.busy = false
	s.rates()
}

func (s *simulation) loseBroker() {
	s.loseBrokers(1)
	s.busy = false
	s.rates()
}

// loseBrokers leaves the partitions that they led without one until others do.
func (s *simulation) loseBrokers(n float64) {
	share := min(1, n/s.brokersN)
	s.brokersN = max(1, s.brokersN-n)
	s.split(1, share)
	now := s.events.now
	s.commitAt = now + s.p.Get("failover_seconds")
	for _, class := range []int{1, 3} {
		for _, o := range s.owners[class] {
			o.hold(now, s.commitAt)
		}
	}
}

// loseOwners leaves a share of the partitions without an owner for a while.
func (s *simulation) loseOwners(share float64) {
	s.split(2, share)
	until := s.events.now + s.p.Get("session_seconds") + s.p.Get("takeover_seconds")
	for _, class := range []int{2, 3} {
		for _, o := range s.owners[class] {
			o.stop(until)
		}
	}
}

// split marks a share of every kind of partition.
func (s *simulation) split(mark int, share float64) {
	for class := range s.weights {
		if class&mark == 0 {
			s.weights[class|mark] += s.weights[class] * share
			s.weights[class] *= 1 - share
		}
	}
}

// upgrade drains and restarts gateways, a share of them at once, one step after
// the other.
func (s *simulation) upgrade() {
	g := s.p.Get
	all := s.gateways
	each := max(1, math.Floor(all*g("upgrade_share")))
	left := all
	var step func()
	step = func() {
		if left <= 0 {
			s.gateways = all
			s.crowd.resize(all)
			s.rates()
			s.busy = false
			return
		}
		n := min(each, left, max(1, all-1))
		left -= n
		s.gateways = max(1, all-n)
		s.crowd.resize(s.gateways)
		s.crowd.lose(s.online*n/all, 0, g("drain_seconds")/2, g("busy_ms")/1000)
		s.rates()
		s.then(g("drain_seconds")+g("restart_seconds"), step)
	}
	step()
}

func (s *simulation) newYear() {
	s.load = s.p.Get("newyear_load")
	s.rates()
	s.then(60*s.p.Get("newyear_minutes"), func() {
		s.load = 1
		s.busy = false
		s.rates()
	})
}
