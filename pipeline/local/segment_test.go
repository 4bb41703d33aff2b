package local

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestQuickSegments makes segments of both kinds: each is zeros of the whole
// size, and the quick one is not written but for its last bytes.
func TestQuickSegments(t *testing.T) {
	for name, quick := range map[string]bool{"written": false, "reserved": true} {
		t.Run(name, func(t *testing.T) {
			const size = 3<<20 + alignBytes
			writes := 0
			disk := &shim{FS: vfs.Default, after: func(o op) {
				if o.kind == "write" {
					writes++
				}
			}}
			s, err := createSegment(disk, t.TempDir(), size, quick)
			if err != nil {
				t.Fatal(err)
			}
			defer s.file.Close()
			b := make([]byte, size+1)
			n, _ := s.file.ReadAt(b, 0)
			for _, v := range b[:n] {
				if v != 0 {
					t.Fatal("it is not zeros")
				}
			}
			if n != size {
				t.Errorf("%d bytes, want %d", n, size)
			}
			if quick != (writes == 1) {
				t.Errorf("it took %d writes", writes)
			}
		})
	}
}

// TestQuickIsByTime says quick of the segment after one that was soon full.
func TestQuickIsByTime(t *testing.T) {
	at := time.Now()
	now = func() time.Time { return at }
	defer func() { now = time.Now }()
	var r retention
	r.rolled(nil, 0, nil, &segment{})
	for _, after := range []time.Duration{quickFill - 1, quickFill, 1} {
		at = at.Add(after)
		r.rolled(r.segs[len(r.segs)-1], 0, nil, &segment{})
		if want := after < quickFill; r.isQuick() != want {
			t.Errorf("full after %v: quick is %v", after, !want)
		}
	}
}
