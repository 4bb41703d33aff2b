package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rookery-chat/rookery/bench"
)

// Bounds of repeating rounds that were noisy or invalid. A load that is always
// the limit stays invalid, and a machine that is never quiet noisy: both are
// said, and cost no more than this.
const (
	attemptsARound  = 2
	repeatsAStep    = 2
	repeatsOfRounds = 3 // one repeat in the whole run for so many of its rounds
)

// job is a round that is to be measured.
type job struct {
	step           *Step
	round, attempt int
}

// next is the job that a plan's run does next, from what it has: the first
// rounds of all steps, those of them again that were bad, then the second ones.
func (p *Plan) next(done []Round) (j job, ok bool) {
	budget := p.rounds() / repeatsOfRounds
	repeats, newest := map[string]int{}, map[string]*Round{}
	key := func(step string, round int) string { return fmt.Sprintf("%s %d", step, round) }
	for i := range done {
		r := &done[i]
		newest[key(r.Step, r.Round)] = r
		if r.Attempt > 1 {
			repeats[r.Step]++
			budget--
		}
	}
	for round := 1; ; round++ {
		more := false
		for i := range p.Steps {
			s := &p.Steps[i]
			if s.Rounds < round {
				continue
			}
			if more = true; newest[key(s.Name, round)] == nil {
				return job{s, round, 1}, true
			}
		}
		if !more {
			return job{}, false
		}
		for i := range p.Steps {
			s := &p.Steps[i]
			r := newest[key(s.Name, round)]
			if r != nil && len(r.bad()) > 0 && r.Attempt < attemptsARound && repeats[s.Name] < repeatsAStep && budget > 0 {
				return job{s, round, r.Attempt + 1}, true
			}
		}
	}
}

// rounds is how many there are, without any that are repeated.
func (p *Plan) rounds() (n int) {
	for _, s := range p.Steps {
		n += s.Rounds
	}
	return n
}

// left is how many rounds are still to come and about how long they take.
func (p *Plan) left(done []Round) (rounds int, d time.Duration) {
	took, times := map[string]float64{}, map[string]int{}
	first := map[string]int{}
	for _, r := range done {
		took[r.Step] += r.TookS
		times[r.Step]++
		if r.Attempt == 1 {
			first[r.Step]++
		}
	}
	for _, s := range p.Steps {
		n := max(s.Rounds-first[s.Name], 0)
		each := s.Takes
		if times[s.Name] > 0 {
			each = time.Duration(took[s.Name] / float64(times[s.Name]) * 1e9)
		}
		rounds += n
		d += time.Duration(n) * each
	}
	return rounds, d
}

// Run measures what a plan's run in a folder has not measured yet. It returns
// the summary, which it also leaves in the folder, of all that there is so far.
func Run(ctx context.Context, p *Plan, dir, version string, out io.Writer, terminal bool) (*Summary, error) {
	f, err := open(dir, p.Name, version)
	if err != nil {
		return nil, err
	}
	bar := &progress{out: out, terminal: terminal, plan: p}
	bar.begin(f)
	for {
		j, ok := p.next(f.rounds)
		if !ok {
			break
		}
		bar.start(j, f.rounds)
		r, err := measure(ctx, j, version, bar)
		if err != nil {
			bar.end()
			return nil, err
		}
		if err := f.add(r); err != nil {
			return nil, err
		}
		bar.done(&r)
	}
	bar.end()
	s := f.summarize()
	return s, f.write(SummaryFile, s)
}

// measure does a job. The error is that of a run that was told to end; a round
// that failed is one.
func measure(ctx context.Context, j job, version string, progress io.Writer) (Round, error) {
	o := j.step.Options
	o.Version, o.Progress = version, progress
	if o.Target != "" && j.round > j.step.IdleOf {
		o.EchoIdle = -1
	}
	began := time.Now()
	res, err := bench.Run(ctx, o)
	if ctx.Err() != nil {
		return Round{}, ctx.Err()
	}
	r := Round{Step: j.step.Name, Round: j.round, Attempt: j.attempt, TookS: time.Since(began).Seconds(), Result: res}
	if err != nil && !errors.Is(err, bench.ErrInvalid) {
		r.Error = err.Error()
	}
	if r.Result == nil {
		r.Result = &bench.Result{Profile: o.Profile}
	}
	return r, nil
}
