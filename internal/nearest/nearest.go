// Package nearest finds what somebody who mistyped a word meant.
package nearest

import (
	"fmt"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Word returns the known word nearest to the given one, "" when none is near:
// more than half of it would have to change.
func Word(word string, known []string) string {
	best, bestDistance := "", len(word)/2+1
	for _, k := range known {
		d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k))
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// Hint returns `; did you mean "x"?`, or "" when no known word is near.
func Hint(word string, known []string) string {
	if best := Word(word, known); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return ""
}
