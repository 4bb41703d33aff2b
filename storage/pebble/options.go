package pebble

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of a store. The zero value of each field but Dir means its default.
type Options struct {
	// Dir is the folder of the database. It is made when it is missing, and
	// locked while the store is open.
	Dir string

	// CacheBytes is for the cache of uncompressed blocks. Default 128 MiB,
	// at least 1 MiB.
	CacheBytes int64

	// MemtableBytes is the size of one memtable. Two are in use as a rule;
	// while flushes are behind up to four, the last two at the cost of the
	// cache. A larger one is written down less often, and costs more to search:
	// its rows no longer lie in the processor's caches. Default 16 MiB, 1 MiB to 4 GiB less 1 MiB.
	MemtableBytes int64

	// Compactions is how many compactions run at once at most. Default 2,
	// at most 64.
	Compactions int

	// Logger gets what Pebble has to say. Default slog.Default.
	Logger *slog.Logger

	// FS is the filesystem (default: the operating system's).
	FS vfs.FS
}

// Bounds and defaults of Options.
const (
	defaultCacheBytes    = 128 << 20
	minCacheBytes        = 1 << 20
	defaultMemtableBytes = 16 << 20
	minMemtableBytes     = 1 << 20
	maxMemtableBytes     = 4<<30 - 1<<20
	defaultCompactions   = 2
	maxCompactions       = 64
)

// What is not worth an option.
const (
	memtables           = 4  // writes stall when this many wait for a flush
	l0CompactSublevels  = 16 // L0 is compacted from this many sublevels on
	l0StallSublevels    = 24 // writes stall at this many
	bloomBitsPerKey     = 10
	blockBytes          = 8 << 10
	indexBlockBytes     = 256 << 10
	slowDisk            = 5 * time.Second // an operation that takes longer is logged and counted
	firstCompressedTier = 5               // levels above are rewritten soon: not worth the processor
)

func (o *Options) setDefaults() {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = defaultMemtableBytes
	}
	if o.Compactions == 0 {
		o.Compactions = defaultCompactions
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
}

// Validate reports all faults of the options together, nil when there is none.
// Zero values are defaults and no faults.
func (o Options) Validate() error {
	var faults []error
	if o.Dir == "" {
		faults = append(faults, errors.New("storage/pebble: Dir is empty: name a folder"))
	}
	o.setDefaults()
	if o.CacheBytes < minCacheBytes {
		faults = append(faults, fmt.Errorf("storage/pebble: CacheBytes is %d, the least is %d", o.CacheBytes, minCacheBytes))
	}
	if o.MemtableBytes < minMemtableBytes || o.MemtableBytes > maxMemtableBytes {
		faults = append(faults, fmt.Errorf("storage/pebble: MemtableBytes is %d, it has to be %d to %d", o.MemtableBytes, minMemtableBytes, maxMemtableBytes))
	}
	if o.Compactions < 1 || o.Compactions > maxCompactions {
		faults = append(faults, fmt.Errorf("storage/pebble: Compactions is %d, it has to be 1 to %d", o.Compactions, maxCompactions))
	}
	return errors.Join(faults...)
}

// pebbleOptions says the same to Pebble.
func (o *Options) pebbleOptions(disk vfs.FS, w *watch) *pebble.Options {
	p := &pebble.Options{
		// Pebble takes its memtables out of this.
		CacheSize:                   o.CacheBytes + 2*o.MemtableBytes,
		MemTableSize:                uint64(o.MemtableBytes),
		MemTableStopWritesThreshold: memtables,
		L0CompactionThreshold:       l0CompactSublevels,
		L0StopWritesThreshold:       l0StallSublevels,
		FormatMajorVersion:          pebble.FormatNewest,
		CompactionConcurrencyRange:  func() (int, int) { return 1, o.Compactions },
		FS:                          disk,
		Logger:                      logger{o.Logger},
		EventListener:               w.listener(),
	}
	for i := range p.Levels {
		p.Levels[i].BlockSize, p.Levels[i].IndexBlockSize = blockBytes, indexBlockBytes
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
		p.Levels[i].Compression = compressionOf(i)
	}
	return p
}

// compressionOf is the fastest there is where rows stay, for keys and names:
// content is mostly encrypted and does not compress.
func compressionOf(level int) func() *sstable.CompressionProfile {
	if level < firstCompressedTier {
		return func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return func() *sstable.CompressionProfile { return sstable.FastestCompression }
}
