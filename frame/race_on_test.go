//go:build race

package frame

// raceEnabled: under the race detector sync.Pool drops items at random, so
// allocations are not counted.
const raceEnabled = true
