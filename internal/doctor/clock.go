package doctor

import (
	"fmt"
	"time"
)

// notBefore is a time that is past wherever this program runs.
var notBefore = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	clockSampleTime = 50 * time.Millisecond
	clockJumpWarn   = 5 * time.Millisecond // the wall clock against the monotonic one, in the sample
	clockErrorWarn  = 500 * time.Millisecond
)

// checkClock looks at the clock, from which ids and times to live are made.
func (m *machine) checkClock() []Finding {
	findings := []Finding{judgeClock(time.Now(), sampleJump()), judgeSync(kernelClock())}
	source, err := m.read("sys/devices/system/clocksource/clocksource0/current_clocksource")
	if err != nil {
		return findings
	}
	f := Finding{Name: "clock source", Status: OK, Found: source}
	if source == "hpet" || source == "acpi_pm" || source == "jiffies" {
		f.Status, f.Do = Warn, "a slow one, that is read at every turn of a loop; tsc or the hypervisor's is better"
	}
	return append(findings, f)
}

func judgeClock(now time.Time, jump time.Duration) Finding {
	f := Finding{Name: "clock", Status: OK, Found: now.UTC().Format(time.RFC3339)}
	switch {
	case now.Before(notBefore):
		f.Status, f.Do = Fail, "set the clock: ids and tokens of today would be refused as of the future"
	case jump.Abs() > clockJumpWarn:
		f.Status = Warn
		f.Found += fmt.Sprintf(", moved by %s within %s", jump.Round(time.Millisecond), clockSampleTime)
		f.Do = "let NTP slew the clock and not step it"
	}
	return f
}

// sampleJump returns how far the wall clock went ahead of the monotonic one.
func sampleJump() time.Duration {
	start := time.Now()
	time.Sleep(clockSampleTime)
	end := time.Now()
	return end.Round(0).Sub(start.Round(0)) - end.Sub(start)
}

// clockState is what the kernel knows of its clock.
type clockState struct {
	synced   bool
	maxError time.Duration
	err      error
}

func judgeSync(c clockState) Finding {
	f := Finding{Name: "clock sync", Status: OK, Found: fmt.Sprintf("synchronised, off by %s at most", c.maxError)}
	ntp := "run chrony or systemd-timesyncd: ids that are 10 s ahead are refused, and tokens end by this clock"
	switch {
	case c.err != nil:
		return Finding{f.Name, Warn, "cannot be read: " + c.err.Error(), "see to it that the host's clock is synchronised"}
	case !c.synced:
		return Finding{f.Name, Warn, "the kernel says that nothing synchronises it", ntp}
	case c.maxError > clockErrorWarn:
		f.Status, f.Do = Warn, ntp
	}
	return f
}
