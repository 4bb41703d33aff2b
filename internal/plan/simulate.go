package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/internal/nearest"
)

// Of the simulation itself.
const (
	crowdStep     = 0.05 // seconds between two steps of the fluid
	warmSeconds   = 20.0 // before anything happens
	calmSeconds   = 20.0 // after everybody is back
	longest       = 3600.0
	followedPS    = 250.0 // messages a second that are followed through every queue
	followedShare = 0.2   // of a queue's arrivals at most
	gatewayLoops  = 4     // queues of each kind that are simulated; the others are like them
	ownersOfClass = 2
	behind        = 0.2  // seconds of work in every queue of a kind: the kind is behind
	slowest       = 0.02 // of a core that handshakes leave to messages at least
)

// simulation plays a scenario on a fleet.
type simulation struct {
	p        *Plan
	events   events
	rng      *rand.Rand // of followed messages
	crowd    *crowd
	loops    []*station // event loops: a core each of some gateway
	brokers  []*pool
	store    *station
	owners   [4][]*owner // by what has happened to the partition: 1 its broker, 2 its owner is lost
	weights  [4]float64  // share of the partitions
	online   float64
	gateways float64 // that take sessions
	brokersN float64
	nodes    float64 // of the store
	load     float64 // of the usual
	pending  float64 // messages that wait in clients that are away
	busy     bool    // the scenario is not over yet
	commitAt float64 // partitions whose broker is lost take appends from then on

	samples []sample
	curve   []point
	done    bool
}

// sample is a message that was followed.
type sample struct {
	sent, seconds float64
	returnShare   float64 // where among those who were away then its receiver comes back; < 0: it was connected
}

// point is how many are back at a time.
type point struct{ t, out, live, lag float64 }

// newSimulation builds the fleet as the plan has it.
func newSimulation(p *Plan, seed uint64) (*simulation, error) {
	s := &simulation{p: p, rng: rand.New(rand.NewPCG(seed, 0)), load: 1}
	g := p.Get
	s.online, s.gateways, s.brokersN, s.nodes = g("online"), g("gateways"), g("brokers"), g("store_nodes")
	if s.online < 1 {
		return nil, fmt.Errorf("plan: there is nobody online whose way back could be simulated")
	}
	s.crowd = newCrowd(p.rules(), s.gateways)
	stream := uint64(1)
	next := func() *rand.Rand { stream++; return rand.New(rand.NewPCG(seed, stream)) }
	cv := g("service_cv")
	for range gatewayLoops {
		s.loops = append(s.loops, newStation(next(), service{g("gateway_us") / 2e6, cv}, 0))
	}
	appending := g("append_messages") * g("broker_us") / 1e6 * (1 + (g("log_replication")-1)*g("follower_share"))
	for range 2 {
		s.brokers = append(s.brokers, newPool(next(), max(1, int(g("broker_cores"))), service{appending, cv}, 0))
	}
	s.store = newStation(next(), service{g("store_us") / 1e6, cv}, 0)
	s.weights[0] = 1
	for class := range s.owners {
		for range ownersOfClass {
			s.owners[class] = append(s.owners[class], newOwner(&s.events, next(), service{g("owner_us") / 1e6, cv},
				int(ownersBatch), 0, func(t float64) float64 { return g("store_write_ms")/1000 + s.store.pass(t) }))
		}
	}
	return s, nil
}

// ownersBatch is shard.batch_records' default.
const ownersBatch = 4096

// rules of coming back, from the assumptions.
func (p *Plan) rules() rules {
	g := p.Get
	return rules{
		step: crowdStep, backoffMin: g("backoff_min_ms") / 1000, backoffMax: max(g("backoff_max_ms"), g("backoff_min_ms")) / 1000,
		busy: g("busy_ms") / 1000, dial: g("dial_ms") / 1000, acceptPerSecond: g("accept_per_second"),
		cores: g("gateway_cores"), connect: g("connect_us") / 1e6, readers: g("readers"), jobs: g("jobs"),
		hello: g("hello_reads") * g("read_ms") / 1000, page: g("pages") * g("page_reads") * g("read_ms") / 1000,
	}
}

// run plays a scenario until everybody is back and the queues are short again.
func (s *simulation) run(sc scenario) {
	s.busy = true
	s.rates()
	s.events.at(warmSeconds, func() { sc.begin(s) })
	s.events.at(crowdStep, s.tick)
	s.events.at(s.gap(), s.follow)
	calmFrom := math.Inf(1)
	for t := 1.0; t <= longest; t++ {
		s.events.until(t)
		if s.busy || !s.crowd.back() || s.lag(t) > 0.5 {
			calmFrom = math.Inf(1)
		} else {
			calmFrom = min(calmFrom, t)
		}
		if t-calmFrom >= calmSeconds {
			break
		}
	}
	s.done = true
}

// tick moves the crowd on, and with it what the queues get.
func (s *simulation) tick() {
	if s.done {
		return
	}
	before := s.crowd.away
	s.crowd.tick(max(slowest, 1-s.use()))
	perSecond := s.p.Get("messages_ps") * s.load / s.online
	s.pending += s.crowd.away * perSecond * crowdStep
	if s.crowd.welcomed > 0 && before > 0 {
		released := s.pending * min(1, s.crowd.welcomed/before)
		s.pending -= released
		s.rates()
		s.raise(released / crowdStep)
	} else if s.crowd.step%4 == 0 {
		s.rates()
	}
	t := s.events.now
	s.curve = append(s.curve, point{t, s.crowd.lost - s.crowd.live, s.crowd.live, s.lag(t)})
	s.events.at(s.events.now+crowdStep, s.tick)
}

// sending is messages a second of those who are connected.
func (s *simulation) sending() float64 {
	return s.p.Get("messages_ps") * s.load * (s.online - s.crowd.away) / s.online
}

// use is the share of a gateway's cores that messages and heartbeats take.
func (s *simulation) use() float64 {
	return s.sending()*s.p.Get("gateway_us")/1e6/s.gatewayCores() + s.heartbeat()
}

func (s *simulation) gatewayCores() float64 { return s.gateways * s.p.Get("gateway_cores") }

func (s *simulation) heartbeat() float64 {
	return (s.online - s.crowd.away) / s.p.Get("heartbeat_seconds") * s.p.Get("heartbeat_us") / 1e6 / s.gatewayCores()
}

// rates gives every queue its arrivals.
func (s *simulation) rates() { s.raise(0) }

// raise does so with messages a second more, from outboxes. A stage that is
// behind passes on what it can, not what it gets.
func (s *simulation) raise(more float64) {
	g, t := s.p.Get, s.events.now
	follow := s.followed()
	sent := s.sending() + more
	appended, stored := s.passedOn(sent)
	speed := s.loopSpeed()
	for _, l := range s.loops {
		l.change(t, max(0, (sent+stored)/s.gatewayCores()-2*follow/gatewayLoops), speed)
	}
	for _, b := range s.brokers {
		b.change(t, max(0, appended[0]/s.brokersN/g("append_messages")-follow/float64(len(s.brokers))))
	}
	s.store.change(t, stored*g("replication")/s.nodes/g("store_cores"), 1)
	for class, owners := range s.owners {
		rate := 0.0
		if s.weights[class] > 0 {
			rate = max(0, appended[1]/g("partitions")-follow*s.weights[class]/ownersOfClass)
		}
		for _, o := range owners {
			o.change(t, rate)
		}
	}
}

// loopSpeed is what heartbeats and handshakes leave of a loop's core.
func (s *simulation) loopSpeed() float64 {
	return max(slowest, 1-s.heartbeat()-s.crowd.cores/s.gatewayCores())
}

// passedOn is how many of the messages sent a second reach brokers and owners
// (appended), and how many owners hand on (stored), all partitions together.
func (s *simulation) passedOn(sent float64) (appended [2]float64, stored float64) {
	g, t := s.p.Get, s.events.now
	through := func(in, capacity, lag float64) float64 {
		if lag > behind || in > capacity {
			return capacity
		}
		return in
	}
	loopLag, brokerLag, ownerLag := math.Inf(1), math.Inf(1), math.Inf(1)
	for _, l := range s.loops {
		loopLag = min(loopLag, l.work/l.speed)
	}
	for _, b := range s.brokers {
		brokerLag = min(brokerLag, b.backlog(t))
	}
	for _, o := range s.owners[0] {
		ownerLag = min(ownerLag, float64(o.gathered)*o.service.mean)
	}
	loops := s.loopSpeed() * s.gatewayCores() / s.loops[0].service.mean / 2
	brokers := s.brokersN * g("broker_cores") / s.brokers[0].service.mean * g("append_messages")
	owners := g("partitions") * ownersBatch / (g("store_write_ms")/1000 + ownersBatch*g("owner_us")/1e6)
	appended[0] = through(sent, loops, loopLag)
	appended[1] = through(appended[0], brokers, brokerLag)
	return appended, through(appended[1], owners, ownerLag)
}

// followed is how many messages a second are followed: few of any queue's.
func (s *simulation) followed() float64 {
	g, base := s.p.Get, s.p.Get("messages_ps")
	return min(followedPS, followedShare*min(
		base/s.gatewayCores()*gatewayLoops, base/s.brokersN/g("append_messages")*2, base/g("partitions")*ownersOfClass))
}

func (s *simulation) gap() float64 { return s.rng.ExpFloat64() / s.followed() }

// lag is how long what arrives now waits in the longest queue, in seconds.
func (s *simulation) lag(t float64) float64 {
	worst := 0.0
	for _, l := range s.loops {
		worst = max(worst, l.work/l.speed)
	}
	for _, b := range s.brokers {
		worst = max(worst, b.backlog(t))
	}
	for class, owners := range s.owners {
		if s.weights[class] == 0 {
			continue
		}
		for _, o := range owners {
			worst = max(worst, float64(o.gathered+o.held)*o.service.mean, o.stoppedUntil-t, o.heldUntil-t)
		}
	}
	return worst
}

// follow sends a message through every queue, and plans the next.
func (s *simulation) follow() {
	if s.done {
		return
	}
	s.events.at(s.events.now+s.gap(), s.follow)
	g, sent := s.p.Get, s.events.now
	half, linger, rtt := g("commit_ms")/2000, g("linger_ms")/1000, g("rtt_ms")/1000
	loop := s.loops[s.rng.IntN(len(s.loops))]
	class := s.class()
	o := s.owners[class][s.rng.IntN(ownersOfClass)]
	out := s.loops[s.rng.IntN(len(s.loops))]
	ticks := s.rng.Float64()*linger + s.rng.Float64()*linger
	commit := half + half*s.rng.ExpFloat64()
	s.then(loop.pass(sent)+rtt, func() {
		if class&1 != 0 && s.events.now < s.commitAt {
			// It comes with all that waited; the milliseconds of its commit are left out.
			o.joinHeld(s.events.now, func() { s.then(rtt, func() { s.deliver(out, sent) }) })
			return
		}
		s.append(o, out, commit+ticks+rtt, rtt, sent)
	})
}

// append takes a message through broker, owner and the receiver's loop.
func (s *simulation) append(o *owner, out *station, commit, rtt, sent float64) {
	broker := s.brokers[s.rng.IntN(len(s.brokers))]
	s.then(broker.pass(s.events.now)+commit, func() {
		o.join(s.events.now, func() {
			s.then(rtt, func() { s.deliver(out, sent) })
		})
	})
}

// deliver writes it to its receiver, or notes that it is away.
func (s *simulation) deliver(out *station, sent float64) {
	now := s.events.now
	if gone := (s.crowd.lost - s.crowd.live) / s.online; s.rng.Float64() < gone {
		s.samples = append(s.samples, sample{sent, now - sent, s.rng.Float64()})
		return
	}
	s.samples = append(s.samples, sample{sent, now - sent + out.pass(now), -1})
}

func (s *simulation) then(after float64, do func()) { s.events.at(s.events.now+after, do) }

// class picks what kind of partition a message goes to.
func (s *simulation) class() int {
	x := s.rng.Float64()
	for class, w := range s.weights {
		if x -= w; x < 0 {
			return class
		}
	}
	return 0
}

// back completes the samples whose receivers were away: they come back in the
// order of the curve, each at its share of those who were out.
func (s *simulation) back() {
	for i := range s.samples {
		m := &s.samples[i]
		if m.returnShare < 0 {
			continue
		}
		at := m.sent + m.seconds
		from := s.index(at)
		want := s.curve[from].live + m.returnShare*s.curve[from].out
		to, _ := slices.BinarySearchFunc(s.curve[from:], want, func(p point, w float64) int {
			if p.live < w {
				return -1
			}
			return 1
		})
		to = min(from+to, len(s.curve)-1)
		m.seconds = max(m.seconds, s.curve[to].t-m.sent)
	}
}

// index of the curve's first point at a time or after it.
func (s *simulation) index(t float64) int {
	i, _ := slices.BinarySearchFunc(s.curve, t, func(p point, t float64) int {
		if p.t < t {
			return -1
		}
		return 1
	})
	return min(i, len(s.curve)-1)
}

// Simulate plays scenarios on the plan's fleet: one by name, or "all". The same
// seed gives the same answer.
func (p *Plan) Simulate(name string, seed uint64) ([]*Outcome, error) {
	var found []*Outcome
	for _, sc := range scenarios() {
		if name != "all" && name != sc.name {
			continue
		}
		s, err := newSimulation(p, seed)
		if err != nil {
			return nil, err
		}
		s.run(sc)
		s.back()
		found = append(found, s.outcome(sc))
	}
	if found == nil {
		known := append(ScenarioNames(), "all")
		return nil, fmt.Errorf("plan: no scenario is called %q%s (%s)", name, nearest.Hint(name, known), strings.Join(known, ", "))
	}
	return found, nil
}
