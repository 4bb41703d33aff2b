package bench

import (
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
