package bench

import (
	"fmt"
	"slices"
)

// guardSlack is how many times its landed figure a stage may cost: more than
// neighbours on the machine change a ratio by, less than a lost optimisation.
const (
	guardSlack       = 2.0
	guardAllocations = 0.1 // a message more than before, for what grows by doubling
)

// Guard compares stages with landed ones, by their ratio to the reference in
// the same run and by their allocations, and says which cost more.
func Guard(landed, now []StageFigures) (worse []string) {
	for _, was := range landed {
		i := slices.IndexFunc(now, func(f StageFigures) bool { return f.Name == was.Name })
		if i < 0 {
			worse = append(worse, was.Name+" is not measured any more")
			continue
		}
		if f := now[i]; f.OfReference > was.OfReference*guardSlack {
			worse = append(worse, fmt.Sprintf("%s: %.2f of the reference's processor time a message, landed with %.2f", f.Name, f.OfReference, was.OfReference))
		}
		if f := now[i]; f.Allocations > was.Allocations+guardAllocations {
			worse = append(worse, fmt.Sprintf("%s: %.2f allocations a message, landed with %.2f", f.Name, f.Allocations, was.Allocations))
		}
	}
	return worse
}
