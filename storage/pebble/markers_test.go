package pebble

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestNoMarkerOutlivesItsManifest cuts the power while a marker is moved, on a file
// system that keeps any of what was not synced: the store can always be opened.
func TestNoMarkerOutlivesItsManifest(t *testing.T) {
	disk := vfs.NewCrashableMem()
	moved := 0
	cut := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpRemove || !strings.Contains(op.Path, markerPrefix+"manifest.") {
			return nil
		}
		moved++
		for seed := range uint64(16) {
			left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
			s, err := openMem(left)
			if err != nil {
				t.Errorf("seed %d: %v", seed, err)
				continue
			}
			s.Close()
		}
		return nil
	})
	for range 3 {
		s, err := openMem(errorfs.Wrap(disk, cut))
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, numbered(1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if moved == 0 {
		t.Fatal("no marker was moved")
	}
}

// TestNoMarkerIsRemovedBeforeTheNextIsKept: of a file system that keeps no order a
// power cut may leave the removal alone.
func TestNoMarkerIsRemovedBeforeTheNextIsKept(t *testing.T) {
	var unkept string
	removed := 0
	look := errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch marker := strings.Contains(op.Path, markerPrefix); {
		case op.Kind == errorfs.OpCreate && marker:
			unkept = op.Path
		case op.Kind == errorfs.OpFileSync && !strings.Contains(op.Path, "."): // of a folder
			unkept = ""
		case op.Kind == errorfs.OpRemove && marker:
			if removed++; unkept != "" {
				t.Errorf("%s was removed, and %s not kept yet", op.Path, unkept)
			}
		}
		return nil
	})
	s, err := openMem(errorfs.Wrap(vfs.NewMem(), look))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || removed == 0 {
		t.Fatalf("%d markers were removed: %v", removed, err)
	}
}
