package plan

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
)

// exactCrowd brings sessions back one by one, by the same rules: each with its
// own back-off, a token bucket and workers for each gateway.
type exactCrowd struct {
	events events
	rng    *rand.Rand
	rules  rules
	gates  []*exactGateway
	back   []float64 // when each had caught up

	refused, busy, timedOut int
}

type exactGateway struct {
	tokens, filled float64
	cores          []float64 // when each is free
	workers        int       // at work
	jobs           []func() float64
}

func newExactCrowd(r rules, gateways int, seed uint64) *exactCrowd {
	x := &exactCrowd{rules: r, rng: rand.New(rand.NewPCG(seed, 9))}
	for range gateways {
		x.gates = append(x.gates, &exactGateway{tokens: r.acceptPerSecond, cores: make([]float64, int(r.cores))})
	}
	return x
}

// attempt plans the next one of a session that has failed so often.
func (x *exactCrowd) attempt(failures int, delay, told float64) {
	wait := max(x.rng.Float64()*x.rules.ceiling(failures), x.rng.Float64()*told)
	x.events.at(x.events.now+delay+wait, func() { x.dial(failures + 1) })
}

func (x *exactCrowd) dial(failures int) {
	now, r := x.events.now, &x.rules
	g := x.gates[x.rng.IntN(len(x.gates))]
	if r.acceptPerSecond > 0 {
		g.tokens = min(r.acceptPerSecond, g.tokens+(now-g.filled)*r.acceptPerSecond)
		g.filled = now
		if g.tokens < 1 {
			x.refused++
			x.attempt(failures, 0, 0)
			return
		}
		g.tokens--
	}
	core := x.rng.IntN(len(g.cores))
	g.cores[core] = max(now, g.cores[core]) + r.connect
	x.events.at(g.cores[core], func() { x.hello(g, now, failures) })
}

func (x *exactCrowd) hello(g *exactGateway, began float64, failures int) {
	if float64(len(g.jobs)) >= x.rules.jobs {
		x.busy++
		x.attempt(failures, 0, x.rules.busy)
		return
	}
	x.job(g, func() float64 {
		if x.events.now-began > x.rules.dial {
			x.timedOut++
			x.attempt(failures, 0, 0)
			return 0
		}
		x.events.at(x.events.now+x.rules.hello, func() {
			x.job(g, func() float64 {
				x.events.at(x.events.now+x.rules.page, func() { x.back = append(x.back, x.events.now) })
				return x.rules.page
			})
		})
		return x.rules.hello
	})
}

// job queues work; it says how long a worker takes.
func (x *exactCrowd) job(g *exactGateway, work func() float64) {
	g.jobs = append(g.jobs, work)
	x.next(g)
}

func (x *exactCrowd) next(g *exactGateway) {
	for g.workers < int(x.rules.readers) && len(g.jobs) > 0 {
		work := g.jobs[0]
		g.jobs = g.jobs[1:]
		g.workers++
		x.events.at(x.events.now+work(), func() { g.workers--; x.next(g) })
	}
}

func testRules() rules {
	return rules{
		step: crowdStep, backoffMin: 0.5, backoffMax: 30, busy: 5, dial: 10, acceptPerSecond: 10_000, cores: 4, connect: 0.0004,
		readers: 16, jobs: 16_384, hello: 0.0075, page: 0.006,
	}
}

// TestFluidIsTheSessions holds the fluid against sessions one by one, at sizes
// where that is cheap, with each limit in turn the one that counts.
func TestFluidIsTheSessions(t *testing.T) {
	for name, c := range map[string]struct {
		sessions, gateways int
		change             func(*rules)
	}{
		"back-off alone":    {5_000, 10, func(r *rules) { r.readers = 1000 }},
		"workers":           {20_000, 4, func(*rules) {}},
		"the accept limit":  {20_000, 4, func(r *rules) { r.acceptPerSecond, r.readers = 200, 1000 }},
		"cores":             {20_000, 2, func(r *rules) { r.acceptPerSecond, r.readers, r.cores, r.connect = 0, 1000, 2, 0.002 }},
		"room for jobs":     {30_000, 3, func(r *rules) { r.jobs, r.readers = 500, 8 }},
		"clients' patience": {20_000, 2, func(r *rules) { r.dial, r.readers = 2, 8 }},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRules()
			c.change(&r)
			exact := newExactCrowd(r, c.gateways, 1)
			for range c.sessions {
				exact.attempt(0, 1, 0)
			}
			exact.events.until(3600)
			if len(exact.back) != c.sessions {
				t.Fatalf("%d of %d are back", len(exact.back), c.sessions)
			}
			fluid := newCrowd(r, float64(c.gateways))
			fluid.lose(float64(c.sessions), 1, 0, 0)
			reached := map[float64]float64{}
			for i := 1; !fluid.back() && i < 3600/crowdStep; i++ {
				fluid.tick(1)
				for _, share := range []float64{0.5, 0.9, 0.99} {
					if reached[share] == 0 && fluid.live >= share*float64(c.sessions) {
						reached[share] = float64(i) * crowdStep
					}
				}
			}
			for _, share := range []float64{0.5, 0.9, 0.99} {
				want := exact.back[int(share*float64(c.sessions))-1]
				if math.Abs(reached[share]-want) > 0.1*want+0.15 {
					t.Errorf("%.0f %% are back after %.2f s, one by one after %.2f s", 100*share, reached[share], want)
				}
			}
			t.Logf("half, 90 %%, 99 %%: %.2f, %.2f, %.2f s; one by one %.2f, %.2f, %.2f s; refused %.0f, %d; busy %.0f, %d; timed out %.0f, %d", reached[0.5], reached[0.9], reached[0.99],
				exact.back[c.sessions/2], exact.back[c.sessions*9/10], exact.back[c.sessions*99/100], fluid.refused, exact.refused, fluid.busy, exact.busy, fluid.timedOut, exact.timedOut)
			for what, n := range map[string][2]float64{"refused": {fluid.refused, float64(exact.refused)}, "busy": {fluid.busy, float64(exact.busy)}, "timed out": {fluid.timedOut, float64(exact.timedOut)}} {
				if math.Abs(n[0]-n[1]) > 0.15*n[1]+0.01*float64(c.sessions) {
					t.Errorf("%s: %.0f, one by one %.0f", what, n[0], n[1])
				}
			}
		})
	}
}

// TestNobodyIsLostInTheFluid counts sessions in every step.
func TestNobodyIsLostInTheFluid(t *testing.T) {
	r := testRules()
	r.acceptPerSecond, r.jobs, r.readers, r.dial = 300, 1000, 2, 1
	c := newCrowd(r, 3)
	c.lose(10_000, 1, 5, 5)
	defer func() {
		if c.refused == 0 || c.busy == 0 || c.timedOut == 0 {
			t.Errorf("refused %v, busy %v, timed out %v: not every way was taken", c.refused, c.busy, c.timedOut)
		}
	}()
	for range 4000 {
		if c.step == 100 {
			c.resize(2)
			c.lose(5_000, 0, 0, 0)
		}
		c.tick(0.5)
		somewhere := c.hellos + c.pages
		for _, class := range c.waiting {
			for _, n := range class {
				somewhere += n
			}
		}
		for _, b := range c.hands.batches {
			somewhere += b.n
		}
		if math.Abs(somewhere+c.live-c.lost) > 1e-6*c.lost {
			t.Fatalf("step %d: %v are somewhere and %v back, of %v", c.step, somewhere, c.live, c.lost)
		}
	}
}

// TestBackoffIsTheSDKs runs the SDK against an address that nobody answers at
// and holds its waits against the ceilings.
func TestBackoffIsTheSDKs(t *testing.T) {
	r := rules{backoffMin: 0.002, backoffMax: 0.02}
	longest := make([]float64, 6)
	for range 30 {
		c, err := client.Open(context.Background(), client.Options{
			URL: "ws://127.0.0.1:1", User: "a", Device: "d", BackoffMin: 2 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
			Token: func(context.Context) (string, error) { return "t", nil },
			Dial:  func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody") },
		})
		if c == nil {
			t.Fatal(err)
		}
		for failures := 0; failures < len(longest); {
			e, err := c.Receive(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if d, ok := e.(client.Disconnected); ok {
				wait := d.RetryIn.Seconds()
				if wait > r.ceiling(failures)+1e-6 {
					t.Errorf("after %d failures it waits %v, over %v", failures, wait, r.ceiling(failures))
				}
				longest[failures] = max(longest[failures], wait)
				failures++
			}
		}
		c.Close(context.Background())
	}
	for failures, wait := range longest { // of 30 waits one is over half of the ceiling, but for once in a billion
		if wait < r.ceiling(failures)/2 {
			t.Errorf("after %d failures it waits at most %v, the ceiling is %v", failures, wait, r.ceiling(failures))
		}
	}
}
