package main

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memory is the resident bytes of every process.
func (cl *cluster) memory() map[string]int64 {
	all := map[string]int64{}
	for _, name := range cl.names {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(cl.procs[name].pid(cl)) + "/statm")
		if f := strings.Fields(string(b)); err == nil && len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			all[name] = pages * int64(os.Getpagesize())
		}
	}
	return all
}

// lagMetric is by how many records owners are behind their partitions.
const lagMetric = "rookery_partition_lag_positions"

// lag is by how much the processors are behind, as their metrics say; -1 when
// none answers.
func (cl *cluster) lag(ctx context.Context) float64 {
	sum, any := 0.0, false
	for _, p := range cl.of("processor") {
		_, body, err := get(ctx, p.admin+"/metrics")
		if err != nil {
			continue
		}
		any = true
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, lagMetric) {
				v, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:len(line)-1], 64)
				sum += v
			}
		}
	}
	if !any {
		return -1
	}
	return sum
}

// latest is the latency in the newest seconds, in ms.
func (t *times) latest(n int) (p50, p99 float64) {
	t.mu.Lock()
	var all []uint32
	for _, s := range t.seconds[max(0, len(t.seconds)-n):] {
		all = append(all, s.latencies...)
	}
	t.mu.Unlock()
	slices.Sort(all)
	return float64(quantile(all, 0.5)) / 10, float64(quantile(all, 0.99)) / 10
}

// cpuSeconds is what this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
