package doctor

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// caveats are file systems on which a promise of durability is not kept, or is
// another's.
var caveats = map[int64]string{
	unix.TMPFS_MAGIC:      "tmpfs, which a reboot empties",
	unix.RAMFS_MAGIC:      "ramfs, which a reboot empties",
	unix.NFS_SUPER_MAGIC:  "NFS, on which locks and syncs are as good as its server",
	unix.FUSE_SUPER_MAGIC: "FUSE, on which syncs are as good as its program",
}

func statVolume(path string) (volume, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return volume{}, os.NewSyscallError("statfs", err)
	}
	return volume{int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, caveats[s.Type]}, nil
}

func fdatasync(f *os.File) error {
	return os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd())))
}

func kernelClock() clockState {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return clockState{
		synced:   state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		maxError: time.Duration(t.Maxerror) * time.Microsecond,
		err:      err,
	}
}
