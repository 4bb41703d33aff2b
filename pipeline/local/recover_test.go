package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

const testDir = "/data/log"

func memOptions() Options {
	return small(Options{FS: vfs.NewMem(), Dir: testDir, Partitions: 2})
}

// fill appends n batches, each a block of its own, and closes the log.
func fill(t *testing.T, o Options, n int) (want []string) {
	l := mustOpen(t, o)
	for i := range n {
		rec := fmt.Sprintf("record %d %s", i, strings.Repeat("x", 10+i*37%5000))
		want = append(want, rec)
		pipelinetest.Append(t, l, 0, rec)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// block is where a block lies on the disk.
type blockPlace struct {
	file      string
	at, bytes int64
	used      int64 // without padding
}

// places lists all blocks of a closed log.
func places(t *testing.T, o Options) (all []blockPlace) {
	t.Helper()
	m, _, err := readMeta(o.FS, o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	segs, err := listSegments(o.FS, o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var buf []byte
	for _, s := range segs {
		for at := int64(0); ; {
			_, b, err := readBlock(s.file, s.sizeBytes, at, m.identity, s.number, &buf)
			if err != nil {
				break
			}
			all = append(all, blockPlace{s.name, at, blockBytes(len(b)), headerBytes + int64(len(b))})
			at += blockBytes(len(b))
		}
		s.file.Close()
	}
	return all
}

// overwrite changes bytes of a file.
func overwrite(t *testing.T, o Options, name string, at int64, change func(b []byte), n int64) {
	t.Helper()
	f, err := o.FS.OpenReadWrite(name, diskCategory)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	change(b)
	if err := writeSynced(f, b, at); err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) { b[0] ^= 1 }

// TestTornTail tears the last block at every byte, with zeros or with old bytes
// behind the tear. The others stay, and the log goes on in its place.
func TestTornTail(t *testing.T) {
	o := memOptions()
	want := fill(t, o, 5)
	last := places(t, o)[4]
	whole := make([]byte, last.used)
	overwrite(t, o, last.file, last.at, func(b []byte) { copy(whole, b) }, last.used)
	for tear := range last.used {
		for _, behind := range []byte{0, 0xa5} {
			if whole[tear] == behind {
				continue // may be whole up to here
			}
			overwrite(t, o, last.file, last.at, func(b []byte) {
				copy(b, whole[:tear])
				for i := tear; i < last.used; i++ {
					b[i] = behind
				}
			}, last.used)
			l := mustOpen(t, o)
			if l.End(0) != 4 {
				t.Fatalf("torn at byte %d: the log ends at %v", tear, l.End(0))
			}
			pipelinetest.Expect(t, l, 0, 0, want[:4]...)
			if tear%64 == 0 {
				if first := pipelinetest.Append(t, l, 0, want[4]); first != 5 {
					t.Fatalf("torn at byte %d: the next record is at %v", tear, first)
				}
				pipelinetest.Expect(t, l, 0, 4, want[4])
			}
			l.Close()
		}
	}
}

// TestTornTailIsWiped makes sure that a torn block cannot come back: its header
// goes at the first recovery.
func TestTornTailIsWiped(t *testing.T) {
	o := memOptions()
	fill(t, o, 3)
	last := places(t, o)[2]
	overwrite(t, o, last.file, last.at+headerBytes, flip, 1)
	mustOpen(t, o).Close()
	overwrite(t, o, last.file, last.at+headerBytes, flip, 1)
	l := mustOpen(t, o)
	if l.End(0) != 2 {
		t.Errorf("the log ends at %v after a block that was cut off", l.End(0))
	}
}

// TestCorruptionIsRefused damages each block but the last, in header and
// payload. The error names the file and the offset, and nothing is changed.
func TestCorruptionIsRefused(t *testing.T) {
	o := memOptions()
	fill(t, o, 60)
	all := places(t, o)
	if all[0].file == all[len(all)-2].file {
		t.Fatal("one segment only")
	}
	for _, b := range all[:len(all)-1] {
		for _, at := range []int64{0, 41, headerBytes, b.used - 1} {
			overwrite(t, o, b.file, b.at+at, flip, 1)
			l, err := Open(o)
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d of the block at %d of %s damaged: %v", at, b.at, b.file, err)
			}
			if place := fmt.Sprintf("%s at offset %d", b.file, b.at); !strings.Contains(err.Error(), place) && b.at > 0 {
				t.Errorf("the error does not name %s: %v", place, err)
			}
			if l != nil {
				l.Close()
			}
			overwrite(t, o, b.file, b.at+at, flip, 1)
		}
	}
	l := mustOpen(t, o)
	if l.End(0) != 60 {
		t.Errorf("after all repairs the log ends at %v", l.End(0))
	}
}

// TestMissingFilesAreRefused takes away a segment in the middle, and META.
func TestMissingFilesAreRefused(t *testing.T) {
	for _, missing := range []string{segmentName(2), metaName} {
		o := memOptions()
		fill(t, o, 100)
		if err := o.FS.Remove(o.FS.PathJoin(testDir, missing)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

// TestInconsistentBlocksAreRefused writes blocks whose checksums are right and
// whose contents are not.
func TestInconsistentBlocksAreRefused(t *testing.T) {
	reseal := func(change func(payload []byte)) func(b []byte) {
		return func(b []byte) {
			change(b[headerBytes:])
			id := [16]byte(b[16:32])
			h, err := parseHeader(b, id, binary.LittleEndian.Uint64(b[32:]))
			if err != nil {
				t.Fatal(err)
			}
			seal(b, id, h)
		}
	}
	tests := map[string]struct {
		block  int
		change func(payload []byte)
	}{
		"a position that jumps":   {1, func(b []byte) { b[8]++ }},
		"a position that repeats": {1, func(b []byte) { b[8]-- }},
		"an epoch of the future":  {1, func(b []byte) { b[14]++; b[8] = 1 }},
		"an unknown partition":    {1, func(b []byte) { b[0] = 2 }},
		"too few records":         {1, func(b []byte) { b[4] = 0 }},
	}
	for name, test := range tests {
		o := memOptions()
		fill(t, o, 3)
		b := places(t, o)[test.block]
		overwrite(t, o, b.file, b.at, reseal(test.change), b.used)
		if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSegmentsAgree damages the table of ends that a later segment begins with.
func TestSegmentsAgree(t *testing.T) {
	o := memOptions()
	fill(t, o, 60)
	all := places(t, o)
	i := slices.IndexFunc(all, func(b blockPlace) bool { return b.at == 0 && b.file != all[0].file })
	overwrite(t, o, all[i].file, 0, func(b []byte) {
		h, err := parseHeader(b, [16]byte(b[16:32]), 2)
		if err != nil {
			t.Fatal(err)
		}
		b[headerBytes]++
		seal(b, [16]byte(b[16:32]), h)
	}, all[i].used)
	if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a segment that says where others end: %v", err)
	}
}

func TestMetaFaults(t *testing.T) {
	good := meta{identity: testID, partitions: 3, epoch: 4}
	if m, err := decodeMeta(good.encode()); err != nil || m != good {
		t.Errorf("META reads back as %+v, %v", m, err)
	}
	for i := range good.encode() {
		b := good.encode()
		b[i] ^= 4
		if m, err := decodeMeta(b); err == nil {
			t.Errorf("byte %d damaged: %+v", i, m)
		}
	}
	o := memOptions()
	fill(t, o, 1)
	overwrite(t, o, o.FS.PathJoin(testDir, metaName), 40, flip, 1)
	if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("with a damaged META: %v", err)
	}
}

// FuzzRecover puts arbitrary bytes over a log's segment. It is opened or
// refused, and what is opened ends where the whole blocks end, or before.
func FuzzRecover(f *testing.F) {
	f.Add([]byte{0}, uint32(0))
	f.Add([]byte(blockMagic), uint32(8192))
	f.Add([]byte("\xff\xff\xff\xff"), uint32(4096+8))
	f.Fuzz(func(t *testing.T, b []byte, at uint32) {
		o := memOptions()
		want := fill(t, o, 4)
		name := o.FS.PathJoin(testDir, segmentName(1))
		if len(b) > 32<<10 {
			b = b[:32<<10]
		}
		overwrite(t, o, name, int64(at%(32<<10)), func(have []byte) { copy(have, b) }, int64(len(b)))
		l, err := Open(o)
		if err != nil {
			return
		}
		defer l.Close()
		end := l.End(0)
		if end > chat.Position(len(want)) {
			t.Fatalf("the log ends at %v, %d records were written", end, len(want))
		}
		if end > 0 {
			pipelinetest.Expect(t, l, 0, 0, want[:end]...)
		}
	})
}
