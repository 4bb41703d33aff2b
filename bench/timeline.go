package bench

import (
	"context"
	"time"
)

// mostValues bounds a time line: a longer time has longer steps.
const mostValues = 600

// stepOf is the step of the time lines of so long a time: a second, or twice as
// much as often as it takes.
func stepOf(d time.Duration) time.Duration {
	step := time.Second
	for d > mostValues*step {
		step *= 2
	}
	return step
}

// storedCounter counts messages in the store.
const storedCounter = "rookery_partition_messages_total"

// reading is what the server's processes have used and done so far.
type reading struct {
	ns             int64
	stolen, server time.Duration
	each           map[string]time.Duration // of a cluster
	resident       int64
	counter        float64
}

// read takes a reading. The counter is a metric, whose page costs the server
// 2 ms of processor time; "" is none.
func (t *target) read(counter string) (r reading, err error) {
	r = reading{ns: nowNs(), stolen: stolenTime(), server: t.cpu(), each: t.cpuByProcess(), resident: t.resident()}
	if counter != "" {
		r.counter, err = t.metric(counter)
	}
	return r, err
}

// followed is how a server went in a time, a value for each whole step.
type followed struct {
	first, last               reading
	counted, cores, megabytes []float64
}

// follow reads the server once a step from a time on, for a while; what it has
// until an error, such as the end of ctx, it returns too.
func (t *target) follow(ctx context.Context, fromNs int64, d time.Duration, counter string) (f followed, err error) {
	if err := sleepUntil(ctx, fromNs); err != nil {
		return f, err
	}
	if f.first, err = t.read(counter); err != nil {
		return f, err
	}
	f.last = f.first
	step, endNs := int64(stepOf(d)), fromNs+int64(d)
	for at := fromNs; f.last.ns < endNs; {
		due := min(at+step, endNs)
		if err := sleepUntil(ctx, due); err != nil {
			return f, err
		}
		now, err := t.read(counter)
		if err != nil {
			return f, err
		}
		now.ns = max(now.ns, due)
		for ; at+step <= min(now.ns, endNs); at += step { // several, where the server took its time to answer
			f.add(now)
		}
		f.last = now
	}
	return f, nil
}

// add adds a step that a reading ends.
func (f *followed) add(now reading) {
	seconds := float64(now.ns-f.last.ns) / 1e9
	f.counted = append(f.counted, (now.counter-f.last.counter)/seconds)
	f.cores = append(f.cores, (now.server-f.last.server).Seconds()/seconds)
	f.megabytes = append(f.megabytes, float64(now.resident)/1e6)
}

// line adds values to a time line of the result, behind those that it has.
func (r *Result) line(name, unit string, step time.Duration, values []float64) {
	for i := range r.TimeLines {
		if l := &r.TimeLines[i]; l.Name == name {
			l.Values = append(l.Values, values...)
			return
		}
	}
	if len(values) > 0 {
		r.TimeLines = append(r.TimeLines, TimeLine{name, unit, step.Seconds(), values})
	}
}

// lines adds how a load went, and the server under it.
func (r *Result) lines(m *measured, d time.Duration) {
	step := stepOf(d)
	rates := func(of func(counts) uint64) (values []float64) {
		for _, c := range m.steps {
			values = append(values, float64(of(c))/step.Seconds())
		}
		return values
	}
	r.line("accepted", "/s", step, rates(func(c counts) uint64 { return c.Accepted }))
	r.line("delivered", "/s", step, rates(func(c counts) uint64 { return c.Delivered }))
	r.line("stored", "/s", step, m.followed.counted)
	r.line("server", "cores", step, m.followed.cores)
	r.line("resident", "MB", step, m.followed.megabytes)
}

// addSteps adds what an agent did in each step to what others did.
func addSteps(sum, steps []counts) []counts {
	for len(sum) < len(steps) {
		sum = append(sum, counts{})
	}
	for i := range steps {
		sum[i].add(steps[i])
	}
	return sum
}
