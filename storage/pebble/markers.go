package pebble

import (
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ordered is a file system on which a marker never outlives what it names. Pebble
// makes a new manifest, then a file whose name says so, removes the one before, and
// syncs their folder once: where the power fails before that, a file system that
// keeps no order of such changes may have the marker and not the manifest.
type ordered struct{ vfs.FS }

const markerPrefix = "marker." // of pebble/vfs/atomicfs

// Create implements vfs.FS.
func (f ordered) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(f.PathBase(name), markerPrefix) {
		if err := f.syncDir(f.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return f.FS.Create(name, category)
}

func (f ordered) syncDir(name string) error {
	dir, err := f.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Unwrap implements vfs.FS.
func (f ordered) Unwrap() vfs.FS { return f.FS }
