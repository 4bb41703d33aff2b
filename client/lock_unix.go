//go:build unix

package client

import (
	"os"
	"syscall"
)

// lockFile takes the file for this process, without waiting.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
