package plan

import (
	"fmt"
	"math"
	"testing"
)

// TestALoadIsPlayed holds the simulation of one server against formulas: two
// passes through a core of exponential service times, one after the other, are
// Erlang's; a commit is half of its mean, and an exponential half.
func TestALoadIsPlayed(t *testing.T) {
	line := func(rate, cores, p50us float64) string {
		return fmt.Sprintf(`{"profile":"trickle","valid":true,"machine":{"cpus":4},"load_cores":2,"connections":1000,"rate":%g,"server_cores":%g,"delivery":{"p50_us":%g,"p99_us":%g}}`+"\n", rate, cores, p50us, 3*p50us)
	}
	play := func(text string) (Delivery, float64) {
		l := lines(t, text)
		p := player{1, map[string]float64{}}
		cores, _ := coresOf(l[0], l[1:])
		return p.load(l[0], l[1:], cores)
	}
	busy, cores := play(line(200, 1.6, 1) + line(20, 0.16, 1))
	pass := 4 / (1 - 0.8) // ms
	within(t, "p50 of queues", busy.P50, 1.678*pass, 0.1)
	within(t, "p99 of queues", busy.P99, 6.638*pass, 0.2)
	within(t, "cores", cores, 1.6, 0.05)
	same, _ := play(line(200, 1.6, 1) + line(200, 1.6, 1678*pass))
	within(t, "p50 of queues that the other line had too", same.P50, 1.678*pass, 0.1)

	waiting, _ := play(line(1000, 0.01, 1) + line(4000, 0.04, 9000) + line(1500, 0.015, 1500) + line(400, 0.004, 300))
	within(t, "p50 of waits", waiting.P50, 1.5, 0.05)
	within(t, "p99 of waits", waiting.P99, 1.5/commitP50*(0.5+0.5*math.Log(100)), 0.1)
}

// TestAStormIsPlayed: all are back when their processor time is spent, on the
// cores that the load leaves, or once they were let in.
func TestAStormIsPlayed(t *testing.T) {
	l := lines(t, `{"profile":"reconnect","valid":true,"machine":{"cpus":2},"load_cores":1,"reconnect":{"sessions":8000}}`)
	p := player{1, map[string]float64{}}
	all, most := p.storm(l[0], 1000)
	within(t, "all back", all, 8, 0.03)
	within(t, "99 of 100 back", most, 0.99*8, 0.03)
	if most >= all {
		t.Errorf("99 of 100 are back after %v s, all after %v s", most, all)
	}
	l[0].Reconnect.Sessions = 40_000 // of which 10,000 a second are let in
	if all, _ := p.storm(l[0], 1); all < 3 || all > 30 {
		t.Errorf("all are back after %v s", all)
	}
}
