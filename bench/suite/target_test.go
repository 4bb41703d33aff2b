package suite

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/bench"
)

// TestEveryTargetIsMeasured holds targets to be of steps that a plan has.
func TestEveryTargetIsMeasured(t *testing.T) {
	plans := []map[string]bool{measures("full"), measures(planMillion), measures(planCluster)}
	for _, target := range targets {
		if !slices.ContainsFunc(plans, func(steps map[string]bool) bool {
			return steps[target.Step] && (target.Over == "" || steps[target.Over])
		}) {
			t.Errorf("no plan measures %q", target.What)
		}
	}
}

// TestWhatLimitsATargetHasAPlaceInTheDocuments holds that the heading is there.
func TestWhatLimitsATargetHasAPlaceInTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(plain, " ", "-")] = true
	}
	for _, target := range targets {
		if target.why == "" || !anchors[target.anchor] {
			t.Errorf("%s: %q is under no heading %q", target.What, target.why, target.anchor)
		}
	}
}

// judged is the target of a summary with the name.
func judged(t *testing.T, s *Summary, what string) *Reached {
	t.Helper()
	all := reached(s)
	i := slices.IndexFunc(all, func(r Reached) bool { return r.What == what })
	if i < 0 {
		t.Fatalf("there is no target %q", what)
	}
	return &all[i]
}

func TestATargetIsReachedByItsMedianAlone(t *testing.T) {
	const what = "echo, one message in flight, of the bare echo in C"
	of := func(values ...float64) *Summary {
		return &Summary{Figures: []Figure{{Step: ours, Name: "1 in flight: " + toC, Values: values, Spread: bench.SpreadOf(values)}}}
	}
	if r := judged(t, of(0.94999, 0.94999, 1), what); r.Reached || !strings.Contains(r.found(), "0.94 (") {
		t.Errorf("%s: %s", r.found(), r.verdict())
	}
	s := of(0.5, 0.95, 1)
	if r := judged(t, s, what); !r.Reached || r.verdict() != "reached" {
		t.Errorf("%s: %s", r.found(), r.verdict())
	}
	s.Figures[0].Bad = 2
	if r := judged(t, s, what); r.verdict() != "reached; 2 of 3 rounds were noisy or invalid" {
		t.Error(r.verdict())
	}
	s.Figures[0].Bad = 3
	if r := judged(t, s, what); r.Reached || r.class() != "absent" || r.verdict() != "not judged: every round was noisy or invalid" {
		t.Errorf("%s, as %s", r.verdict(), r.class())
	}
	if r := judged(t, &Summary{}, what); r.Measured || r.Reached {
		t.Errorf("what was not measured: %+v", r)
	}
}

// loadRound is a round of an open-loop load.
func loadRound(step string, round int, rate, delivered, cpu float64) Round {
	return Round{Step: step, Round: round, Attempt: 1, Result: &bench.Result{
		Profile: "trickle", Rate: rate, Seconds: 10, Sent: uint64(10 * rate), DeliveredPS: delivered, ServerCPUPerMessageUs: cpu,
	}}
}

func TestCPUIsComparedByRoundsOfTheSameNumber(t *testing.T) {
	const what, few = "CPU a message, 10,000 connections over 1,000 (aim: 1,000,000)", "trickle@5000/1000"
	f := &folder{rounds: []Round{
		loadRound("trickle@5000", 1, 5_000, 4_750, 120), loadRound(few, 2, 5_000, 5_000, 200), loadRound("trickle@5000", 2, 5_000, 4_750, 220),
		loadRound("trickle@5000", 3, 5_000, 5_000, 500), loadRound(few, 1, 5_000, 5_000, 100), loadRound(few, 4, 5_000, 5_000, 10),
		{Step: few, Round: 3, Attempt: 1, Error: "no server", Result: &bench.Result{Profile: "trickle"}},
	}}
	f.rounds[1].Noisy = []string{"loud"} // a pair of one bad round is a bad one
	r := judged(t, f.summarize(), what)
	if r.found() != "1.15 (1.10 to 1.20)" || r.verdict() != "reached; 1 of 2 rounds were noisy or invalid" {
		t.Errorf("%s: %s", r.found(), r.verdict())
	}
	for i, step := range []string{"trickle@5000", few} {
		behind := slices.Clone(f.rounds)
		for j := range behind {
			if behind[j].Step == step && behind[j].Error == "" {
				behind[j] = loadRound(step, behind[j].Round, 5_000, 4_749-float64(i), 100)
			}
		}
		want := []string{"trickle@5000 delivered 4,749 of 5,000 a second", few + " delivered 4,748 of 5,000 a second"}[i]
		if r := judged(t, (&folder{rounds: behind}).summarize(), what); r.Reached || !strings.HasPrefix(r.verdict(), "not reached: "+want) {
			t.Error(r.verdict())
		}
	}
}

func TestDeliveredIsJudgedByWhatWasSent(t *testing.T) {
	const what = "the same, delivered of 11,600 /s meanwhile"
	of := func(sent uint64, delivered float64) *Reached {
		r := loadRound(trickleMillion, 1, 11_600, delivered, 1)
		r.Sent = sent
		return judged(t, (&folder{head: Head{Plan: planMillion}, rounds: []Round{r}}).summarize(), what)
	}
	if r := of(115_000, 11_400); !r.Reached || r.bound() != "at least 0.99 of what was sent" || r.found() != "0.99: 11,400 /s" {
		t.Errorf("less than 11,600 was sent, and all of it came: %s, %s: %s", r.bound(), r.found(), r.verdict())
	}
	if r := of(117_000, 11_500); r.Reached {
		t.Errorf("a hundredth did not come: %s", r.found())
	}
	if r := of(60_000, 6_000); r.Reached || r.found() != "0.52: 6,000 /s" {
		t.Errorf("half of it was sent: %s", r.found())
	}
}

func TestTargetsAreThoseOfTheRunsPlan(t *testing.T) {
	for plan, want := range map[string][2]string{
		"full":      {"| firehose of 1,160,000 /s, 64 messages a write: stored | at least 0.99 of what was sent | – | not measured in this run |", "1,000,000 sessions"},
		planMillion: {"| CPU a message, 1,000,000 sessions over 1,040 | at most 1.30 | – | not measured in this run |", "firehose"},
	} {
		s := (&folder{head: Head{Plan: plan}}).summarize()
		if block := Block(s); !strings.Contains(block, want[0]) || strings.Contains(block, want[1]) {
			t.Errorf("%s", block)
		}
	}
}
