package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// TestFailedDisk lets a write or a sync of a segment fail: the process is told
// to end, nothing that was in flight is acknowledged, and nothing is taken any
// more. After a restart what was acknowledged is there.
func TestFailedDisk(t *testing.T) {
	for _, kind := range []string{"write", "sync"} {
		t.Run(kind, func(t *testing.T) { failedDisk(t, kind) })
	}
}

func failedDisk(t *testing.T, kind string) {
	var broken atomic.Bool
	s := &shim{FS: vfs.NewMem()}
	s.before = func(o op) error {
		if broken.Load() && o.kind == kind && o.onSegment() {
			return syscall.EIO
		}
		return nil
	}
	var fatal atomic.Int64
	o := small(Options{FS: s, Dir: testDir, Partitions: 2})
	o.Fatal = func(error) { fatal.Add(1) }
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 0, "before")
	broken.Store(true)
	var outcomes sync.WaitGroup
	taken := 0
	for i := range 20 {
		outcomes.Add(1)
		err := l.TryAppend(i%2, pipelinetest.Frame("lost"), 1, func(first chat.Position, err error) {
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("done for what failed: %v, %v", first, err)
			}
			outcomes.Done()
		})
		if err != nil {
			outcomes.Done()
			if !errors.Is(err, ErrFailed) {
				t.Errorf("TryAppend: %v", err)
			}
			continue
		}
		taken++
	}
	outcomes.Wait()
	if taken == 0 || fatal.Load() != 1 {
		t.Errorf("%d batches taken, Fatal called %d times", taken, fatal.Load())
	}
	if err := l.Append(0, pipelinetest.Frame("x"), 1, func(chat.Position, error) { t.Error("done") }); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Append after the failure: %v", err)
	}
	if err := l.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close after the failure: %v", err)
	}
	broken.Store(false)
	l = mustOpen(t, o)
	pipelinetest.Expect(t, l, 0, 0, "before")
}

// TestFullDisk lets no segment be made after the second. The log takes what
// fits, then nothing, and goes on when a segment can be used again.
func TestFullDisk(t *testing.T) {
	const inTwoSegments = 10 // records of 10,000 bytes
	var made atomic.Int32
	s := &shim{FS: vfs.NewMem()}
	s.before = func(o op) error {
		if o == (op{"create", "next" + tempSuffix}) {
			made.Add(1)
		}
		if made.Load() > 2 && strings.HasSuffix(o.name, tempSuffix) {
			return syscall.ENOSPC
		}
		return nil
	}
	o := small(Options{FS: s, Dir: testDir, Partitions: 1, QueueBytes: 20_000, PartitionBytes: 1 << 20})
	l := mustOpen(t, o)
	rec := strings.Repeat("r", 9_996)
	var acked sync.WaitGroup
	n := 0
	for l.End(0) < inTwoSegments || l.Stats().Full == 0 || l.Stats().PrepareErrors == 0 || n < inTwoSegments+2 {
		acked.Add(1)
		err := l.TryAppend(0, pipelinetest.Frame(rec), 1, func(_ chat.Position, err error) {
			if err != nil {
				t.Error(err)
			}
			acked.Done()
		})
		switch {
		case err == nil:
			n++
		case errors.Is(err, pipeline.ErrFull):
			acked.Done()
			runtime.Gosched()
		default:
			t.Fatal(err)
		}
	}
	durable := l.End(0)
	if got := l.Stats(); got.Segments != 2 || durable != inTwoSegments {
		t.Errorf("%d segments, the end is %v", got.Segments, durable)
	}
	drain(t, l, 0, durable)
	acked.Wait()
	if l.Stats().Recycled == 0 || l.End(0) != chat.Position(n) {
		t.Errorf("the end is %v after %d records, %d segments recycled", l.End(0), n, l.Stats().Recycled)
	}
}

// drain reads and releases, as durable, up to a position.
func drain(t *testing.T, l *Log, after, upTo chat.Position) {
	for after < upTo {
		b, err := l.Read(t.Context(), 0, after, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		after += chat.Position(b.Count)
		l.Release(0, after, true)
	}
}

// TestCloseWithFullDisk closes a log that waits for a segment that cannot be
// made: what is queued gets an error, and nobody hangs.
func TestCloseWithFullDisk(t *testing.T) {
	s := &shim{FS: vfs.NewMem()}
	failing := make(chan struct{}, 1)
	s.before = func(o op) error {
		if strings.HasPrefix(o.name, "next") {
			signal(failing)
			return syscall.ENOSPC
		}
		return nil
	}
	l := mustOpen(t, small(Options{FS: s, Dir: testDir}))
	result := make(chan error, 1)
	if err := l.TryAppend(0, pipelinetest.Frame("x"), 1, func(_ chat.Position, err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	<-failing
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v", err)
	}
	if err := <-result; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("done: %v", err)
	}
}

// TestDirectoryFails lets the sync of the directory fail when a segment gets
// its name: nothing may be acknowledged in it.
func TestDirectoryFails(t *testing.T) {
	var broken atomic.Bool
	s := &shim{FS: vfs.NewMem()}
	s.before = func(o op) error {
		if broken.Load() && o == (op{"sync", "log"}) {
			return syscall.EIO
		}
		return nil
	}
	fatal := make(chan error, 1)
	o := small(Options{FS: s, Dir: testDir})
	o.Fatal = func(err error) { fatal <- err }
	l := mustOpen(t, o)
	pipelinetest.Append(t, l, 0, "x") // the first segment is in use
	broken.Store(true)
	rec := strings.Repeat("r", 10_000)
	for range 30 {
		if l.TryAppend(0, pipelinetest.Frame(rec), 1, func(chat.Position, error) {}) != nil {
			break
		}
	}
	if err := <-fatal; !errors.Is(err, syscall.EIO) {
		t.Errorf("Fatal: %v", err)
	}
}

// childEnv tells the test binary to be the other process.
const childEnv = "ROOKERY_LOG_TEST_CHILD"

// TestOtherProcess checks from a second process that the directory is locked,
// and that a failed sync ends the process with ExitDisk.
func TestOtherProcess(t *testing.T) {
	if what := os.Getenv(childEnv); what != "" {
		child(what, os.Getenv(childEnv+"_DIR"))
	}
	dir := t.TempDir()
	l := mustOpen(t, small(Options{Dir: dir}))
	if out, code := runChild(t, "lock", dir); code != 0 || !strings.Contains(out, "locked") {
		t.Errorf("a second process with the same directory: exit code %d, %s", code, out)
	}
	if _, err := Open(small(Options{Dir: dir})); !errors.Is(err, ErrLocked) {
		t.Errorf("a second log in this process: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if out, code := runChild(t, "fail", dir); code != ExitDisk || strings.Contains(out, "acknowledged") {
		t.Errorf("a process whose disk fails: exit code %d, %s", code, out)
	}
}

func runChild(t *testing.T, what, dir string) (string, int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$")
	cmd.Env = append(os.Environ(), childEnv+"="+what, childEnv+"_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func child(what, dir string) {
	var broken atomic.Bool
	s := &shim{FS: vfs.Default}
	s.before = func(o op) error {
		if broken.Load() && o.kind == "sync" && o.onSegment() {
			return syscall.EIO
		}
		return nil
	}
	o := small(Options{Dir: dir})
	if what == "fail" {
		o.FS = s
		o.Logger = nil
	}
	l, err := Open(o)
	if err != nil {
		fmt.Println(err)
		if errors.Is(err, ErrLocked) {
			os.Exit(0)
		}
		os.Exit(1)
	}
	broken.Store(true)
	done := make(chan struct{})
	l.Append(0, pipelinetest.Frame("x"), 1, func(_ chat.Position, err error) {
		if err == nil {
			fmt.Println("acknowledged")
		}
		close(done)
	})
	<-done
	l.Read(context.Background(), 0, 0, 1)
	os.Exit(2)
}
