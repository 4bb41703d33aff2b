//go:build knownbugs

package knownbug

import "os"

var on = os.Getenv("KNOWN_BUG")

// On reports whether a fault is switched on.
func On(name string) bool { return name == on }
