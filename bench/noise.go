package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Bounds of what others may take of the machine in a good run, as shares of all
// its processors.
const (
	NoisyStolen  = 0.05
	NoisyForeign = 0.05
)

// noisy says who took more of the machine than the bounds allow, in cores.
func noisy(stolen, foreign float64, cpus int) (why []string) {
	if limit := NoisyStolen * float64(cpus); stolen > limit {
		why = append(why, fmt.Sprintf("%.2f cores were stolen, more than %.2f", stolen, limit))
	}
	if limit := NoisyForeign * float64(cpus); foreign > limit {
		why = append(why, fmt.Sprintf("other processes used %.2f cores, more than %.2f", foreign, limit))
	}
	return why
}

// listener remembers how things stood when a run began.
type listener struct {
	began                 time.Time
	stolen, foreign, busy time.Duration
	ours                  time.Duration
}

func listen() listener {
	return listener{began: time.Now(), stolen: stolenTime(), foreign: foreignTime(), busy: busyTime(), ours: ownTime()}
}

// heard notes what others took since listen, from the connecting to the end,
// where the profile has not noted it for its own time. A cluster's processes are
// not ours, so what is foreign there cannot be told.
//
// What is foreign is seen in two ways, of which the greater counts: the sum over
// all processes that are visible, and what the kernel counts in all less our
// own. A container sees few processes; the kernel may count interrupts as ours.
func (l listener) heard(r *Result, cluster bool) {
	seconds := time.Since(l.began).Seconds()
	if r.StolenCores == 0 {
		r.StolenCores = (stolenTime() - l.stolen).Seconds() / seconds
	}
	if cluster {
		r.Warnings = append(r.Warnings, "what other processes took of the machine is not known: those of a cluster are not ours")
	} else if r.ForeignCores == 0 {
		seen := foreignTime() - l.foreign
		rest := (busyTime() - l.busy) - (ownTime() - l.ours)
		r.ForeignCores = max(seen, rest, 0).Seconds() / seconds
	}
	r.Noisy = noisy(r.StolenCores, r.ForeignCores, r.Machine.CPUs)
}

// foreignTime sums the processor time of all processes but this one and its
// descendants and the kernel's own, with that of children that have ended: a
// process that ends is in its parent's sum from then on.
func foreignTime() (sum time.Duration) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	parents, used := map[int]int{}, map[int]time.Duration{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f := statFields(pid)
		if len(f) < 15 {
			continue
		}
		parents[pid], _ = strconv.Atoi(f[1])
		used[pid] = ticks(f[11:15])
	}
	for pid, t := range used {
		if top := lineage(pid, parents); top != os.Getpid() && top != kthreadd {
			sum += t
		}
	}
	return sum
}

const kthreadd = 2 // the parent of the kernel's threads

// lineage is the first of this process and the kernel's parent that a process
// descends from, or 0.
func lineage(pid int, parents map[int]int) int {
	for range 64 {
		if pid == os.Getpid() || pid == kthreadd || pid == 0 {
			return pid
		}
		pid = parents[pid]
	}
	return 0
}

// ownTime is the processor time of this process and of its children that have
// ended.
func ownTime() time.Duration {
	f := statFields(os.Getpid())
	if len(f) < 15 {
		return 0
	}
	return ticks(f[11:15])
}

// busyTime is what all processors spent on processes.
func busyTime() time.Duration {
	first, _, _ := strings.Cut(content("/proc/stat"), "\n")
	f := strings.Fields(first)
	if len(f) < 4 {
		return 0
	}
	return ticks(f[1:4])
}

// statFields are the fields of a process's stat, from its state on.
func statFields(pid int) []string {
	s := content(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
}

func ticks(fields []string) (sum time.Duration) {
	for _, f := range fields {
		n, _ := strconv.ParseInt(f, 10, 64)
		sum += time.Duration(n) * time.Second / ticksASec
	}
	return sum
}
