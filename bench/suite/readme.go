package suite

import (
	"fmt"
	"strings"
)

// The lines between which the documents have figures of a run.
const (
	blockBegin = "<!-- figures: written by rookery bench readme -->"
	blockEnd   = "<!-- end of figures -->"
	blockEmpty = "No run yet." // in place of them
)

// Block is the text that stands between them: what a run found of the targets,
// with its date, commit and machine.
func Block(s *Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s.", blockBegin, s.Origin())
	if len(s.Bad) > 0 {
		fmt.Fprintf(&b, " %d of its rounds stayed noisy or invalid.", len(s.Bad))
	}
	b.WriteString("\n\n| what | target | median (least to most) | |\n|---|---|---|---|\n")
	for i := range s.Targets {
		if r := &s.Targets[i]; r.Measured {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.What, r.bound(), r.found(), r.verdict())
		}
	}
	b.WriteString(blockEnd)
	return b.String()
}

// ReplaceBlock puts a run's figures in the place of those that a document has.
func ReplaceBlock(document string, s *Summary) (string, error) {
	before, rest, begun := strings.Cut(document, blockBegin)
	_, after, ended := strings.Cut(rest, blockEnd)
	if !begun || !ended || strings.Contains(after, blockBegin) {
		return "", fmt.Errorf("suite: the document has no one place for figures, between %s and %s", blockBegin, blockEnd)
	}
	return before + Block(s) + after, nil
}
