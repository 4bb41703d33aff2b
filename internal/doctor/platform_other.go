//go:build !linux

package doctor

import (
	"errors"
	"os"
)

var errNotHere = errors.New("known on Linux only")

func statVolume(string) (volume, error) { return volume{}, errNotHere }

func fdatasync(f *os.File) error { return f.Sync() }

func kernelClock() clockState { return clockState{err: errNotHere} }
