//go:build !unix

package client

import "os"

// lockFile does nothing: this system has no flock, and two processes that share
// a state file are not told so.
func lockFile(*os.File) error { return nil }
