package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime"
	"time"
)

// Limits and defaults that are not options.
const (
	maxLoops        = 1 << loopBits // what an ID can name, and gnet's own limit
	defaultTickMs   = 100
	defaultOutBytes = 1 << 20
	defaultOutTotal = 512 << 20
	readBufferBytes = 64 << 10 // one a loop; the most Data is lent at once
	lingerMs        = 1000     // how long Close waits for the peer's own close
	trimMs          = 1000     // how often the pool of output buffers gives back
	spareSliceLen   = 4096     // longer work lists are left to the collector
)

// ReservedFiles is how many descriptors are left to the rest of the process, or
// a quarter of them where that is less.
const ReservedFiles = 1024

// ConnsOf returns how many connections a limit of descriptors allows.
func ConnsOf(files int) int { return files - min(ReservedFiles, files/4) }

// reservedOwn is how many descriptors of a loop's own table are left to what is no
// connection: what wakes each loop, and some.
const reservedOwn = maxLoops + 64

// ConnsOfLoops is ConnsOf with OwnDescriptors, for all of so many loops.
func ConnsOfLoops(files, loops int) int { return loops * (files - min(reservedOwn, files/4)) }

// Options configures Start. The zero value of a field is its default.
type Options struct {
	Listen           string        // host:port; port 0 takes a free one; required
	Loops            int           // event loops, at most 256; 0: GOMAXPROCS
	MaxConns         int           // open connections; 0, or more than the descriptor limit allows: what it allows
	MaxOutBytes      int           // per connection, output that the full socket has not taken; over it ErrSlow; 0: 1 MiB
	MaxOutTotalBytes int64         // the same over all connections; the one that crosses it gets ErrSlow; 0: 512 MiB
	AcceptPerSecond  int           // connections over it are closed at once; bursts of one second's worth pass; 0: no limit
	OwnDescriptors   bool          // each loop runs on a thread with a table of descriptors of its own, so that the limit of the process is each loop's; Linux
	TurnEvery        time.Duration // least time between two turns of a loop, in which input, mail and output gather; at most a second; 0: none; Linux
	TickMs           int           // how often deadlines are looked at, 1 to 1000; 0: 100
	Logger           *slog.Logger  // nil: slog.Default()
}

// Validate reports every fault of o at once, or nil.
func (o Options) Validate() error {
	var faults []error
	bad := func(wrong bool, format string, a ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("engine: "+format, a...))
		}
	}
	_, _, err := net.SplitHostPort(o.Listen)
	bad(err != nil, "Listen is host:port, not %q", o.Listen)
	bad(o.Loops < 0 || o.Loops > maxLoops, "Loops is 0 to %d, not %d", maxLoops, o.Loops)
	bad(o.MaxConns < 0, "MaxConns is not negative, as %d is", o.MaxConns)
	bad(o.MaxOutBytes < 0 || o.MaxOutBytes > math.MaxInt32, "MaxOutBytes is 0 to %d, not %d", math.MaxInt32, o.MaxOutBytes)
	bad(o.MaxOutTotalBytes < 0, "MaxOutTotalBytes is not negative, as %d is", o.MaxOutTotalBytes)
	bad(o.AcceptPerSecond < 0, "AcceptPerSecond is not negative, as %d is", o.AcceptPerSecond)
	bad(Sockets != "epoll" && (o.OwnDescriptors || o.TurnEvery != 0), "OwnDescriptors and TurnEvery are for the loops of Linux")
	bad(o.TurnEvery < 0 || o.TurnEvery > time.Second, "TurnEvery is 0 to 1s, not %v", o.TurnEvery)
	bad(o.TickMs < 0 || o.TickMs > 1000, "TickMs is 0 to 1000, not %d", o.TickMs)
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	setDefault(&o.Loops, min(runtime.GOMAXPROCS(0), maxLoops))
	setDefault(&o.MaxOutBytes, defaultOutBytes)
	setDefault(&o.MaxOutTotalBytes, defaultOutTotal)
	setDefault(&o.TickMs, defaultTickMs)
	setDefault(&o.Logger, slog.Default())
	files := fileLimit()
	allowed := ConnsOf(files)
	if o.OwnDescriptors {
		allowed = ConnsOfLoops(files, o.Loops)
	}
	o.MaxConns = connsWithin(o.MaxConns, allowed, files, o.Logger)
	return o
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
