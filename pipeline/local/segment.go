package local

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
)

const (
	segmentSuffix = ".segment"
	tempSuffix    = ".tmp"
	lockName      = "LOCK"
	diskCategory  = vfs.DiskWriteCategory("rookery-log")
)

// segment is one file of the log. Its file is written by the committer alone;
// readers open handles of their own.
type segment struct {
	number    uint64
	name      string
	file      vfs.File
	sizeBytes int64

	// endBytes is where its last block ends, last the last position of each
	// partition in it or before it. Both are set when it is read at Open or
	// when the next segment begins, and not changed afterwards.
	endBytes int64
	last     []chat.Position
}

// through reports whether nothing in the segment is after the positions.
func (s *segment) through(positions []chat.Position) bool {
	for p, last := range s.last {
		if last > positions[p] {
			return false
		}
	}
	return true
}

func segmentName(number uint64) string { return fmt.Sprintf("%016d%s", number, segmentSuffix) }

// listSegments opens the segments of a directory in order, and removes what an
// interrupted write of a file has left. A gap in the numbers is corruption.
func listSegments(fs vfs.FS, dir string) (segs []*segment, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, tempSuffix) {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return segs, err
			}
			continue
		}
		digits, ok := strings.CutSuffix(name, segmentSuffix)
		number, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil {
			continue
		}
		if n := len(segs); n > 0 && number != segs[n-1].number+1 {
			return segs, fmt.Errorf("%w: in %s segment %d follows %d", ErrCorrupt, dir, number, segs[n-1].number)
		}
		s := &segment{number: number, name: fs.PathJoin(dir, name)}
		if err := s.open(fs); err != nil {
			return segs, err
		}
		segs = append(segs, s)
	}
	return segs, nil
}

func (s *segment) open(fs vfs.FS) error {
	f, err := fs.OpenReadWrite(s.name, diskCategory)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.file, s.sizeBytes = f, info.Size()
	return nil
}

// createSegment makes a segment of zeros, durable but for its name, which is a
// temporary one: written, or, when quick, reserved where the filesystem can do
// so, which leaves the disk to the commits but costs each of them more.
func createSegment(fs vfs.FS, dir string, sizeBytes int64, quick bool) (*segment, error) {
	s := &segment{name: fs.PathJoin(dir, "next"+tempSuffix)}
	if err := s.open(fs); err != nil {
		return nil, err
	}
	begin := int64(0)
	if quick && runtime.GOOS == "linux" && s.file.Preallocate(0, sizeBytes) == nil { // elsewhere it may reserve nothing, and say so to nobody
		begin = max(sizeBytes-alignBytes, 0) // written, it makes the file that long
	}
	if err := writeZeros(s.file, begin, sizeBytes); err != nil {
		return nil, errors.Join(err, s.file.Close(), fs.Remove(s.name))
	}
	s.sizeBytes = sizeBytes
	return s, nil
}

// writeZeros writes zeros from begin to end, durably. It takes the disk a little
// at a time, so that commits go on beside it.
func writeZeros(f vfs.File, begin, end int64) error {
	const stepBytes = 1 << 20
	zeros := make([]byte, min(stepBytes, end-begin))
	for at := begin; at < end; at += stepBytes {
		if _, err := f.WriteAt(zeros[:min(stepBytes, end-at)], at); err != nil {
			return err
		}
		if err := syncData(f); err != nil {
			return err
		}
	}
	return nil
}

// rename gives the segment its number, durably before it returns: a block
// acknowledged under a name that a power cut takes back would be lost.
func (s *segment) rename(fs vfs.FS, dir string, number uint64) error {
	name := fs.PathJoin(dir, segmentName(number))
	if err := fs.Rename(s.name, name); err != nil {
		return err
	}
	s.number, s.name, s.endBytes, s.last = number, name, 0, nil
	return syncDir(fs, dir)
}

// syncData makes what was written to the file durable.
func syncData(f vfs.File) error {
	for {
		if err := f.SyncData(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// dropOddSizes deletes segments without blocks, the last first, when their size
// is not the one that is written now.
func dropOddSizes(o Options, empty []*segment) ([]*segment, error) {
	for i, s := range empty {
		if s.sizeBytes == o.SegmentBytes {
			continue
		}
		for j := len(empty) - 1; j >= i; j-- {
			if err := errors.Join(empty[j].file.Close(), o.FS.Remove(empty[j].name)); err != nil {
				return nil, err
			}
		}
		return empty[:i], nil
	}
	return empty, nil
}

// makeDir makes a directory and those above it, durably.
func makeDir(fs vfs.FS, dir string) error {
	parent := fs.PathDir(dir)
	if _, err := fs.Stat(dir); err == nil || parent == dir {
		return err
	}
	if err := makeDir(fs, parent); err != nil {
		return err
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, parent)
}
