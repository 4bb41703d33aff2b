package bench

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The control protocol between the coordinator of a load and an agent, which
// makes a part of it: JSON, a line for each message, at most controlLineBytes.
// The agent says agentHello; then each order is answered by one report.
const (
	controlVersion   = 3 // with rise and look_every_ns, which an older agent would leave out
	controlLineBytes = 4 << 20
)

// agentHello is an agent's first line.
type agentHello struct {
	Rookery int `json:"rookery_bench_agent"` // controlVersion
}

// The orders.
const (
	opClock     = "clock"     // say what the clock shows
	opShift     = "shift"     // set the clock right by ShiftNs
	opPrepare   = "prepare"   // make sessions and their tokens
	opConnect   = "connect"   // open them, and report when all are up
	opLoad      = "load"      // send from StartNs on, and report at the end
	opCounts    = "counts"    // report what there is so far
	opLatencies = "latencies" // report the histograms
	opExchange  = "exchange"  // a message from each session to the next one
	opFreeze    = "freeze"    // readers that stop read nothing from now on
	opThaw      = "thaw"      // they read again
	opReconnect = "reconnect" // close all abruptly and come back as an SDK does
	opCut       = "cut"       // close all abruptly
	opGroup     = "group"     // the load's first session has these users in its group
	opReadBack  = "read_back" // compare bodies with the store's
)

// order is what the coordinator asks for.
type order struct {
	Op        string        `json:"op"`
	ShiftNs   int64         `json:"shift_ns,omitempty"`
	Connect   *connectOrder `json:"connect,omitempty"`
	Load      *loadOrder    `json:"load,omitempty"`
	SizeBytes int           `json:"size_bytes,omitempty"` // of exchange and read_back
	Samples   int           `json:"samples,omitempty"`    // of read_back
	First     int           `json:"first,omitempty"`      // of group: the first of the users
	Count     int           `json:"count,omitempty"`      // and how many
	WithinMs  int64         `json:"within_ms,omitempty"`  // of reconnect
	Seed      uint64        `json:"seed,omitempty"`
}

// connectOrder says which sessions to open.
type connectOrder struct {
	To        []netip.AddrPort `json:"to"`
	Key       []byte           `json:"key,omitempty"` // the file that holds the key which signs tokens
	First     int              `json:"first"`
	Count     int              `json:"count"`
	Total     int              `json:"total"`           // sessions of the whole load
	DevicesOf int              `json:"devices_of"`      // the user whose devices they are; -1: each is a user
	Apart     bool             `json:"apart,omitempty"` // the addresses are servers that know nothing of each other
	Bare      bool             `json:"bare,omitempty"`
	AtOnce    int              `json:"at_once,omitempty"`
	Rate      float64          `json:"rate,omitempty"`
	Some      bool             `json:"some,omitempty"`      // not all have to come up
	Returning bool             `json:"returning,omitempty"` // devices show the tokens that they had in the order before
}

// Patterns of a load.
const (
	patternAnyTwo = "any_two"   // from any to any
	patternCircle = "circle"    // from any to those it always talks with
	patternToSlow = "to_slow"   // every other one to one of the readers that stop
	patternOneWay = "first_one" // from the first session to the second user
	patternGroup  = "group"     // from the first session to its group
)

// loadOrder says what to send.
type loadOrder struct {
	StartNs     int64   `json:"start_ns"`
	WarmupNs    int64   `json:"warmup_ns"`
	Rise        bool    `json:"rise,omitempty"` // to the rate, through the warm-up
	DurationNs  int64   `json:"duration_ns"`
	Rate        float64 `json:"rate"` // messages a second, of this agent; 0: it only receives
	PerWrite    int     `json:"per_write"`
	SizeBytes   int     `json:"size_bytes"`
	Encrypted   bool    `json:"encrypted,omitempty"`
	MarkEveryNs int64   `json:"mark_every_ns"`
	LookEveryNs int64   `json:"look_every_ns,omitempty"`
	Contacts    int     `json:"contacts,omitempty"` // of each session, even; for patternCircle
	Seed        uint64  `json:"seed"`
	Pattern     string  `json:"pattern"`
}

// report answers an order.
type report struct {
	Op        string            `json:"op"`
	Error     string            `json:"error,omitempty"`
	NowNs     int64             `json:"now_ns,omitempty"`
	Counts    counts            `json:"counts"`
	Window    counts            `json:"window"`          // of a load, in the time that counts
	Steps     []counts          `json:"steps,omitempty"` // of those, for each whole step of the time lines
	Seconds   float64           `json:"seconds,omitempty"`
	CPUNs     int64             `json:"cpu_ns,omitempty"` // of the agent's process, in those
	Latencies map[string]string `json:"latencies,omitempty"`
	ReadBack  uint64            `json:"read_back,omitempty"`
	Back      *backReport       `json:"back,omitempty"`
}

// latencies are the run's histograms by their names.
func (r *run) latencies() map[string]*hdrhistogram.Histogram {
	return map[string]*hdrhistogram.Histogram{"connect": r.connecting, "delivery": r.delivery, "ack": r.ack, "load_lag": r.lag}
}

func encodeHistogram(h *hdrhistogram.Histogram) (string, error) {
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return string(b), err
}

// errHistogram says that an agent's histogram is none.
var errHistogram = errors.New("bench: not a histogram")

// decodeHistogram reads what encodeHistogram wrote. The library trusts what it
// reads.
func decodeHistogram(s string) (h *hdrhistogram.Histogram, err error) {
	const least = 8 // cookie and length
	if b, err := base64.StdEncoding.DecodeString(s); err != nil || len(b) < least {
		return nil, errHistogram
	}
	defer func() {
		if recover() != nil {
			h, err = nil, errHistogram
		}
	}()
	return hdrhistogram.Decode([]byte(s))
}

// agent makes its part of a load.
type agent struct {
	run    *run
	token  func(user string) (string, error)
	begun  []*conn // that are prepared
	orders chan *order

	tokens    map[string]string // of devices that return, by user
	tokensKey []byte            // the key's file that signed them

	out      *json.Encoder
	idleMark int64
}

// idleFor is how long an agent with open sockets waits for them before it looks
// for an order.
const idleFor = 2 * time.Millisecond

// Agent serves one coordinator until it closes the link, which it does at the
// end of its run, or ctx ends.
func Agent(ctx context.Context, link io.ReadWriter) error {
	r, err := newRun()
	if err != nil {
		return err
	}
	defer r.loop.close()
	a := &agent{run: r, orders: make(chan *order, 1), out: json.NewEncoder(link)}
	if err := a.out.Encode(agentHello{controlVersion}); err != nil {
		return fmt.Errorf("bench: agent: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go a.listen(link, cancel)
	return a.serve(ctx)
}

// StdLink is the link of an agent that was started as a child: its standard
// input and output.
type StdLink struct{}

func (StdLink) Read(b []byte) (int, error)  { return os.Stdin.Read(b) }
func (StdLink) Write(b []byte) (int, error) { return os.Stdout.Write(b) }

// errOver says that the coordinator closed the link.
var errOver = errors.New("bench: the coordinator is gone")

// listen reads orders. It ends with the link, whose end ends the agent.
func (a *agent) listen(link io.Reader, cancel context.CancelCauseFunc) {
	lines := bufio.NewScanner(link)
	lines.Buffer(nil, controlLineBytes)
	for lines.Scan() {
		o := &order{}
		if err := json.Unmarshal(lines.Bytes(), o); err != nil {
			cancel(fmt.Errorf("bench: agent: an order: %w", err))
			return
		}
		select {
		case a.orders <- o:
		default:
			cancel(errors.New("bench: agent: an order came before the report of the one before it"))
			return
		}
	}
	if err := lines.Err(); err != nil && err != io.ErrClosedPipe {
		cancel(fmt.Errorf("bench: agent: %w", err))
		return
	}
	cancel(errOver)
}

func (a *agent) serve(ctx context.Context) error {
	for {
		o, err := a.next(ctx)
		if err == errOver {
			return nil
		}
		if err != nil {
			return err
		}
		rep := &report{Op: o.Op}
		if err := a.do(ctx, o, rep); err != nil {
			rep.Error = err.Error()
		}
		rep.Counts = a.run.counts
		rep.Counts.Up = a.run.done
		if context.Cause(ctx) == errOver {
			return nil
		}
		if err := a.out.Encode(rep); err != nil {
			return fmt.Errorf("bench: agent: %w", err)
		}
	}
}

// next waits for an order, and serves the sockets meanwhile.
func (a *agent) next(ctx context.Context) (*order, error) {
	for {
		if a.run.loop.open == 0 {
			select {
			case o := <-a.orders:
				return o, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		select {
		case o := <-a.orders:
			return o, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		default:
		}
		a.run.loop.poll(a.run.loop.clock() + int64(idleFor)) // what failed is said with the next report
		if a.run.loop.nowNs-a.idleMark > int64(markEvery) && !a.run.holdMarks {
			a.idleMark = a.run.loop.nowNs
			a.run.markAll()
		}
	}
}
