// Package plan turns measured figures into a fleet, and plays what happens to
// that fleet when a part of it is lost. Every figure of a plan is a line with
// its formula, which is also what computes it, and its source: a measured line
// of the bench, or an assumption with a name that can be set.
package plan
