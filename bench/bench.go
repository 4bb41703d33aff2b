// Package bench measures a server from outside: an open-loop load, latencies
// from when a message was due (no coordinated omission), HDR histograms, the
// server's processor time and memory as the kernel counts them. A run in which
// the load itself fell behind its schedule says that it is invalid.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options say what to measure.
type Options struct {
	Profile      string        // the name of one of Profiles
	Connections  int           // sessions; 0 is the profile's own number
	Rate         float64       // messages a second; 0 is the profile's own
	PerWrite     int           // messages a write; 0 is the profile's own
	Size         int           // bytes of content, at least 8; 0 is 100
	Encrypted    bool          // trickle, firehose, real: messages of the suite of encrypted ones, with random content as ciphertext is
	Warmup       time.Duration // before it counts; 0 is 3 s
	Rise         bool          // the rate rises to what it is through the warm-up
	Duration     time.Duration // that counts; 0 is the profile's own
	Contacts     int           // whom a session writes to, where the profile lets it be said; 0 is everybody
	LookEvery    time.Duration // least time between two looks of the load at its schedule and its sockets: what it measures is later by as much
	Silent       bool          // idle: no session sends or receives a message
	MarkEvery    time.Duration // least time between two marks of a receiver; 0 is the profile's own, mostly 5 ms
	Group        bool          // fanout: to the members of a group instead of to devices of one user
	Cluster      string        // folder of the cluster that scripts/cluster.sh has started, for real
	Dir          string        // where the server's data goes; "" is a temporary folder
	Servers      int           // server processes, each for itself, that share the sessions of idle and trickle; 0 is one
	Processes    int           // that make the load; 0 is as many as their descriptors ask for
	Agents       []string      // host:port of agents on other machines, which make the load instead
	Listen       string        // IPv4 address of this machine for the server's sockets, which agents reach; "" is 127.0.0.1
	Secret       []byte        // that those agents know, at least SecretBytes
	ServerFlags  []string      // passed to `rookery serve` behind the profile's own
	Peers        string        // folder of the programs that echo compares with; "" is .cache/peers, if it is there
	PeerVariants bool          // echo: each of a peer's settings instead of its best
	SDK          string        // crypto: folder of what scripts/js.sh rounds makes; "" is .cache/bench-crypto, if it is there
	Target       string        // echo: this one of EchoTargets alone, its noisy rounds left for the caller to repeat; "" is all
	EchoIdle     int           // echo: connections whose memory is taken; 0 is 10,000, negative none
	Version      string        // of the program, for the fingerprint
	Progress     io.Writer     // a line now and then
}

// Percentiles of a histogram, in microseconds.
type Percentiles struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_us"`
	P90   int64 `json:"p90_us"`
	P99   int64 `json:"p99_us"`
	P999  int64 `json:"p999_us"`
	Max   int64 `json:"max_us"`
}

func percentiles(h *hdrhistogram.Histogram) Percentiles {
	return Percentiles{h.TotalCount(), h.ValueAtQuantile(50), h.ValueAtQuantile(90), h.ValueAtQuantile(99), h.ValueAtQuantile(99.9), h.Max()}
}

// Result is what a run found; one line of JSON.
type Result struct {
	Profile     string      `json:"profile"`
	When        time.Time   `json:"when"`
	Machine     Machine     `json:"machine"`
	Connections int         `json:"connections"`
	Rate        float64     `json:"rate,omitempty"` // asked for, messages a second
	PerWrite    int         `json:"per_write,omitempty"`
	MarkEveryMs float64     `json:"mark_every_ms,omitempty"`
	LookEveryMs float64     `json:"look_every_ms,omitempty"`
	Rise        bool        `json:"rise,omitempty"` // the rate rose to what it is through the warm-up
	Contacts    int         `json:"contacts,omitempty"`
	SizeBytes   int         `json:"size_bytes,omitempty"`
	Encrypted   bool        `json:"encrypted,omitempty"`
	ServerFlags []string    `json:"server_flags,omitempty"`
	Servers     int         `json:"servers,omitempty"` // processes that know nothing of each other
	Seconds     float64     `json:"seconds,omitempty"` // that counted
	Valid       bool        `json:"valid"`
	Invalid     []string    `json:"invalid,omitempty"` // why not
	Sent        uint64      `json:"sent,omitempty"`
	Accepted    uint64      `json:"accepted,omitempty"` // acknowledged as durable
	Refused     uint64      `json:"refused,omitempty"`
	Stored      uint64      `json:"stored,omitempty"`    // at the end of the load
	Delivered   uint64      `json:"delivered,omitempty"` // at the end of the load
	Receipts    uint64      `json:"receipts,omitempty"`
	AcceptedPS  float64     `json:"accepted_per_second,omitempty"`
	StoredPS    float64     `json:"stored_per_second,omitempty"`
	DeliveredPS float64     `json:"delivered_per_second,omitempty"`
	DrainedSecs float64     `json:"drained_seconds,omitempty"` // until everything was stored and delivered
	ReadBack    uint64      `json:"read_back,omitempty"`       // bodies compared with the store's afterwards
	Delivery    Percentiles `json:"delivery"`
	Ack         Percentiles `json:"ack"`
	LoadLag     Percentiles `json:"load_lag"`

	ServerCPUPerMessageUs    float64            `json:"server_cpu_us_per_message,omitempty"`      // delivered; what it did for those that wait counts against it
	AllocationsPerMessage    float64            `json:"server_allocations_per_message,omitempty"` // of all that were delivered from the load's begin until it was drained
	ServerCores              float64            `json:"server_cores,omitempty"`
	ProcessCores             map[string]float64 `json:"process_cores,omitempty"` // of a cluster
	LoadCores                float64            `json:"load_cores,omitempty"`
	StolenCores              float64            `json:"stolen_cores"`                          // taken by other guests of the machine meanwhile
	BytesPerConnection       float64            `json:"bytes_per_connection,omitempty"`        // after each has received a message
	BytesPerSilentConnection float64            `json:"bytes_per_silent_connection,omitempty"` // before
	EmptyBytes               int64              `json:"empty_bytes,omitempty"`
	SettledBytes             int64              `json:"settled_bytes,omitempty"`
	PeakBytes                int64              `json:"peak_bytes,omitempty"`
	NeighboursBefore         *Percentiles       `json:"neighbours_before,omitempty"`
	FrozenGot                uint64             `json:"frozen_got,omitempty"`
	FrozenWaiting            uint64             `json:"frozen_waiting,omitempty"`

	ForeignCores  float64           `json:"foreign_cores"`            // of this machine, taken by neither server nor load
	Noisy         []string          `json:"noisy,omitempty"`          // why the machine was not the run's own
	Histograms    map[string]string `json:"histograms,omitempty"`     // HdrHistogram V2, compressed, base64: us
	Warnings      []string          `json:"warnings,omitempty"`       // what to know before a figure is used
	LoadProcesses int               `json:"load_processes,omitempty"` // that the load came from
	ClockErrorUs  int64             `json:"clock_error_us,omitempty"` // of latencies between machines, at most
	Memory        *MemoryFigures    `json:"memory,omitempty"`         // of idle
	Connects      []ConnectFigures  `json:"connects,omitempty"`       // of connect
	Fanout        []FanoutFigures   `json:"fanout,omitempty"`         // of fanout
	Reconnect     *ReconnectFigures `json:"reconnect,omitempty"`      // of reconnect
	Echo          []EchoResult      `json:"echo,omitempty"`           // of echo: lines of their own, in place of this one
	Stages        []StageFigures    `json:"stages,omitempty"`         // of stages
	Crypto        []CryptoFigures   `json:"crypto,omitempty"`         // of crypto
	TimeLines     []TimeLine        `json:"time_lines,omitempty"`
}

// TimeLine is a figure as it went in the time that counts; of slow, in both its
// phases, one behind the other. What is less than a step at the end is left out.
type TimeLine struct {
	Name   string    `json:"name"` // such as "delivered"
	Unit   string    `json:"unit"`
	StepS  float64   `json:"step_s"` // seconds between two values
	Values []float64 `json:"values"`
}

// KeepHistogram keeps a histogram of microseconds raw, by a name such as
// delivery, so that it can be drawn and merged later.
func (r *Result) KeepHistogram(name string, h *hdrhistogram.Histogram) error {
	if h.TotalCount() == 0 {
		return nil
	}
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return err
	}
	if r.Histograms == nil {
		r.Histograms = map[string]string{}
	}
	r.Histograms[name] = string(b)
	return nil
}

// Profile is something that can be measured.
type Profile struct {
	Name, What string

	run func(context.Context, *Options, *Result) error
}

// Profiles returns what can be measured.
func Profiles() []Profile {
	return []Profile{
		{Name: "idle", What: "resident bytes per idle session, after each has received a message", run: idle},
		{Name: "echo", What: "framing and loop alone: messages sent back for a processor second, beside peers and bare echoes", run: compareEchoes},
		{Name: "trickle", What: "open-loop Poisson sends from many sessions: delivery and acknowledgement latency", run: trickle},
		{Name: "firehose", What: "many packets a write, as much as the log takes: accepted, stored, delivered", run: firehose},
		{Name: "connect", What: "connections, in a storm and at a rate, beside a server that only shakes hands", run: connecting},
		{Name: "fanout", What: "one message to 2 … 10,000 sockets: processor time a recipient", run: fanout},
		{Name: "reconnect", What: "everybody at once: all sockets close, and come back as an SDK does", run: reconnect},
		{Name: "slow", What: "ten readers stop reading while the others go on", run: slow},
		{Name: "stages", What: "each stage alone, in this process: decode, append, durable, store, deliver", run: stages},
		{Name: "crypto", What: "end-to-end encryption in both SDKs: processor time of a session, a message, an attachment", run: cryptography},
		{Name: "real", What: "like trickle, through the balancer of the cluster that --cluster names", run: throughCluster},
	}
}

// ErrInvalid says that the load could not keep its own schedule.
var ErrInvalid = errors.New("bench: the run is invalid")

// Run measures. The result is valid to print whenever it is not nil, also with
// ErrInvalid.
func Run(ctx context.Context, o Options) (*Result, error) {
	profiles := Profiles()
	i := slices.IndexFunc(profiles, func(p Profile) bool { return p.Name == o.Profile })
	if i < 0 {
		return nil, fmt.Errorf("bench: unknown profile %q", o.Profile)
	}
	if o.Size == 0 {
		o.Size = 100
	}
	if o.Size < 8 {
		return nil, errors.New("bench: a message has at least 8 bytes, for the time it was due")
	}
	if o.Warmup == 0 {
		o.Warmup = 3 * time.Second
	}
	if o.Encrypted && o.Profile != "trickle" && o.Profile != "firehose" && o.Profile != "real" {
		return nil, errors.New("bench: only trickle, firehose and real send messages as encrypted ones are")
	}
	if (o.Profile == "real") != (o.Cluster != "") {
		return nil, errors.New("bench: the profile real, and no other, needs the folder of a cluster")
	}
	if o.Servers > 1 && o.Profile != "idle" && o.Profile != "trickle" {
		return nil, errors.New("bench: only idle and trickle take several servers")
	}
	if len(o.Agents) > 0 && (o.Profile == "echo" || o.Profile == "stages" || o.Profile == "crypto") {
		return nil, fmt.Errorf("bench: %s makes its load in this process, not in agents", o.Profile)
	}
	if at, err := netip.ParseAddr(o.Listen); o.Listen != "" && (err != nil || !at.Is4() || at.IsUnspecified()) {
		return nil, fmt.Errorf("bench: the server is to listen on an IPv4 address of this machine, not on %q", o.Listen)
	}
	setDefault(&o.Listen, "127.0.0.1")
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "rookery-bench-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	r := &Result{Profile: o.Profile, When: time.Now().UTC(), Machine: Fingerprint(o.Version), Valid: true}
	noise := listen()
	if err := profiles[i].run(ctx, &o, r); err != nil {
		return nil, err
	}
	noise.heard(r, o.Cluster != "")
	if r.Valid = len(r.Invalid) == 0; !r.Valid {
		return r, ErrInvalid
	}
	return r, nil
}

// address is where a server's sockets listen.
func (o *Options) address() string { return o.Listen + ":0" }

// WriteJSON writes the result as one line; echo's as one line for each target
// and depth.
func (r *Result) WriteJSON(w io.Writer) error {
	if len(r.Echo) > 0 {
		return writeLines(w, r.Echo)
	}
	return json.NewEncoder(w).Encode(r)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
