package cli

import (
	"runtime"
	"testing"

	"github.com/rookery-chat/rookery/internal/config"
)

func TestSpareProcessors(t *testing.T) {
	n := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(n)

	t.Setenv("GOMAXPROCS", "")
	var c config.Config
	spareProcessors(&c)
	if got := runtime.GOMAXPROCS(0); got != n+syncers || c.Engine.Loops != n {
		t.Errorf("%d slots and %d loops on %d processors", got, c.Engine.Loops, n)
	}
	runtime.GOMAXPROCS(n)
	t.Setenv("GOMAXPROCS", "3")
	c.Engine.Loops = 7
	spareProcessors(&c)
	if got := runtime.GOMAXPROCS(0); got != n || c.Engine.Loops != 7 {
		t.Errorf("%d slots and %d loops, with both set", got, c.Engine.Loops)
	}
}
