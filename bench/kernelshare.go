package bench

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// kernelShare is the part of the server's processor time that the kernel has from
// a time on, for whole seconds of d, by the samples of the server's own profile, 100 a second of
// processor time. The kernel's own account will not do: it is scaled so that
// neither part ever goes back, and so stands still for one that has become small.
func (t *target) kernelShare(ctx context.Context, fromNs int64, d time.Duration) (share float64, samples int64, err error) {
	if err := sleepUntil(ctx, fromNs); err != nil {
		return 0, 0, err
	}
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", t.admins[0], max(int(d.Seconds()), 1))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, 0, err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer r.Body.Close()
	p, err := profile.Parse(r.Body)
	if err != nil {
		return 0, 0, fmt.Errorf("bench: the server's profile: %w", err)
	}
	kernel, samples := inKernel(p)
	return float64(kernel) / float64(max(samples, 1)), samples, nil
}

// inKernel counts the samples of a profile that are in a system call, and all.
// Faults of pages are counted with the code that has them.
func inKernel(p *profile.Profile) (kernel, all int64) {
	for _, s := range p.Sample {
		all += s.Value[0]
		if len(s.Location) == 0 || len(s.Location[0].Line) == 0 || s.Location[0].Line[0].Function == nil {
			continue
		}
		name := s.Location[0].Line[0].Function.Name
		if strings.Contains(strings.ToLower(name), "syscall") || systemCalls[name] {
			kernel += s.Value[0]
		}
	}
	return kernel, all
}

// systemCalls are those of the runtime that do not say so in their names.
var systemCalls = map[string]bool{
	"runtime.futex": true, "runtime.usleep": true, "runtime.madvise": true, "runtime.tgkill": true, "runtime.osyield": true,
	"runtime.write1": true, "runtime.read": true, "runtime.sysMmap": true, "runtime.munmap": true, "runtime.nanosleep": true,
}
