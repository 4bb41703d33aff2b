package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// openCluster finds what scripts/cluster.sh has started in a folder: the
// balancer's port without TLS, the key that signs tokens, all processes.
func openCluster(dir string) (*target, error) {
	f, err := os.Open(filepath.Join(dir, "env"))
	if err != nil {
		return nil, fmt.Errorf("bench: no cluster is up in %s: %w", dir, err)
	}
	defer f.Close()
	env := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		env[key] = value
	}
	t := &target{processes: map[string]int{}, stderr: filepath.Join(dir, "gateway-1", "log")}
	balancer, err := netip.ParseAddrPort(env["PLAIN"])
	if err != nil {
		return nil, fmt.Errorf("bench: the cluster in %s has no port without TLS: %w", dir, err)
	}
	t.addresses, t.keys = []netip.AddrPort{balancer}, env["DATA"]
	for _, pattern := range []string{"*/pid", "services/*/pid"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			var pid int
			b, err := os.ReadFile(path)
			if _, scanErr := fmt.Sscan(string(b), &pid); err != nil || scanErr != nil {
				return nil, fmt.Errorf("bench: no pid in %s", path)
			}
			t.processes[filepath.Base(filepath.Dir(path))] = pid
		}
	}
	for name := range t.processes {
		if n, ok := strings.CutPrefix(name, "processor-"); ok {
			t.admins = append(t.admins, "http://"+env["PROCESSOR_"+n+"_ADMIN"])
		}
	}
	if len(t.admins) == 0 {
		return nil, errors.New("bench: the cluster has no processor")
	}
	return t, nil
}

// cpuByProcess is the processor time each process of a cluster has used.
func (t *target) cpuByProcess() map[string]time.Duration {
	cpu := map[string]time.Duration{}
	for name, pid := range t.processes {
		cpu[name] = processCPU(pid)
	}
	return cpu
}

// lagGauge is by how much owners are behind what the log has of their partitions.
const lagGauge = "rookery_partition_lag_positions"

// Owners are looked at every lookForLag, and have storeWithin for what a load before
// this one left in the log: a firehose of seconds is stored for minutes.
const (
	lookForLag  = time.Second
	storeWithin = 20 * time.Minute
)

// allStored waits until the owners have stored what the log has: sessions do not
// catch up before. A processor that owns no partition has no such gauge.
func (t *target) allStored(ctx context.Context, within time.Duration) error {
	tick := time.NewTicker(lookForLag)
	defer tick.Stop()
	for until := time.Now().Add(within); ; {
		behind, owners := 0.0, 0
		for _, admin := range t.admins {
			v, err := metricOf(admin, lagGauge)
			if errors.Is(err, errNoMetric) {
				continue
			}
			if err != nil {
				return err
			}
			behind += v
			owners++
		}
		if owners > 0 && behind == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("bench: after %v the cluster has %d owners, %.0f positions of the log behind what was there before: start a new cluster, or wait", within, owners, behind)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// throughCluster is a load through a balancer on a cluster of processes that is there
// already: its log, its store, its presence.
func throughCluster(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 1_000)
	setDefault(&o.Rate, 2_000)
	setDefault(&o.PerWrite, 1)
	setDefault(&o.Duration, 30*time.Second)
	setDefault(&o.MarkEvery, 200*time.Millisecond)
	t, err := openCluster(o.Cluster)
	if err != nil {
		return err
	}
	fmt.Fprintln(o.Progress, "waiting for what is in the log to be stored")
	if err := t.allStored(ctx, storeWithin); err != nil {
		return err
	}
	f, err := connect(ctx, o, res, t)
	if err != nil {
		return err
	}
	defer f.close()
	pattern := patternAnyTwo
	if o.Contacts > 0 {
		pattern = patternCircle
	}
	if err := load(ctx, o, res, t, f, pattern); err != nil {
		return err
	}
	judgeLag(res, 20*time.Millisecond)
	return nil
}
