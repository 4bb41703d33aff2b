package local

import (
	"path"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// op is one change that the log asks of its filesystem.
type op struct {
	kind string // write, sync, create, rename, remove
	name string // base name of the file
}

// shim is a filesystem whose changes are seen before and after they happen, and
// may be made to fail. Reads pass through. The log has two goroutines that
// write, so the functions may be called by both at once.
type shim struct {
	vfs.FS
	before func(op) error // nil lets all pass
	after  func(op)

	mu    sync.Mutex
	files []*shimFile
}

func (s *shim) do(o op, f func() error) error {
	if s.before != nil {
		if err := s.before(o); err != nil {
			return err
		}
	}
	err := f()
	if s.after != nil && err == nil {
		s.after(o)
	}
	return err
}

func (s *shim) open(o op, name string, f func() (vfs.File, error)) (file vfs.File, err error) {
	err = s.do(o, func() error {
		inner, err := f()
		file = s.wrap(inner, name)
		return err
	})
	return file, err
}

func (s *shim) wrap(inner vfs.File, name string) *shimFile {
	f := &shimFile{File: inner, shim: s, name: path.Base(name)}
	s.mu.Lock()
	s.files = append(s.files, f)
	s.mu.Unlock()
	return f
}

func (s *shim) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(op{"create", path.Base(name)}, name, func() (vfs.File, error) { return s.FS.Create(name, c) })
}

func (s *shim) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return s.open(op{"create", path.Base(name)}, name, func() (vfs.File, error) { return s.FS.OpenReadWrite(name, c, opts...) })
}

func (s *shim) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return s.wrap(f, name), err
}

func (s *shim) Rename(from, to string) error {
	return s.do(op{"rename", path.Base(to)}, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.files {
			if f.name == path.Base(from) {
				f.name = path.Base(to)
			}
		}
		return s.FS.Rename(from, to)
	})
}

func (s *shim) Remove(name string) error {
	return s.do(op{"remove", path.Base(name)}, func() error { return s.FS.Remove(name) })
}

type shimFile struct {
	vfs.File
	shim *shim
	name string
}

func (f *shimFile) op(kind string) op {
	f.shim.mu.Lock()
	defer f.shim.mu.Unlock()
	return op{kind, f.name}
}

func (f *shimFile) Write(b []byte) (n int, err error) {
	err = f.shim.do(f.op("write"), func() (err error) { n, err = f.File.Write(b); return err })
	return n, err
}

func (f *shimFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.shim.do(f.op("write"), func() (err error) { n, err = f.File.WriteAt(b, at); return err })
	return n, err
}

func (f *shimFile) Sync() error     { return f.shim.do(f.op("sync"), f.File.Sync) }
func (f *shimFile) SyncData() error { return f.shim.do(f.op("sync"), f.File.SyncData) }

func (o op) onSegment() bool { return strings.HasSuffix(o.name, segmentSuffix) }
