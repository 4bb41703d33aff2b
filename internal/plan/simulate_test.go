package plan

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// town is a fleet small enough to be simulated in no time.
func town() Load {
	return Load{Users: 2e6, Online: 0.2, MessagesPerDay: 500e6, RetentionDays: 365, SizeBytes: 100, Replication: 3, Peak: 1}
}

func simulate(t *testing.T, l Load, scenario string, seed uint64, set ...string) *Outcome {
	t.Helper()
	found, err := newPlan(t, l, set...).Simulate(scenario, seed)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

func TestTheSeedDecides(t *testing.T) {
	small := []string{"gateway_sessions=20K"}
	a, b, c := simulate(t, town(), "zone", 7, small...), simulate(t, town(), "zone", 7, small...), simulate(t, town(), "zone", 8, small...)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gives two answers")
	}
	if reflect.DeepEqual(a, c) {
		t.Error("another seed gives the same answer")
	}
}

func TestEverybodyComesBack(t *testing.T) {
	for _, name := range ScenarioNames() {
		o := simulate(t, town(), name, 1, "gateway_sessions=20K", "newyear_minutes=1", "upgrade_share=25%", "newyear_load=1.5")
		if o.AllBack < 0 || o.HalfBack > o.MostBack || o.MostBack > o.AllBack {
			t.Errorf("%s: half, 99%%, all after %v, %v, %v s", name, o.HalfBack, o.MostBack, o.AllBack)
		}
		if last := o.TimeLine[len(o.TimeLine)-1]; last.Out > 0.5 || last.Everybody.P99 > 1.5*o.Before.P99 {
			t.Errorf("%s: it ends with %+v, and began with %+v", name, last, o.Before)
		}
		if first := o.TimeLine[0]; first.Out != 0 || first.From >= 0 {
			t.Errorf("%s: it begins with %+v", name, first)
		}
		want := map[string]float64{"gateway": 20_000, "zone": 400_000.0 / 3, "upgrade": 400_000}[name]
		if math.Abs(o.Lost-want) > 1 {
			t.Errorf("%s: %v sessions were lost, not %v", name, o.Lost, want)
		}
	}
}

// TestABrokerHoldsItsPartitionsUp: the longest that a message waits is the
// fail-over, and what then stands before it.
func TestABrokerHoldsItsPartitionsUp(t *testing.T) {
	o := simulate(t, town(), "broker", 1, "failover_seconds=8")
	if o.Worst.P99 < 7000 || o.Worst.P99 > 12_000 {
		t.Errorf("p99 of the worst second is %v ms", o.Worst.P99)
	}
	for _, i := range o.TimeLine { // appends are taken again, and stand behind what waited
		if i.From == 8 && i.Connected.P99 < 1000 {
			t.Errorf("just after the fail-over p99 is %v ms", i.Connected.P99)
		}
	}
	if o.Lost != 0 {
		t.Errorf("%v sessions were lost", o.Lost)
	}
}

// TestNewYearIsCarriedWhenPlanned: five times the load drowns a fleet that was
// planned for the mean, by as much as its owners lack; one that was planned for
// the peak carries it.
func TestNewYearIsCarriedWhenPlanned(t *testing.T) {
	set := []string{"gateway_sessions=20K", "newyear_minutes=2", "service_cv=50%"}
	without := simulate(t, town(), "newyear", 1, set...)
	p := newPlan(t, town(), set...)
	over := 5*p.Get("messages_ps")/p.Get("partitions")*p.Get("owner_us")/1e6 - 1
	if over <= 0 {
		t.Fatal("the owners would carry it")
	}
	within(t, "the longest queue", without.WorstLag, 120*over, 0.1)
	l := town()
	l.Peak = 5
	planned := simulate(t, l, "newyear", 1, set...)
	if planned.Worst.P99 > 3*planned.Before.P99 || planned.WorstLag > 1 {
		t.Errorf("planned for the peak: p99 %v ms, before %v ms, queue %v s", planned.Worst.P99, planned.Before.P99, planned.WorstLag)
	}
}

// TestMoreWorkersBringThemBackSooner holds the direction of what an operator
// would turn.
func TestMoreWorkersBringThemBackSooner(t *testing.T) {
	few := simulate(t, town(), "zone", 1, "gateway_sessions=200K", "readers=16")
	many := simulate(t, town(), "zone", 1, "gateway_sessions=200K", "readers=64")
	if many.AllBack >= few.AllBack {
		t.Errorf("all are back after %v s with 16 readers, after %v s with 64", few.AllBack, many.AllBack)
	}
}

// exactNetwork follows every message through every queue: loops, brokers'
// cores, owners, loops again. Nothing in it is Poisson but what clients send.
func exactNetwork(p *Plan, seconds float64, seed uint64) Delivery {
	g := p.Get
	var e events
	rng := rand.New(rand.NewPCG(seed, 5))
	var loops []*station
	for range int(g("gateways") * g("gateway_cores")) {
		loops = append(loops, newStation(rng, service{g("gateway_us") / 2e6, g("service_cv")}, 0))
		loops[len(loops)-1].speed = 1 - g("online")/g("heartbeat_seconds")*g("heartbeat_us")/1e6/(g("gateways")*g("gateway_cores"))
	}
	var brokers []*pool
	for range int(g("brokers")) {
		appending := g("broker_us") / 1e6 * (1 + (g("log_replication")-1)*g("follower_share")) * g("append_messages")
		brokers = append(brokers, newPool(rng, int(g("broker_cores")), service{appending, g("service_cv")}, 0))
	}
	var owners []*owner
	store := newStation(rng, service{g("store_us") / 1e6, g("service_cv")}, g("messages_ps")*g("replication")/g("store_nodes")/g("store_cores"))
	for range int(g("partitions")) {
		owners = append(owners, newOwner(&e, rng, service{g("owner_us") / 1e6, g("service_cv")}, ownersBatch, 0,
			func(t float64) float64 { return g("store_write_ms")/1000 + store.pass(t) }))
	}
	then := func(after float64, do func()) { e.at(e.now+after, do) }
	linger, rtt, half := g("linger_ms")/1000, g("rtt_ms")/1000, g("commit_ms")/2000
	var stays []float64
	var send func()
	send = func() {
		sent := e.now
		e.at(sent+rng.ExpFloat64()/g("messages_ps"), send)
		then(loops[rng.IntN(len(loops))].pass(sent)+rtt, func() {
			// A message goes with fifteen others; each pays a sixteenth of the append.
			wait := 0.0
			if rng.Float64() < 1/g("append_messages") {
				wait = brokers[rng.IntN(len(brokers))].pass(e.now)
			} else {
				wait = service{brokers[0].service.mean, g("service_cv")}.draw(rng) + brokers[rng.IntN(len(brokers))].backlog(e.now)
			}
			commit := half + half*rng.ExpFloat64() + (rng.Float64()+rng.Float64())*linger + rtt
			then(wait+commit, func() {
				owners[rng.IntN(len(owners))].join(e.now, func() {
					then(rtt, func() {
						stays = append(stays, (e.now-sent+loops[rng.IntN(len(loops))].pass(e.now))*1000)
					})
				})
			})
		})
	}
	e.at(0, send)
	e.until(seconds)
	slices.Sort(stays)
	return Delivery{quantile(stays, 0.5), quantile(stays, 0.99)}
}

// TestFollowedMessagesAreAllMessages holds what is simulated, a few queues with
// streams of their own beside the messages that are followed, against a network
// in which every message is followed through every queue.
func TestFollowedMessagesAreAllMessages(t *testing.T) {
	l := Load{Users: 40e3, Online: 0.5, MessagesPerDay: 86400 * 6000, RetentionDays: 30, SizeBytes: 100, Replication: 3, Peak: 1}
	for _, set := range [][]string{nil, {"zones=1", "zones_lost=0", "spare_hosts=0", "cpu_use=90%", "gateway_cores=1", "gateway_us=3000"}, {"partition_use=90%", "cpu_use=90%", "zones_lost=0", "spare_hosts=0", "gateway_cores=1", "broker_cores=1", "owner_cores=2"}} {
		p := newPlan(t, l, set...)
		exact := exactNetwork(p, 15, 1)
		var got Delivery
		const seeds = 4 // the time before a scenario is short
		for seed := range uint64(seeds) {
			o := simulate(t, l, "broker", seed, append(set, "failover_seconds=0")...)
			got.P50, got.P99 = got.P50+o.Before.P50/seeds, got.P99+o.Before.P99/seeds
		}
		within(t, "p50", got.P50, exact.P50, 0.08)
		within(t, "p99", got.P99, exact.P99, 0.15)
		t.Logf("%q: simulated p50 %.1f ms, p99 %.1f ms; every message %.1f ms, %.1f ms", set, got.P50, got.P99, exact.P50, exact.P99)
	}
}

// TestWhoWasAwayWaited: a message to somebody who is away takes until he is
// back, and counts in one of the two percentiles only.
func TestWhoWasAwayWaited(t *testing.T) {
	o := simulate(t, town(), "zone", 1, "gateway_sessions=200K", "failover_seconds=0", "session_seconds=0", "takeover_seconds=0")
	first := o.TimeLine[1]
	if first.Everybody.P99 < 1000*0.5*o.HalfBack || first.Connected.P99 > 1000 {
		t.Errorf("half are back after %v s, and p99 was %+v", o.HalfBack, first)
	}
}

func TestUnknownScenario(t *testing.T) {
	p := newPlan(t, town())
	if _, err := p.Simulate("gatway", 1); err == nil || !strings.Contains(err.Error(), `did you mean "gateway"?`) {
		t.Errorf("%v", err)
	}
	l := town()
	l.Online = 0
	if _, err := newPlan(t, l).Simulate("zone", 1); err == nil || !strings.Contains(err.Error(), "nobody online") {
		t.Errorf("%v", err)
	}
}
