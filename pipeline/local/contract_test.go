package local

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractOnDisk(t *testing.T) {
	pipelinetest.Run(t, contractFactory(func(t *testing.T) Options {
		return Options{FS: vfs.Default, Dir: filepath.Join(t.TempDir(), "log")}
	}))
}

func TestContractInMemory(t *testing.T) {
	pipelinetest.Run(t, contractFactory(func(*testing.T) Options {
		return Options{FS: vfs.NewMem(), Dir: "/data/log"}
	}))
}

func contractFactory(base func(*testing.T) Options) pipelinetest.Factory {
	return func(t *testing.T, c pipelinetest.Config) func() pipeline.Log {
		o := small(base(t))
		o.Partitions, o.PartitionBytes = c.Partitions, c.PartitionBytes
		return func() pipeline.Log { return mustOpen(t, o) }
	}
}

// small sets sizes that a test soon comes to the end of.
func small(o Options) Options {
	o.SegmentBytes, o.BlockBytes = 64<<10, 16<<10
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	return o
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	if o.Fatal == nil {
		o.Fatal = func(err error) { t.Errorf("Fatal: %v", err) }
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
