//go:build linux && !gnet

package engine

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel counts descriptors by table, and a thread may have a table of its own
// (unshare(2), CLONE_FILES). A loop with OwnDescriptors runs on such a thread, so
// that each loop has as many sockets as else the process. What belongs to the
// process is used on other threads; a loop's own table has, beside its sockets, only
// what is used there.

// common returns the descriptors that every loop's table keeps: the standard ones,
// those of the loops that anybody may wake, and the Go runtime's, which any thread
// may write to when it changes a timer.
func (e *Engine) common() ([]int, error) {
	keep := []int{0, 1, 2}
	epolls := map[int]bool{}
	for _, l := range e.loops {
		epolls[l.poller.epoll] = true
	}
	const mine = "/proc/thread-self/fd"
	open, err := os.ReadDir(mine)
	if err != nil {
		return nil, err
	}
	for _, f := range open {
		fd, err := strconv.Atoi(f.Name())
		if err != nil || epolls[fd] {
			continue
		}
		what, _ := os.Readlink(filepath.Join(mine, f.Name())) // gone: the folder's own
		if strings.HasPrefix(what, "anon_inode:[event") {     // [eventpoll] and [eventfd]
			keep = append(keep, fd)
		}
	}
	return keep, nil
}

// onOwnThread calls f on a thread that ends with it. The first thread of a process
// does not end, and /proc/self shows its descriptors as those of the process.
func onOwnThread(f func()) {
	done := make(chan struct{})
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return // locked, with which the thread ends
	}
	go func() {
		defer close(done)
		onOwnThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// ownTable gives the calling thread a table of descriptors with copies of these
// alone.
func ownTable(keep []int) error {
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	slices.Sort(keep)
	from := 0
	for _, fd := range keep {
		if err := closeRange(from, fd-1); err != nil {
			return err
		}
		from = fd + 1
	}
	return closeRange(from, 1<<31-1)
}

func closeRange(first, last int) error {
	if first > last {
		return nil
	}
	return os.NewSyscallError("close_range", unix.CloseRange(uint(first), uint(last), 0))
}
