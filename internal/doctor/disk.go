package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/internal/auth"
)

const (
	gib = 1 << 30

	freeFailBytes = 1 * gib
	freeWarnBytes = 10 * gib

	syncs        = 64
	syncBytes    = 64 << 10 // of each, about a commit of the log
	syncP50Warn  = 10 * time.Millisecond
	syncP99Warn  = 50 * time.Millisecond
	syncP50False = 20 * time.Microsecond // no disk is that fast
)

// checkData looks at the data folder, or, where it does not exist yet, at where
// it would be made.
func checkData(dir string) []Finding {
	base := existing(dir)
	writable := checkWritable(dir, base)
	findings := []Finding{writable, checkSpace(base)}
	if writable.Status == OK {
		findings = append(findings, checkSync(base))
	}
	return append(findings, checkDevKey(dir)...)
}

// LockFile is what a server that runs keeps locked in its data folder.
const LockFile = "log/LOCK"

// held reports whether a server of another process has the data folder.
func held(dir string) bool {
	f, err := os.Open(filepath.Join(dir, LockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart} // asked for, and not taken
	return unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK
}

// existing returns the nearest folder above path that exists.
func existing(path string) string {
	path, _ = filepath.Abs(path)
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func checkWritable(dir, base string) Finding {
	f := Finding{Name: "data folder", Status: OK, Found: dir + " can be written"}
	if abs, _ := filepath.Abs(dir); abs != base {
		f.Found = dir + " can be made"
	}
	probe, err := os.CreateTemp(base, ".rookery-doctor-*")
	if err != nil {
		return Finding{f.Name, Fail, err.Error(), "give the server's user the folder: chown, or choose another with --data"}
	}
	probe.Close()
	os.Remove(probe.Name())
	return f
}

// volume is what is known of a file system.
type volume struct {
	freeBytes, totalBytes int64
	caveat                string // why it is no place for data, "" when it is
}

func checkSpace(base string) Finding {
	v, err := statVolume(base)
	if err != nil {
		return Finding{"disk space", Warn, err.Error(), "look with df"}
	}
	return judgeSpace(v)
}

func judgeSpace(v volume) Finding {
	f := Finding{Name: "disk space", Status: OK}
	f.Found = fmt.Sprintf("%.1f GiB free of %.1f", float64(v.freeBytes)/gib, float64(v.totalBytes)/gib)
	switch {
	case v.freeBytes < freeFailBytes:
		f.Status, f.Do = Fail, "make room: a full disk stops all sends"
	case v.freeBytes < freeWarnBytes:
		f.Status, f.Do = Warn, "make room, or put data on a larger disk: messages of 100 bytes take about 300 on disk"
	case v.caveat != "":
		f.Status, f.Do = Warn, "the file system is "+v.caveat+"; put data on a local disk"
	}
	return f
}

// checkSync measures what an acknowledgement waits for.
func checkSync(base string) Finding {
	times, err := measureSyncs(base)
	if err != nil {
		return Finding{"disk sync", Fail, err.Error(), "the log cannot be made durable here: look at the disk and the kernel's log"}
	}
	return judgeSyncs(times[len(times)/2], times[len(times)*99/100])
}

func judgeSyncs(p50, p99 time.Duration) Finding {
	f := Finding{Name: "disk sync", Status: OK}
	f.Found = fmt.Sprintf("write and fdatasync of 64 KiB: p50 %s, p99 %s", round(p50), round(p99))
	switch {
	case p50 < syncP50False:
		f.Status, f.Do = Warn, "too fast to be true: the disk or the file system may not keep what it says it has written"
	case p50 > syncP50Warn || p99 > syncP99Warn:
		f.Status, f.Do = Warn, "every acknowledgement waits for one: use an SSD with power-loss protection, and a volume of its own"
	}
	return f
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// measureSyncs returns the sorted times of some writes that were synced.
func measureSyncs(dir string) (times []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".rookery-doctor-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, syncBytes)
	for range syncs {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := fdatasync(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times, nil
}

// checkDevKey looks who may read the development key.
func checkDevKey(dir string) []Finding {
	f := Finding{Name: "development key", Status: OK, Found: "readable by its owner alone"}
	info, err := os.Stat(filepath.Join(dir, auth.DevKeyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return []Finding{{f.Name, Warn, err.Error(), "look at the data folder"}}
	case info.Mode().Perm()&0o077 != 0:
		f.Status, f.Found = Fail, fmt.Sprintf("mode %v: others can read it, and be anybody", info.Mode().Perm())
		f.Do = "chmod 600 it, or remove it: the server makes another"
	}
	return []Finding{f}
}
