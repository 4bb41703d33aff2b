package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// quick are options of a short load.
func quick(t *testing.T, connections int) *Options {
	return &Options{Connections: connections, Rate: 400, PerWrite: 2, Size: 100, Warmup: 100 * time.Millisecond, Duration: 500 * time.Millisecond,
		MarkEvery: markEvery, Dir: t.TempDir(), Progress: io.Discard}
}

// fleetOn connects a load of so many processes to a server.
func fleetOn(t *testing.T, o *Options, res *Result, d destination, processes int) *fleet {
	t.Helper()
	o.Processes = processes
	f, err := startFleet(t.Context(), o, res, o.Connections)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	if _, err := f.connect(t.Context(), d, o.Connections); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestProcessesOfALoadGiveTheSum(t *testing.T) {
	at, d := startTestServer(t, nil)
	for processes, every := range map[int]time.Duration{1: 0, 2: 0, 3: 100 * time.Millisecond} {
		o, res := quick(t, 21), &Result{}
		o.LookEvery = every
		f := fleetOn(t, o, res, d, processes)
		if c, err := f.count(t.Context()); err != nil || c.Up != 21 || res.LoadProcesses != processes {
			t.Fatalf("%d of 21 sessions are up in %d processes: %v", c.Up, res.LoadProcesses, err)
		}
		if err := load(t.Context(), o, res, at, f, patternAnyTwo); err != nil {
			t.Fatal(err)
		}
		c, err := f.count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Sent == 0 || c.Accepted != c.Sent || c.Delivered != c.Sent || res.Sent == 0 || res.Sent > c.Sent || len(res.Invalid) > len(f.late) { // how late a process is depends on the machine
			t.Errorf("%d processes: %+v, sent %d, invalid %v", processes, c, res.Sent, res.Invalid)
		}
		if every > 0 && (res.LookEveryMs != 100 || res.LoadLag.P50 < 10_000) { // us; half of it at the least
			t.Errorf("a load that looks every %v is %d us late", every, res.LoadLag.P50)
		}
		if stored, err := at.metric("rookery_partition_messages_total"); err != nil || stored < float64(c.Sent) {
			t.Errorf("the server stored %v of %d messages: %v", stored, c.Sent, err)
		}
		for _, look := range []time.Duration{-1, mostLookEvery + 1} {
			bad := order{Op: opLoad, Load: &loadOrder{StartNs: nowNs(), DurationNs: 1, Rate: 1, PerWrite: 1, SizeBytes: 8, MarkEveryNs: 1, LookEveryNs: int64(look), Pattern: patternAnyTwo}}
			if _, err := f.same(t.Context(), time.Minute, bad); err == nil || errors.Is(err, errAgent) {
				t.Errorf("a look every %v: %v", look, err)
			}
		}
		// The merged histogram is the sum of what each process has.
		reports, err := f.same(t.Context(), 0, order{Op: opLatencies})
		if err != nil {
			t.Fatal(err)
		}
		var each int64
		for _, rep := range reports {
			h, err := decodeHistogram(rep.Latencies["delivery"])
			if err != nil || h.TotalCount() == 0 {
				t.Fatalf("a process has no latencies: %v", err)
			}
			each += h.TotalCount()
		}
		raw, err := decodeHistogram(res.Histograms["delivery"])
		if err != nil || raw.TotalCount() != each || res.Delivery.Count != each || uint64(each) != c.Measured {
			t.Errorf("%d latencies in the result, %d raw, %d in the processes, %d measured: %v", res.Delivery.Count, raw.TotalCount(), each, c.Measured, err)
		}
		f.close()
	}
}

// A warm-up in which the rate rises sends half of what one with all of it does, and
// the time that counts has all of it.
func TestARateRisesThroughTheWarmUp(t *testing.T) {
	at, d := startTestServer(t, nil)
	o := quick(t, 20)
	o.Rate, o.Warmup = 2_000, time.Second
	f := fleetOn(t, o, &Result{}, d, 2)
	var warm [2]float64
	before := counts{}
	for i, rise := range []bool{false, true} {
		o.Rise = rise
		res := &Result{}
		if err := load(t.Context(), o, res, at, f, patternAnyTwo); err != nil {
			t.Fatal(err)
		}
		c, err := f.count(t.Context())
		if err != nil || res.Rise != rise {
			t.Fatalf("the result says that it rises: %t, %v", res.Rise, err)
		}
		now := c.since(before)
		before, warm[i] = c, float64(now.Sent-now.Measured)
		if now.Measured < 800 || now.Measured > 1_200 { // half a second
			t.Errorf("rises: %t, and %d messages were due in the time that counts", rise, now.Measured)
		}
	}
	if share := warm[1] / warm[0]; share < 0.4 || share > 0.6 {
		t.Errorf("a warm-up with a rate that rises sent %.0f messages, one without %.0f", warm[1], warm[0])
	}
}

// An agent whose coordinator is gone does not go on connecting.
func TestAnAgentThatConnectsEndsWithItsLink(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	f := &fleet{agents: []*agentLink{agentHere(), agentHere()}, grace: graceFor}
	defer f.close()
	for _, a := range f.agents {
		if err := a.greet(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d := destination{to: []netip.AddrPort{netip.MustParseAddrPort(silent.Addr().String())}, bare: true}
	const hours = 1_000_000 // sessions, each of which the load gives its time
	o := connectOrder{Total: hours, Count: 2, DevicesOf: -1, AtOnce: 2}
	if err := f.prepare(t.Context(), d, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for range f.agents {
			if c, err := silent.Accept(); err == nil {
				t.Cleanup(func() { c.Close() }) // after the agents have ended
			}
		}
		cancel()
	}()
	if _, err := f.dial(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("connecting ended with %v", err)
	}
}

func TestMoreSessionsThanDescriptorsAskForProcesses(t *testing.T) {
	const files = 1000 + filesBesideSockets
	for _, c := range []struct{ asked, sessions, files, want int }{ // want 0: an error
		{0, 1, files, 1},
		{3, 1, files, 3},
		{0, 1000, files, 1},
		{0, 1001, files, 2},
		{2, 2001, files, 0},
		{3, 2001, files, 3},
		{0, 1000 * mostProcesses, files, mostProcesses},
		{0, 1000*mostProcesses + 1, files, 0},
		{mostProcesses + 1, 1, files, 0},
		{0, 1, filesBesideSockets, 0},
	} {
		if got, err := processesFor(c.asked, c.sessions, c.files); got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%+v: %d processes, %v", c, got, err)
		}
	}
	if n, err := loadProcesses(0, 1); n != 1 || err != nil {
		t.Errorf("a session wants %d processes here: %v", n, err)
	}
}

// liar stands between a coordinator and an agent in this process, and changes
// what the agent reports. A report that change says false of never comes.
func liar(t *testing.T, change func(*report) bool) *agentLink {
	t.Helper()
	honest := agentHere()
	ours, its := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer honest.close()
		orders := bufio.NewScanner(its)
		orders.Buffer(nil, controlLineBytes)
		out := json.NewEncoder(its)
		if out.Encode(agentHello{controlVersion}) != nil {
			return
		}
		for orders.Scan() {
			o := &order{}
			json.Unmarshal(orders.Bytes(), o)
			rep, err := honest.ask(context.Background(), o, time.Minute)
			if err != nil || change(rep) && out.Encode(rep) != nil {
				return
			}
		}
	}()
	if err := honest.greet(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := newLink("the liar", ours)
	a.ended = func() { <-done }
	if err := a.greet(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestALyingOrLateAgentMakesTheRunInvalid(t *testing.T) {
	at, d := startTestServer(t, nil)
	for name, c := range map[string]struct {
		change func(*report) bool
		want   string
	}{
		"honest":    {func(*report) bool { return true }, ""},
		"delivered": {func(r *report) bool { r.Counts.Delivered += 5; return true }, "were delivered"},
		"accepted":  {func(r *report) bool { r.Counts.Accepted++; r.Counts.Delivered++; return true }, "were accepted"},
		"measured":  {func(r *report) bool { r.Counts.Measured = 0; return true }, "latencies of"},
		"window":    {func(r *report) bool { r.Seconds *= 1.5; return true }, "the liar measured"},
		"another":   {func(r *report) bool { r.Op = strings.ReplaceAll(r.Op, opLoad, opCounts); return true }, "not to be relied on"},
		"histogram": {func(r *report) bool { delete(r.Latencies, "ack"); return true }, "not to be relied on"},
		"silent":    {func(r *report) bool { return r.Op != opLoad }, "said nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			o, res := quick(t, 10), &Result{}
			f := &fleet{agents: []*agentLink{liar(t, c.change), agentHere()}, grace: graceFor}
			defer f.close()
			if name == "silent" {
				f.grace = 500 * time.Millisecond
			}
			if err := f.agents[1].greet(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := f.connect(t.Context(), d, o.Connections); err != nil {
				t.Fatal(err)
			}
			if err := load(t.Context(), o, res, at, f, patternAnyTwo); err != nil {
				t.Fatal(err)
			}
			if name == "honest" { // a machine that is busy is late, and that is no lie
				res.Invalid = slices.DeleteFunc(res.Invalid, func(why string) bool { return strings.Contains(why, " instead of ") })
			}
			if why := strings.Join(res.Invalid, "; "); (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
				t.Errorf("the run is invalid for %q, want %q", why, c.want)
			}
		})
	}
}

func TestAnAgentOfAnotherVersionIsRefused(t *testing.T) {
	ours, its := net.Pipe()
	defer ours.Close()
	go func() {
		json.NewEncoder(its).Encode(agentHello{controlVersion + 1})
		its.Close()
	}()
	if err := newLink("the new one", ours).greet(t.Context()); !errors.Is(err, errAgent) {
		t.Errorf("it was taken: %v", err)
	}
}

func TestAnAgentRefusesWhatItDoesNotUnderstand(t *testing.T) {
	a := agentHere()
	defer a.close()
	if err := a.greet(t.Context()); err != nil {
		t.Fatal(err)
	}
	to := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	for _, o := range []*order{
		{Op: "dance"}, {Op: opLoad}, {Op: opPrepare}, {Op: opConnect}, {Op: opReconnect}, {Op: opExchange},
		{Op: opPrepare, Connect: &connectOrder{To: to, First: 5, Count: 6, Total: 10}},
		{Op: opPrepare, Connect: &connectOrder{To: to, Count: 1, Total: 1, Key: []byte("none")}},
		{Op: opLoad, Load: &loadOrder{PerWrite: 1, SizeBytes: 7, MarkEveryNs: 1}},
	} {
		if _, err := a.ask(t.Context(), o, time.Minute); err == nil || errors.Is(err, errAgent) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := a.ask(t.Context(), &order{Op: opCounts}, time.Minute); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func TestALineThatIsTooLongEndsTheLink(t *testing.T) {
	ours, its := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Agent(t.Context(), its); its.Close() }()
	defer ours.Close()
	bufio.NewReader(ours).ReadString('\n')
	go ours.Write([]byte(strings.Repeat("x", controlLineBytes+1)))
	if err := <-done; !errors.Is(err, bufio.ErrTooLong) {
		t.Errorf("the agent ended with %v", err)
	}
}

func TestABrokenHistogramIsNone(t *testing.T) {
	good, err := encodeHistogram(newHistogram())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", "x", "AAAA", "AAAAAAAAAAAAAAAA", good[:len(good)/2], strings.ToUpper(good)} {
		if h, err := decodeHistogram(s); err == nil {
			t.Errorf("%.20q is a histogram of %d", s, h.TotalCount())
		}
	}
}

func TestClocksOfAMachineAreOne(t *testing.T) {
	o, res := quick(t, 2), &Result{}
	o.Processes = 2
	f, err := startFleet(t.Context(), o, res, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if res.ClockErrorUs != 0 {
		t.Errorf("clocks of processes of a machine are off by %d us", res.ClockErrorUs)
	}
	// An agent whose clock shows something else is set right.
	a := f.agents[0]
	if _, err := a.ask(t.Context(), &order{Op: opShift, ShiftNs: int64(time.Hour)}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := f.setClock(t.Context(), a, res); err == nil {
		t.Error("another clock on this machine was taken")
	}
	f.remote = true
	if err := f.setClock(t.Context(), a, res); err != nil || res.ClockErrorUs == 0 {
		t.Errorf("a clock was set to within %d us: %v", res.ClockErrorUs, err)
	}
	before := nowNs()
	rep, err := a.ask(t.Context(), &order{Op: opClock}, time.Minute)
	if err != nil || rep.NowNs < before-res.ClockErrorUs*1000 || rep.NowNs > nowNs()+res.ClockErrorUs*1000 {
		t.Errorf("the agent's clock shows %d, ours %d before: %v", rep.NowNs, before, err)
	}
}

func TestOnReadingWhatTheKernelHas(t *testing.T) {
	inUse, pages := tcpMemory("sockets: used 12\nTCP: inuse 7 orphan 0 tw 3 alloc 9 mem 42\nUDP: inuse 1 mem 5\n")
	if inUse != 7 || pages != 42 {
		t.Errorf("%d sockets, %d pages", inUse, pages)
	}
	after := memory{resident: 3000, heap: 200, slab: 5000, tcpPages: 4, sockets: 12}
	m := after.since(memory{resident: 1000, heap: 100, slab: 1000, tcpPages: 2, sockets: 2}, 10, true)
	if m.UserBytes != 200 || m.HeapBytes != 10 || m.SlabBytes != 400 || m.SocketPagesBytes != 2.0*pageBytes/10 || m.Sockets != 10 || !m.KernelBothEnds {
		t.Errorf("%+v", m)
	}
}
