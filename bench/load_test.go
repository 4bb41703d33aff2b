package bench

import (
	"testing"
	"time"
)

func TestWhatWaitsCountsAgainstTheServer(t *testing.T) {
	res := &Result{}
	if res.window(&measured{window: counts{Accepted: 100, Delivered: 50}, server: time.Millisecond, seconds: 1}); res.ServerCPUPerMessageUs != 20 {
		t.Errorf("a ms of processor time for 50 that were delivered of 100: %v us a message", res.ServerCPUPerMessageUs)
	}
}
