package cli

import (
	"runtime"
	"testing"
)

func TestSpareProcessors(t *testing.T) {
	n := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(n)

	t.Setenv("GOMAXPROCS", "")
	loops := 0
	spareProcessors(&loops, syncers)
	if got := runtime.GOMAXPROCS(0); got != n+syncers || loops != n {
		t.Errorf("%d slots and %d loops on %d processors", got, loops, n)
	}
	runtime.GOMAXPROCS(n)
	t.Setenv("GOMAXPROCS", "3")
	loops = 7
	spareProcessors(&loops, syncers)
	if got := runtime.GOMAXPROCS(0); got != n || loops != 7 {
		t.Errorf("%d slots and %d loops, with both set", got, loops)
	}
}
