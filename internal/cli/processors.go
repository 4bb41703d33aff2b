package cli

import (
	"os"
	"runtime"
)

// syncers are the goroutines that wait for the disk nearly all the time: the
// log's, and the store's.
const syncers = 2

// spareProcessors fills in how many loops there are, one a processor where the
// setting is 0, and gives the scheduler more slots than processors: for
// goroutines that keep theirs in a system call until the runtime's monitor takes
// it back, up to 10 ms later. On two processors an fdatasync would stop half of
// the loops and owners for so long. GOMAXPROCS wins where it is set.
func spareProcessors(loops *int, spare int) {
	n := runtime.GOMAXPROCS(0)
	if *loops == 0 {
		*loops = n
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n + spare)
	}
}
