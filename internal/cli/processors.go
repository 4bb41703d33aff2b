package cli

import (
	"os"
	"runtime"

	"github.com/rookery-chat/rookery/internal/config"
)

// syncers are the goroutines that wait for the disk nearly all the time: the
// log's, and the store's.
const syncers = 2

// spareProcessors gives the scheduler a slot for each syncer beyond the
// processors there are. A goroutine in a system call keeps its slot until the
// runtime's monitor takes it back, up to 10 ms later: on two processors an
// fdatasync would stop half of the loops and owners for so long. GOMAXPROCS
// wins where it is set.
func spareProcessors(c *config.Config) {
	n := runtime.GOMAXPROCS(0)
	if c.Engine.Loops == 0 {
		c.Engine.Loops = n
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n + syncers)
	}
}
