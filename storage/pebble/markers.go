package pebble

import (
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ordered is a file system on which there is always a marker, and of something that
// is there. Pebble makes a new manifest, then a file whose name says so, removes the
// one before, and syncs their folder once: where the power fails before that, a file
// system that keeps no order of such changes may have the marker and not the
// manifest, or no marker, for which Pebble begins an empty store.
type ordered struct{ vfs.FS }

const markerPrefix = "marker." // of pebble/vfs/atomicfs

// Create implements vfs.FS.
func (f ordered) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.before(name); err != nil {
		return nil, err
	}
	return f.FS.Create(name, category)
}

// Remove implements vfs.FS.
func (f ordered) Remove(name string) error {
	if err := f.before(name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// before makes what was done in a marker's folder durable.
func (f ordered) before(name string) error {
	if !strings.HasPrefix(f.PathBase(name), markerPrefix) {
		return nil
	}
	dir, err := f.OpenDir(f.PathDir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Unwrap implements vfs.FS.
func (f ordered) Unwrap() vfs.FS { return f.FS }
