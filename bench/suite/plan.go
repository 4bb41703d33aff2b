// Package suite measures everything in rounds that take turns, keeps each round
// as a line of a folder, goes on where it was when it is started again, and
// makes figures, a page, comparisons and the documents' tables of what it found.
package suite

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/bench"
)

// Step is what is measured once in each of its rounds.
type Step struct {
	Name    string        // a profile, and behind @ or / what tells it from others of the same
	Rounds  int           // how often
	Takes   time.Duration // about, until one has been measured
	Options bench.Options
	IdleOf  int // echo: rounds that take memory too
}

// Plan is what is measured. The rounds of all steps take turns.
type Plan struct {
	Name  string // full, quick, million or cluster
	Steps []Step
}

// Choice is what the caller may choose of a plan.
type Choice struct {
	Quick   bool   // about ten minutes
	Million bool   // what takes a million sessions instead, on a machine of 24 GiB
	Peers   string // folder of their programs; "" is .cache/peers
	Cluster string // folder of a cluster that is up, which is measured instead
	Only    string // steps whose name begins so; "" is all
}

// NewPlan makes the plan of a choice.
func NewPlan(c Choice) (*Plan, error) {
	p := &Plan{Name: "full"}
	switch {
	case c.Cluster != "":
		p.Name = planCluster
	case c.Million:
		p.Name = planMillion
	case c.Quick:
		p.Name = planQuick
	}
	if p.hasEchoes() {
		if err := p.echoes(c); err != nil {
			return nil, err
		}
	}
	p.others()
	for i := range p.Steps {
		p.Steps[i].Options.Cluster = c.Cluster
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { return !strings.HasPrefix(s.Name, c.Only) })
	if len(p.Steps) == 0 {
		return nil, fmt.Errorf("suite: no step begins with %q", c.Only)
	}
	return p, nil
}

func (p *Plan) hasEchoes() bool { return p.Name != planMillion && p.Name != planCluster }

// others adds the steps that are no echoes.
func (p *Plan) others() {
	switch p.Name {
	case planCluster:
		p.cluster()
	case planMillion:
		p.million()
	case planQuick:
		p.quick()
	default:
		p.full()
	}
}

// measures are the steps of a plan whose figures targets are about.
func measures(plan string) map[string]bool {
	p := &Plan{Name: plan}
	p.others()
	steps := map[string]bool{ours: p.hasEchoes()}
	for _, s := range p.Steps {
		steps[s.Name] = true
	}
	return steps
}

// add adds a step whose profile is the name up to the first @ or /.
func (p *Plan) add(name string, rounds, seconds int, o bench.Options) *Step {
	o.Profile = name
	if i := strings.IndexAny(name, "@/"); i > 0 {
		o.Profile = name[:i]
	}
	p.Steps = append(p.Steps, Step{Name: name, Rounds: rounds, Takes: time.Duration(seconds) * time.Second, Options: o})
	return &p.Steps[len(p.Steps)-1]
}

// variantRounds is how often a peer's other settings are measured: what shows
// whether its best are its best.
const variantRounds = 3

// echoes adds a step for each server: its best settings, and in the full plan
// the others.
func (p *Plan) echoes(c Choice) error {
	best, err := bench.EchoTargets(c.Peers, false)
	if err != nil {
		return err
	}
	all, err := bench.EchoTargets(c.Peers, true)
	if err != nil {
		return err
	}
	for _, name := range all {
		o := bench.Options{Target: name, Peers: c.Peers, Duration: 3 * time.Second}
		switch first := slices.Contains(best, name); {
		case c.Quick && first:
			o.Duration, o.Warmup, o.EchoIdle = time.Second, 300*time.Millisecond, 2_000
			p.add("echo/"+name, 3, 6, o).IdleOf = 1
		case !c.Quick && first:
			p.add("echo/"+name, 5, 16, o).IdleOf = 3
		case !c.Quick:
			p.add("echo/"+name, variantRounds, 13, o)
		}
	}
	return nil
}

// ciphertextBytes is what a message of 100 bytes between alice and bob has
// encrypted: Megolm's own, and the envelope's names.
const ciphertextBytes = 241

func (p *Plan) full() {
	for _, n := range []int{1_000, 5_000, 15_000} {
		p.add(fmt.Sprintf("idle@%d", n), 3, 60, bench.Options{Connections: n})
	}
	for _, rate := range []float64{1_000, 2_500, 5_000, 10_000, 15_000, 20_000} {
		p.add(fmt.Sprintf("trickle@%.0f", rate), 5, 45, bench.Options{Rate: rate})
	}
	p.add("trickle@5000/1000", 5, 40, bench.Options{Rate: 5_000, Connections: 1_000})
	p.add("trickle@5000/plain", 3, 40, bench.Options{Rate: 5_000, Size: ciphertextBytes})
	p.add("trickle@5000/encrypted", 3, 40, bench.Options{Rate: 5_000, Size: ciphertextBytes, Encrypted: true})
	for _, rate := range []float64{100_000, 300_000, 500_000, 1_160_000} {
		p.add(fmt.Sprintf("firehose@%.0f", rate), 3, 60, bench.Options{Rate: rate})
	}
	p.add("stages", 3, 20, bench.Options{})
	p.add("connect", 3, 60, bench.Options{})
	p.add("fanout", 3, 120, bench.Options{Connections: 10_000})
	p.add("fanout/group", 3, 90, bench.Options{Connections: 1_023, Group: true}) // and the sender
	p.add("reconnect", 3, 60, bench.Options{})
	p.add("slow", 3, 80, bench.Options{})
}

func (p *Plan) quick() {
	short := bench.Options{Connections: 2_000, Duration: 4 * time.Second, Warmup: time.Second}
	at := func(rate float64) bench.Options {
		o := short
		o.Rate = rate
		return o
	}
	p.add("idle@2000", 1, 60, short)
	for _, rate := range []float64{1_000, 2_500, 5_000} {
		p.add(fmt.Sprintf("trickle@%.0f", rate), 3, 8, at(rate))
	}
	p.add("firehose@100000", 3, 12, at(100_000))
	p.add("stages", 1, 5, bench.Options{Duration: 50 * time.Millisecond})
	p.add("connect", 1, 20, short)
	p.add("fanout", 1, 30, short)
	p.add("reconnect", 1, 15, short)
	slow := short
	slow.Connections += 10 // readers that stop
	p.add("slow", 1, 30, slow)
}

// planQuick is about ten minutes; the figures of planMillion have a place of their
// own in documents.
const (
	planQuick   = "quick"
	planMillion = "million"
)

// The steps of a million that targets name.
const (
	idleMillion    = "idle@1000000"
	trickleMillion = "trickle@11600/1000000"
	trickleFew     = "trickle@11600/1040"
	reconnectMany  = "reconnect@100000"
)

// million are the project's own numbers, what flows three times and the rest once,
// as that takes minutes and scatters little. The server's tables of descriptors are
// its loops' own, so that a limit of 20,000 for a process is none.
func (p *Plan) million() {
	tables := []string{"--engine-own-descriptors=true", "--engine-loops=56"}
	gather := []string{"--engine-turn-every=10ms", "--session-heartbeat=300s", "--session-idle=750s"}
	p.add(idleMillion, 1, 420, bench.Options{Connections: 1_000_000, Silent: true, ServerFlags: slices.Concat(tables, gather, []string{"--store-memtable-bytes=1MiB"})})
	p.add(reconnectMany, 1, 150, bench.Options{Connections: 100_000, ServerFlags: tables})
	trickle := bench.Options{
		Rate: 11_600, Rise: true, Duration: 30 * time.Second, MarkEvery: 200 * time.Millisecond, LookEvery: 4 * time.Millisecond,
		Processes: 52, ServerFlags: slices.Concat(tables, gather, []string{"--shard-heads=524288"}),
	}
	few, all := trickle, trickle
	few.Connections, few.Warmup = 1_040, 30*time.Second      // 20 a process
	all.Connections, all.Warmup = 1_000_000, 300*time.Second // eight users of ten have had a message then
	p.add(trickleFew, 3, 80, few)
	p.add(trickleMillion, 3, 640, all)
}

// planCluster is the plan of a cluster that scripts/cluster.sh has started, whose
// figures have a place of their own too.
const planCluster = "cluster"

// The steps of a cluster that targets name.
const (
	realSteady = "real@2000"
	realMost   = "real/firehose@1160000"
)

// cluster are Kafka, a store and presence in servers of their own, on one machine
// with gateways, processors, balancer and load. The firehose comes last, as what it
// leaves in the log is stored for minutes.
func (p *Plan) cluster() {
	for _, rate := range []float64{500, 1_000, 2_000} {
		p.add(fmt.Sprintf("real@%.0f", rate), 3, 40, bench.Options{Connections: 500, Rate: rate, Duration: 20 * time.Second, Warmup: 10 * time.Second})
	}
	for _, rate := range []float64{200_000, 1_160_000} {
		p.add(fmt.Sprintf("real/firehose@%.0f", rate), 1, 240, bench.Options{Connections: 1_000, PerWrite: 64, Rate: rate, Duration: 5 * time.Second})
	}
}
