package doctor

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHeld(t *testing.T) {
	dir := t.TempDir()
	if held(dir) {
		t.Error("a folder without a log is held")
	}
	path := filepath.Join(dir, LockFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if held(dir) {
		t.Error("a folder is held of which the server has ended")
	}
	// A lock of the open file stands against one of the process, as another's does.
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}); err != nil {
		t.Fatal(err)
	}
	if !held(dir) {
		t.Error("a locked folder is not held")
	}
}
