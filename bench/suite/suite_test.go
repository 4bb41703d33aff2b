package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bench"
)

func testPlan() *Plan {
	return &Plan{Name: "full", Steps: []Step{{Name: "a", Rounds: 2, Takes: time.Minute}, {Name: "b", Rounds: 3, Takes: time.Minute}, {Name: "c", Rounds: 3, Takes: time.Minute}}}
}

// play runs a plan whose rounds are bad as said, and returns the order.
func play(p *Plan, done []Round, bad func(job) bool) (order []string, all []Round) {
	for {
		j, ok := p.next(done)
		if !ok {
			return order, done
		}
		r := Round{Step: j.step.Name, Round: j.round, Attempt: j.attempt, Result: &bench.Result{}}
		if bad(j) {
			r.Noisy = []string{"loud"}
		}
		order = append(order, r.Step+string(rune('0'+r.Round))+strings.Repeat("'", r.Attempt-1))
		done = append(done, r)
	}
}

func TestRoundsTakeTurns(t *testing.T) {
	order, all := play(testPlan(), nil, func(job) bool { return false })
	if got := strings.Join(order, " "); got != "a1 b1 c1 a2 b2 c2 b3 c3" {
		t.Errorf("order %s", got)
	}
	// From any place on it goes on as it would have.
	for n := range all {
		rest, _ := play(testPlan(), slices.Clone(all[:n]), func(job) bool { return false })
		if !slices.Equal(rest, order[n:]) {
			t.Errorf("after %d rounds: %v, not %v", n, rest, order[n:])
		}
	}
}

func TestBadRoundsAreRepeatedSoOftenAndNoMore(t *testing.T) {
	order, _ := play(testPlan(), nil, func(j job) bool { return j.step.Name == "b" && j.round == 1 && j.attempt == 1 })
	if got := strings.Join(order, " "); got != "a1 b1 c1 b1' a2 b2 c2 b3 c3" {
		t.Errorf("one bad round: %s", got)
	}
	// 8 rounds have a budget of 2 repeats.
	order, _ = play(testPlan(), nil, func(job) bool { return true })
	if got := strings.Join(order, " "); got != "a1 b1 c1 a1' b1' a2 b2 c2 b3 c3" {
		t.Errorf("nothing but bad rounds: %s", got)
	}
	p := &Plan{Steps: []Step{{Name: "a", Rounds: 30}}}
	order, _ = play(p, nil, func(job) bool { return true })
	if len(order) != 30+repeatsAStep {
		t.Errorf("a step that is always bad was measured %d times", len(order))
	}
}

func TestTheTimeLeftFollowsWhatRoundsTook(t *testing.T) {
	p := testPlan()
	if n, d := p.left(nil); n != 8 || d != 8*time.Minute {
		t.Errorf("at first %d rounds, %v", n, d)
	}
	done := []Round{{Step: "a", Round: 1, Attempt: 1, TookS: 10}, {Step: "b", Round: 1, Attempt: 1, TookS: 20}, {Step: "b", Round: 1, Attempt: 2, TookS: 40}}
	if n, d := p.left(done); n != 6 || d != 10*time.Second+2*30*time.Second+3*time.Minute {
		t.Errorf("then %d rounds, %v", n, d)
	}
}

func TestAFolderGoesOn(t *testing.T) {
	dir := t.TempDir()
	f, err := open(filepath.Join(dir, "run"), "full", "v1")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if err := f.add(Round{Step: "trickle@1", Round: n + 1, Attempt: 1, Result: &bench.Result{Profile: "trickle", DeliveredPS: 5}}); err != nil {
			t.Fatal(err)
		}
	}
	// The power fails in the middle of a line.
	path := filepath.Join(f.dir, roundsFile)
	b, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(b, b[:len(b)/4]...), 0o666); err != nil {
		t.Fatal(err)
	}
	if f, err = open(f.dir, "full", "v1"); err != nil || len(f.rounds) != 2 || f.rounds[1].DeliveredPS != 5 {
		t.Fatalf("%d rounds were kept: %v", len(f.rounds), err)
	}
	if err := f.add(Round{Step: "trickle@1", Round: 3, Attempt: 1, Result: &bench.Result{Profile: "trickle"}}); err != nil {
		t.Fatal(err)
	}
	if f, err = read(f.dir); err != nil || len(f.rounds) != 3 {
		t.Fatalf("%d rounds after a cut line: %v", len(f.rounds), err)
	}
	if _, err := open(f.dir, "quick", "v1"); err == nil || !strings.Contains(err.Error(), "full run of another") {
		t.Errorf("another plan went on with it: %v", err)
	}
	f.head.Machine.Binary = "another"
	f.write(headFile, f.head)
	if _, err := open(f.dir, "full", "v1"); err == nil {
		t.Error("another program went on with it")
	}
}

// echoRound is a round of a server's echo with so many messages a second.
func echoRound(step string, round int, perSecond float64) Round {
	line := bench.EchoResult{Depth: 16, PerCPUSecond: bench.SpreadOf([]float64{perSecond})}
	return Round{Step: step, Round: round, Attempt: 1, Result: &bench.Result{Profile: "echo", Echo: []bench.EchoResult{line}}}
}

func TestRatiosAreOfRoundsOfTheSameNumber(t *testing.T) {
	f := &folder{}
	for n, speed := range []float64{1, 0.5, 2} { // the machine's mood
		for step, v := range map[string]float64{"echo/barec/plain": 100, "echo/barego/two": 80, "echo/rookery": 90, "echo/gws/direct": 9, "echo/nbio/inline": 6} {
			r := echoRound(step, n+1, v*speed)
			r.Echo[0].IdleConnections = 10
			f.rounds = append(f.rounds, r)
		}
	}
	s := f.summarize()
	for name, want := range map[string]float64{toC: 0.9, toGo: 1.125, toPeer: 10} {
		if g := s.Figure(ours, "16 in flight: "+name); g == nil || g.Spread.Min < want*0.999 || g.Spread.Max > want*1.001 || len(g.Values) != 3 {
			t.Errorf("%s: %+v, want %v in every round", name, g, want)
		}
	}
}

// TestAnEchoIsBadWhereItIs holds that a bad depth is not the others', and that a
// ratio is as bad as what it is of.
func TestAnEchoIsBadWhereItIs(t *testing.T) {
	f := &folder{}
	for _, step := range []string{"echo/barec/plain", ours, "echo/gws/direct", "echo/gws/small"} {
		r := echoRound(step, 1, 10)
		r.Echo = append(r.Echo, r.Echo[0])
		r.Echo[1].Depth = 64
		if step == "echo/barec/plain" || step == "echo/gws/direct" {
			r.Echo[0].Invalid = []string{"the load was the limit"}
			r.Invalid = []string{"depth 16: the load was the limit"}
		}
		if step != "echo/gws/small" {
			r.Echo[0].IdleConnections = 10
		}
		f.rounds = append(f.rounds, r)
	}
	s := f.summarize()
	for _, c := range []struct{ step, name string }{
		{"echo/barec/plain", "messages a server CPU second"}, {ours, toC}, {ours, toPeer}, {"echo/gws/small", toFirst},
	} {
		bad, good := s.Figure(c.step, "16 in flight: "+c.name), s.Figure(c.step, "64 in flight: "+c.name)
		if bad == nil || good == nil || bad.Bad != 1 || good.Bad != 0 {
			t.Errorf("%s, %s: %+v, %+v", c.step, c.name, bad, good)
		}
	}
	if g := s.Figure(ours, "16 in flight: messages a server CPU second"); g.Bad != 0 {
		t.Errorf("%+v is bad, as others were", g)
	}
}

// TestALibraryCountsWithItsFirstSettings holds that a full run, which measures
// the others too, means the same by the best other library as a quick one.
func TestALibraryCountsWithItsFirstSettings(t *testing.T) {
	f := &folder{}
	for step, v := range map[string]float64{ours: 90, "echo/gws/direct": 9, "echo/gnet/message": 6, "echo/gnet/coalesced": 45} {
		for n := range 2 {
			r := echoRound(step, n+1, v)
			if step != "echo/gnet/coalesced" && n == 0 {
				r.Echo[0].IdleConnections = 10
			}
			f.rounds = append(f.rounds, r)
		}
	}
	if g := f.summarize().Figure(ours, "16 in flight: "+toPeer); g == nil || g.Spread.Min != 10 || g.Spread.Max != 10 || len(g.Values) != 2 {
		t.Errorf("%+v, want 10 in both rounds", g)
	}
}

func TestAGoodRepeatCountsInPlaceOfABadRound(t *testing.T) {
	bad, good := echoRound(ours, 1, 50), echoRound(ours, 1, 100)
	bad.Noisy, good.Attempt = []string{"loud"}, 2
	s := (&folder{rounds: []Round{bad, good}}).summarize()
	g := s.Figure(ours, "16 in flight: messages a server CPU second")
	if g == nil || len(g.Values) != 1 || g.Values[0] != 100 || g.Bad != 0 || s.Repeated != 1 || len(s.Bad) != 0 {
		t.Errorf("%+v, %d repeated, %v", g, s.Repeated, s.Bad)
	}
	failed := Round{Step: ours, Round: 2, Attempt: 1, Error: "no server", Result: &bench.Result{Profile: "echo"}}
	s = (&folder{rounds: []Round{bad, failed}}).summarize()
	if g = s.Figure(ours, g.Name); len(g.Values) != 1 || g.Bad != 1 || len(s.Bad) != 2 || !strings.Contains(s.Bad[1], "no server") {
		t.Errorf("%+v, %v", g, s.Bad)
	}
}

func sideOf(name, way string, values ...float64) *Summary {
	return &Summary{Figures: []Figure{{Step: "x", Name: name, Way: way, Values: values, Spread: bench.SpreadOf(values)}}}
}

func TestDiff(t *testing.T) {
	for name, c := range map[string]struct {
		way  string
		a, b []float64
		want string
		few  bool
	}{
		"the same":         {lower, []float64{10, 11, 12}, []float64{10, 11, 12}, "", false},
		"overlap":          {lower, []float64{10, 11, 12}, []float64{11.9, 14, 15}, "", false},
		"side by side":     {lower, []float64{10, 11, 12}, []float64{12.1, 13, 14}, "", false},
		"slower":           {lower, []float64{10, 10.1, 10.2}, []float64{12, 12.1, 12.2}, Worse, false},
		"faster":           {lower, []float64{12, 12.1, 12.2}, []float64{10, 10.1, 10.2}, Better, false},
		"less is worse":    {higher, []float64{12, 12.1, 12.2}, []float64{10, 10.1, 10.2}, Worse, false},
		"neither":          {either, []float64{12, 12.1, 12.2}, []float64{10, 10.1, 10.2}, Changed, false},
		"exact but little": {lower, []float64{100, 100, 100}, []float64{104, 104, 104}, "", false},
		"none to one":      {lower, []float64{0, 0, 0}, []float64{1, 1, 1}, Worse, false},
		"too few":          {lower, []float64{10, 10.1}, []float64{20, 20.1, 20.2}, "", true},
	} {
		got := Diff(sideOf("f", c.way, c.a...), sideOf("f", c.way, c.b...))
		if len(got) != 1 || got[0].Verdict != c.want || got[0].Few != c.few {
			t.Errorf("%s: %+v", name, got)
		}
	}
	var out strings.Builder
	a, b := sideOf("f", lower, 10, 10.1, 10.2), sideOf("f", lower, 12, 12.1, 12.2)
	if !WriteDiff(&out, a, b, Diff(a, b)) || !strings.Contains(out.String(), "worse  x  f  10.1 (10.0 to 10.2)  → 12.1 (12.0 to 12.2)  +19.8 %") {
		t.Errorf("%s", out.String())
	}
	if WriteDiff(&out, b, a, Diff(b, a)) {
		t.Error("what got better is called worse")
	}
}

// TestNoiseIsNoChange holds the rule to what its comment says: figures of one
// distribution, and of two.
func TestNoiseIsNoChange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(n int, mean float64) (values []float64) {
		for range n {
			values = append(values, mean*(1+0.1*rng.NormFloat64()))
		}
		return values
	}
	const trials = 20_000
	for _, c := range []struct {
		rounds          int
		falsely, rarely float64
	}{{3, 0.03, 0.5}, {5, 0.001, 0.5}} {
		wrong, seen := 0, 0
		for range trials {
			a := bench.SpreadOf(draw(c.rounds, 100))
			if beyondNoise(a, bench.SpreadOf(draw(c.rounds, 100))) {
				wrong++
			}
			if beyondNoise(a, bench.SpreadOf(draw(c.rounds, 160))) {
				seen++
			}
		}
		t.Logf("%d rounds: %.4f of what did not change is said to have, %.3f of what grew by 60 %% is seen, with a spread of 10 %%", c.rounds, float64(wrong)/trials, float64(seen)/trials)
		if float64(wrong)/trials > c.falsely || float64(seen)/trials < c.rarely {
			t.Errorf("%d rounds: %d wrong, %d seen of %d", c.rounds, wrong, seen, trials)
		}
	}
}

func TestDigitsAreCut(t *testing.T) {
	b, err := os.ReadFile("testdata/digits.json") // the page's tests read it too
	var cut map[string]string
	if err = errors.Join(err, json.Unmarshal(b, &cut)); err != nil || len(cut) == 0 {
		t.Fatal(err)
	}
	for text, want := range cut {
		v, err := strconv.ParseFloat(text, 64)
		if got := digits(v); err != nil || got != want {
			t.Errorf("%s is written %s, not %s: %v", text, got, want, err)
		}
	}
}

// Of a figure that is better when it is lower, less would be better than it is.
func TestNoFigureLooksBetterThanItIs(t *testing.T) {
	for _, c := range []struct {
		v        float64
		up, down string // as one that is better lower, and higher
	}{
		{256.9, "257", "256"}, {1.3958, "1.40", "1.39"}, {1.3, "1.30", "1.30"}, {99.95, "100", "99.9"}, {999.2, "1,000", "999"},
		{1234.5, "1,235", "1,234"}, {2000, "2,000", "2,000"}, {0, "0.00", "0.00"}, {0.00301, "0.0031", "0.0030"}, {0.00999, "0.01", "0.0099"},
	} {
		for way, want := range map[string]string{lower: c.up, higher: c.down, either: c.down} {
			f := Figure{Way: way, Values: []float64{c.v, c.v}, Spread: bench.Spread{Median: c.v, Min: c.v, Max: c.v}}
			if got := f.text(); got != fmt.Sprintf("%s (%[1]s to %[1]s)", want) {
				t.Errorf("%v, where %s, is written %s", c.v, way, got)
			}
		}
	}
}

func TestASummaryIsLoadedFromItsFile(t *testing.T) {
	f := &folder{dir: t.TempDir(), head: Head{Plan: "full"}, rounds: []Round{echoRound(ours, 1, 5)}}
	if err := f.write(SummaryFile, f.summarize()); err != nil {
		t.Fatal(err)
	}
	s, err := Load(filepath.Join(f.dir, SummaryFile))
	if err != nil || len(s.Figures) == 0 {
		t.Fatal(err)
	}
	other := filepath.Join(f.dir, "other.json")
	b, _ := json.Marshal(map[string]int{"a": 1})
	os.WriteFile(other, b, 0o666)
	if _, err := Load(other); err == nil || !strings.Contains(err.Error(), "no figures") {
		t.Errorf("another file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("an empty folder was loaded")
	}
}
