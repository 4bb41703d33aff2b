package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestChecksPredictWhatFollowsTheModel makes lines that are exactly as the model
// says, and expects no error.
func TestChecksPredictWhatFollowsTheModel(t *testing.T) {
	made := func(rate, connections float64, cpus int) string {
		cores := 0.05 + rate*150e-6
		p50 := 1500 + waitQuantile(0.5, cpus, cores/float64(cpus), 400)
		p99 := 1500 + waitQuantile(0.99, cpus, cores/float64(cpus), 400)
		return fmt.Sprintf(`{"profile":"trickle","valid":true,"machine":{"cpus":%d},"connections":%g,"rate":%g,"accepted_per_second":%g,"server_cores":%g,"delivery":{"p50_us":%g,"p99_us":%g}}`,
			cpus, connections, rate, rate, cores, p50, p99)
	}
	given := lines(t, made(1000, 1000, 1)+"\n"+made(3000, 1000, 1)+"\n"+made(9000, 100_000, 2)+`
{"profile":"idle","valid":true,"connections":1000,"empty_bytes":1000000,"settled_bytes":4000000}
{"profile":"idle","valid":true,"connections":100000,"empty_bytes":1000000,"settled_bytes":301000000}
{"profile":"reconnect","valid":true,"machine":{"cpus":1},"reconnect":{"sessions":1000,"settled_seconds":0.5,"session":{"p99_us":400000},"server_cpu_us_per_session":300}}
{"profile":"reconnect","valid":true,"machine":{"cpus":2},"reconnect":{"sessions":100000,"settled_seconds":25,"session":{"p99_us":20000000},"server_cpu_us_per_session":330}}
{"profile":"slow","valid":true,"server_cores":1,"rate":1}
{"profile":"trickle","valid":false,"server_cores":99,"rate":1}
{"profile":"trickle","valid":true,"machine":{"cpus":1},"connections":1000,"rate":30000,"accepted_per_second":3000,"delivered_per_second":3000,"server_cores":0.5,"delivery":{"p50_us":5000000,"p99_us":9000000}}
`)
	checks, err := CheckLines(given, 1)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, c := range checks {
		if c.Extrapolation != "" {
			continue
		}
		seen[c.Figure]++
		played := slices.Contains([]string{"server cores", "delivery p50", "delivery p99", "all back", "session p99"}, c.Figure)
		if overloaded := strings.Contains(c.Run, "30,000 msg/s"); (played && !overloaded) != (c.Simulated > 0) {
			t.Errorf("%s, %s: the simulation says %v", c.Run, c.Figure, c.Simulated)
		}
		tolerance := 0.01
		if c.Figure == "processor time a session" {
			tolerance = 0.11
		}
		if math.Abs(c.Error) > tolerance {
			t.Errorf("%s, %s: predicted %v, measured %v from %s", c.Run, c.Figure, c.Predicted, c.Measured, c.From)
		}
	}
	for figure, n := range map[string]int{"server cores": 4, "delivery p50": 3, "delivery p99": 3, "resident": 2, "all back": 2, "session p99": 2, "processor time a session": 2} {
		if seen[figure] != n {
			t.Errorf("%s is predicted %d times, not %d", figure, seen[figure], n)
		}
	}
	var b strings.Builder
	if err := WriteChecks(&b, checks, given); err != nil || !strings.Contains(b.String(), "by simulation") || !strings.Contains(b.String(), "trickle, 100,000 sessions, 9,000 msg/s, 2 CPUs") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestACheckShowsItsError: a line that breaks the rule is seen.
func TestACheckShowsItsError(t *testing.T) {
	checks, err := CheckLines(lines(t, `{"profile":"trickle","valid":true,"rate":1000,"server_cores":0.2}
{"profile":"trickle","valid":true,"rate":2000,"server_cores":0.8}`), 1)
	if err != nil || len(checks) != 2 {
		t.Fatal(checks, err)
	}
	near(t, "predicted", checks[1].Predicted, 0.4)
	near(t, "the error", checks[1].Error, -0.5)
	if !strings.Contains(checks[1].From, "1,000 msg/s") {
		t.Errorf("it comes from %s", checks[1].From)
	}
}

func TestACheckNeedsTwoLines(t *testing.T) {
	for _, text := range []string{
		`{"profile":"trickle","valid":true,"rate":1000,"server_cores":0.2}`,
		`{"profile":"trickle","valid":true,"rate":1000,"server_cores":0.2}` + "\n" + `{"profile":"trickle","valid":false,"rate":2000,"server_cores":0.2}`,
		`{"profile":"trickle","valid":true,"rate":1000,"server_cores":0.2}` + "\n" + `{"profile":"firehose","valid":true,"rate":2000,"server_cores":0.2}`,
	} {
		if _, err := CheckLines(lines(t, text), 1); !errors.Is(err, errAlone) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Lines of servers with other flags predict nothing of each other.
func TestOtherFlagsAreAnotherServer(t *testing.T) {
	l := lines(t, `{"profile":"trickle","valid":true,"connections":1000,"rate":100,"server_cores":1}`+"\n"+
		`{"profile":"trickle","valid":true,"connections":1000,"rate":200,"server_cores":2,"server_flags":["--engine-loops=56"]}`)
	if _, err := CheckLines(l, 1); err == nil {
		t.Error("they do")
	}
}
