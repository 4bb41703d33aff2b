package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// guardSlack is how many times its landed figure a stage may cost: more than
// neighbours on the machine change a ratio by, less than a lost optimisation.
const (
	guardSlack       = 1.6
	guardAllocations = 0.1 // a message more than before, for what grows by doubling
)

// What is measured beside the stages, in rows of the same kind: the loop alone,
// which is our echo at each of its depths, and all of a server, which is a
// firehose at a rate that two processors carry at ease.
const (
	guardPath        = "path"
	guardRounds      = 3
	guardConnections = 1_000
	guardRate        = 50_000 // messages a second
	guardLonger      = 20     // times a stage's time
)

func guardLoop(depth int) string { return fmt.Sprintf("loop %d", depth) }

// MeasureGuard measures what Guard compares: the profile stages, and behind them
// the loop and the whole path, by the server's processor time and (the path's)
// its allocations.
func MeasureGuard(ctx context.Context, o Options) (*Result, error) {
	setDefault(&o.Duration, stageTime)
	o.Profile = "stages"
	res, err := Run(ctx, o)
	if err != nil {
		return nil, err
	}
	o.Connections, o.Duration, o.Warmup = guardConnections, o.Duration*guardLonger, o.Duration*guardLonger/3
	loop, path := o, o
	loop.Profile, loop.Target, loop.EchoIdle = "echo", ours, -1
	path.Profile, path.Rate = "firehose", guardRate
	loops, paths := make([][]StageFigures, len(echoDepths)), []StageFigures(nil)
	reference := res.Stages[0].CPUUs
	row := func(name string, perSecond, cpuUs, allocations float64) StageFigures {
		return StageFigures{Name: name, PerSecond: perSecond, CPUUs: cpuUs, OfReference: cpuUs / reference, Allocations: allocations}
	}
	for range guardRounds {
		l, err := Run(ctx, loop)
		if err != nil && !errors.Is(err, ErrInvalid) { // what a message cost stands, whichever side was the limit
			return nil, err
		}
		for i, e := range l.Echo {
			loops[i] = append(loops[i], row(guardLoop(e.Depth), e.PerSecond.Median, e.ServerCPUUs.Median, 0))
		}
		p, err := Run(ctx, path)
		if err != nil && !errors.Is(err, ErrInvalid) {
			return nil, err
		}
		paths = append(paths, row(guardPath, p.DeliveredPS, p.ServerCPUPerMessageUs, p.AllocationsPerMessage))
		res.Noisy = append(append(res.Noisy, l.Noisy...), p.Noisy...)
	}
	for _, rounds := range append(loops, paths) {
		res.Stages = append(res.Stages, medianStage(rounds))
	}
	return res, nil
}

// Landable says why figures must not land, if they must not: whoever reads them
// later could not have them again.
func Landable(r *Result) error {
	if r.Machine.Dirty || len(r.Noisy) > 0 {
		return fmt.Errorf("what lands is measured from a clean tree on a quiet machine (changes not committed: %v; noise: %v)", r.Machine.Dirty, r.Noisy)
	}
	return nil
}

// Guard compares stages with landed ones, by the least processor time a message
// of their rounds as a multiple of the reference's in the same run, and by their
// allocations, and says which cost more.
func Guard(landed, now []StageFigures) (worse []string) {
	for _, was := range landed {
		f := stageNamed(now, was.Name)
		if f == nil {
			worse = append(worse, was.Name+" is not measured any more")
			continue
		}
		if before, after := LeastOfReference(landed, was.Name), LeastOfReference(now, was.Name); !(after <= before*guardSlack) {
			worse = append(worse, fmt.Sprintf("%s: %.2f of the reference's processor time a message, landed with %.2f", was.Name, after, before))
		}
		if f.Allocations > was.Allocations+guardAllocations {
			worse = append(worse, fmt.Sprintf("%s: %.2f allocations a message, landed with %.2f", was.Name, f.Allocations, was.Allocations))
		}
	}
	return worse
}

// LeastOfReference is a stage's least processor time a message as a multiple of
// the reference's least, and not a number where one of them was not measured.
func LeastOfReference(stages []StageFigures, name string) float64 {
	f, reference := stageNamed(stages, name), stageNamed(stages, StageReference)
	if f == nil || reference == nil || f.LeastUs == 0 || reference.LeastUs == 0 {
		return math.NaN()
	}
	return f.LeastUs / reference.LeastUs
}

func stageNamed(stages []StageFigures, name string) *StageFigures {
	i := slices.IndexFunc(stages, func(f StageFigures) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &stages[i]
}
