package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// asAgent makes the test program a load process, as rookery is one.
func asAgent() {
	if !slices.Equal(os.Args[1:], []string{"bench", "agent"}) {
		return
	}
	if err := Agent(context.Background(), StdLink{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
