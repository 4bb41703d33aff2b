package suite

import (
	"fmt"
	"strings"
)

// The lines between which the documents have figures of a run.
const (
	blockBegin        = "<!-- figures: written by rookery bench readme -->"
	blockBeginMillion = "<!-- figures of a million: written by rookery bench readme -->"
	blockBeginCluster = "<!-- figures of a cluster: written by rookery bench readme -->"
	blockEnd          = "<!-- end of figures -->"
	blockEmpty        = "No run yet." // in place of them
)

// begin is the line before a run's figures: those of a million and of a cluster
// have a place of their own.
func begin(s *Summary) string {
	switch s.Plan {
	case planMillion:
		return blockBeginMillion
	case planCluster:
		return blockBeginCluster
	}
	return blockBegin
}

// Block is the text that stands between them: what a run found of its plan's
// targets, with its date, commit and machine.
func Block(s *Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s.", begin(s), s.Origin())
	if len(s.Bad) > 0 {
		fmt.Fprintf(&b, " %d of its rounds stayed noisy or invalid.", len(s.Bad))
	}
	b.WriteString("\n\n| what | target | median (least to most) | |\n|---|---|---|---|\n")
	for i := range s.Targets {
		r := &s.Targets[i]
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.What, r.bound(), r.found(), r.verdict())
	}
	b.WriteString(blockEnd)
	return b.String()
}

// ReplaceBlock puts a run's figures in the place of those that a document has.
func ReplaceBlock(document string, s *Summary) (string, error) {
	before, rest, begun := strings.Cut(document, begin(s))
	_, after, ended := strings.Cut(rest, blockEnd)
	if !begun || !ended || strings.Contains(after, begin(s)) {
		return "", fmt.Errorf("suite: the document has no one place for figures, between %s and %s", begin(s), blockEnd)
	}
	return before + Block(s) + after, nil
}
