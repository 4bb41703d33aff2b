package plan

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheLargestLinesComeFromTheSmallestAlone: the line between them, those of
// other flags and the other large ones do not count, and each error has its name.
func TestTheLargestLinesComeFromTheSmallestAlone(t *testing.T) {
	made := func(cpus, connections int, rate, us float64, flag string) string {
		return fmt.Sprintf(`{"profile":"trickle","valid":true,"machine":{"cpus":%d},"connections":%d,"rate":%g,"server_cores":%g,"server_flags":[%q]}`+"\n",
			cpus, connections, rate, rate*us/1e6, flag)
	}
	given := lines(t, made(1, 1000, 500, 100, "a")+made(1, 1000, 1000, 100, "a")+made(2, 1000, 1000, 125, "a")+made(2, 1000, 2000, 200, "a")+
		made(2, 3000, 1000, 500, "a")+made(2, 1000, 5000, 100, "b")+made(2, 9000, 5000, 300, "b")+made(2, 100_000, 5000, 50, "b")+made(2, 100_000, 5000, 80, "c"))
	checks, err := CheckLines(given, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"given:3 trickle, from 1 to 2 cores": 0.1, "given:4 trickle, from 1 to 2 cores": 0.2, "given:8 trickle, from 1,000 to 100,000 sockets": 0.5,
	}
	n := 0
	for _, c := range checks {
		if c.Extrapolation != "" {
			n++
			near(t, c.Line+" "+c.Extrapolation, c.Predicted, want[c.Line+" "+c.Extrapolation])
		}
	}
	if n != len(want) {
		t.Errorf("%d extrapolations, not %d: %+v", n, len(want), checks)
	}
	var b strings.Builder
	if err := WriteChecks(&b, checks, given); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{
		"error of trickle, from 1 to 2 cores\n  by formula:    server cores -50 % (-50 % to -20 %)\n",
		"error of trickle, from 1,000 to 100,000 sockets\n  by formula:    server cores +100 %\n",
	} {
		if !strings.Contains(b.String(), w) {
			t.Errorf("no word of %q:\n%s", w, b.String())
		}
	}
}

func TestACheckNamesNoisyLines(t *testing.T) {
	given := lines(t, `{"profile":"trickle","valid":true,"rate":1000,"server_cores":0.2,"noisy":["0.70 cores were stolen"]}
{"profile":"trickle","valid":true,"rate":2000,"server_cores":0.8}`)
	checks, err := CheckLines(given, 1)
	var b strings.Builder
	if err != nil || WriteChecks(&b, checks, given) != nil || strings.Count(b.String(), "note: ") != 1 || !strings.Contains(b.String(), "note: given:1 is noisy: 0.70 cores were stolen") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
