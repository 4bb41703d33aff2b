package bench

import (
	"context"
	"errors"
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
	b, err := everybody(ctx, o, res, t, f)
	if err != nil {
		return err
	}
	h, err := f.latencies(ctx)
	if err != nil {
		return err
	}
	b.Session = percentiles(h["connect"])
	res.LoadLag = percentiles(h["load_lag"])
	if err := errors.Join(res.KeepHistogram("reconnect", h["connect"]), res.KeepHistogram("load_lag", h["load_lag"])); err != nil {
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

// everybody closes all sessions, waits until they are back, and watches the
// server meanwhile.
func everybody(ctx context.Context, o *Options, res *Result, t *target, f *fleet) (*ReconnectFigures, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched, cpu := make(chan followed, 1), t.cpu()
	go func() {
		w, _ := t.follow(watching, nowNs(), o.Duration, "") // ended by stop, which is an error to it
		watched <- w
	}()
	reports, err := f.all(ctx, o.Duration, func(i int) *order {
		return &order{Op: opReconnect, WithinMs: o.Duration.Milliseconds(), Seed: uint64(i)}
	})
	used := t.cpu() - cpu
	stop()
	w := <-watched
	if err != nil {
		return nil, err
	}
	b := &ReconnectFigures{Sessions: o.Connections, CPUUs: used.Seconds() * 1e6 / float64(o.Connections)}
	back, load, err := b.sum(reports)
	if err != nil {
		return nil, err
	}
	res.Reconnect = b
	res.line("sessions back", "", stepOf(o.Duration), back)
	res.line("server", "cores", stepOf(o.Duration), w.cores)
	res.ServerCores, res.LoadCores = used.Seconds()/b.SettledSecs, load.Seconds()/b.SettledSecs
	had, left := f.processors(res.Machine.CPUs)
	if why := wasLimit(res.LoadCores, had, res.ServerCores, left); why != "" {
		res.Warnings = append(res.Warnings, why)
	}
	return b, nil
}

// sum adds up what agents say: how many sessions were back after each step, and
// the load's processor time, too.
func (b *ReconnectFigures) sum(reports []*report) (back []float64, load time.Duration, err error) {
	for _, rep := range reports {
		if rep.Back == nil {
			return nil, 0, fmt.Errorf("%w: a report has no word of the sessions that came back", errAgent)
		}
		load += time.Duration(rep.CPUNs)
		back = addBack(back, rep.Back.Steps)
		b.SettledSecs = max(b.SettledSecs, rep.Seconds)
		b.Attempts, b.Retried = b.Attempts+rep.Back.Attempts, b.Retried+rep.Back.Retried
		b.AppErrors, b.Unsettled = b.AppErrors+rep.Back.AppErrors, b.Unsettled+rep.Back.Unsettled
	}
	return back, load, nil
}

// addBack adds how many sessions of one agent were back to those of others;
// which was sooner has stayed where it ended.
func addBack(sum, back []float64) []float64 {
	all := make([]float64, max(len(sum), len(back)))
	for i := range all {
		for _, of := range [][]float64{sum, back} {
			if len(of) > 0 {
				all[i] += of[min(i, len(of)-1)]
			}
		}
	}
	return all
}
