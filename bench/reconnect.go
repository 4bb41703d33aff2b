package bench

import (
	"context"
	"fmt"
	"time"
)

// reconnect is everybody at once: all sockets close abruptly, and the sessions
// come back as an SDK brings them back. The server has its own bounds for that;
// only the one on sockets of an address is out of the way, as a load has few.
func reconnect(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Connections, 15_000)
	setDefault(&o.Duration, 2*time.Minute) // at most
	res.ServerFlags = append([]string{"--session-unauthenticated-per-address=1000000"}, o.ServerFlags...)
	t, err := startTarget(o, 1, res.ServerFlags...)
	if err != nil {
		return err
	}
	defer t.kill()
	f, err := connect(ctx, o, res, t)
	if err != nil {
		return err
	}
	defer f.close()
	if err := exchange(ctx, o, res, f); err != nil {
		return err
	}
	fmt.Fprintf(o.Progress, "everybody at once\n")
	cpu := t.cpu()
	reports, err := f.all(ctx, o.Duration, func(i int) *order {
		return &order{Op: opReconnect, WithinMs: o.Duration.Milliseconds(), Seed: uint64(i)}
	})
	if err != nil {
		return err
	}
	used := t.cpu() - cpu
	b := &ReconnectFigures{Sessions: o.Connections, CPUUs: used.Seconds() * 1e6 / float64(o.Connections)}
	res.Reconnect = b
	for _, rep := range reports {
		if rep.Back == nil {
			return fmt.Errorf("%w: a report has no word of the sessions that came back", errAgent)
		}
		b.SettledSecs = max(b.SettledSecs, rep.Seconds)
		b.Attempts, b.Retried = b.Attempts+rep.Back.Attempts, b.Retried+rep.Back.Retried
		b.AppErrors, b.Unsettled = b.AppErrors+rep.Back.AppErrors, b.Unsettled+rep.Back.Unsettled
	}
	h, err := f.latencies(ctx)
	if err != nil {
		return err
	}
	b.Session = percentiles(h["connect"])
	if err := res.KeepHistogram("reconnect", h["connect"]); err != nil {
		return err
	}
	if b.Unsettled > 0 || b.AppErrors > 0 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%d sessions were not back in time, %d would have shown their app an error", b.Unsettled, b.AppErrors))
		return t.stop()
	}
	if err := exchange(ctx, o, res, f); err != nil {
		return err
	}
	b.Exchanged = res.Delivered
	return t.stop()
}
