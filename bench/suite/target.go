package suite

import "fmt"

// Target is what is aimed at.
type Target struct {
	What  string  `json:"what"`
	Step  string  `json:"step"`
	Name  string  `json:"name"`
	Over  string  `json:"over,omitempty"` // divided by this step's figure of the same name
	Bound float64 `json:"bound"`
	Least bool    `json:"least"` // at least the bound, else at most
	Unit  string  `json:"unit"`
}

// Reached is a target with what a run found.
type Reached struct {
	Target
	Measured bool    `json:"measured"`
	Value    float64 `json:"value"`
	Reached  bool    `json:"reached"`
	Figure   *Figure `json:"figure,omitempty"`
	Note     string  `json:"note,omitempty"`
}

// targets are those of the project. What a run of one small machine cannot show
// stands with what it can.
var targets = []Target{
	{What: "echo, one message in flight, of the bare echo in C", Step: ours, Name: "1 in flight: " + toC, Bound: 0.95, Least: true},
	{What: "echo, 16 in flight, of the bare echo in C", Step: ours, Name: "16 in flight: " + toC, Bound: 0.95, Least: true},
	{What: "echo, 16 in flight, times the best other library with its first settings", Step: ours, Name: "16 in flight: " + toPeer, Bound: 10, Least: true},
	{What: "echo, 64 in flight, of the bare echo in C", Step: ours, Name: "64 in flight: " + toC, Bound: 0.9, Least: true},
	{What: "pipelined senders, 16 in flight, p99", Step: ours, Name: "16 in flight: p99", Bound: 40, Unit: "ms"},
	{What: "pipelined senders, 64 in flight, p99", Step: ours, Name: "64 in flight: p99", Bound: 40, Unit: "ms"},
	{What: "resident bytes of an idle session (aim: at 1,000,000; here 15,000)", Step: "idle@15000", Name: "bytes a session", Bound: 256, Unit: "B"},
	{What: "firehose, accepted and durable", Step: "firehose@1160000", Name: "accepted", Bound: 1_160_000, Least: true, Unit: "/s"},
	{What: "firehose, stored", Step: "firehose@1160000", Name: "stored", Bound: 1_160_000, Least: true, Unit: "/s"},
	{What: "firehose, delivered", Step: "firehose@1160000", Name: "delivered", Bound: 1_160_000, Least: true, Unit: "/s"},
	{What: "firehose, delivery p99", Step: "firehose@1160000", Name: "delivery p99", Bound: 100, Unit: "ms"},
	{What: "durable delivery, 10,000 connections, 20,000 msg/s, p50", Step: "trickle@20000", Name: "delivery p50", Bound: 2, Unit: "ms"},
	{What: "durable delivery, 10,000 connections, 20,000 msg/s, p99", Step: "trickle@20000", Name: "delivery p99", Bound: 10, Unit: "ms"},
	{What: "CPU a message, 10,000 connections over 1,000 (aim: 1,000,000)", Step: "trickle@5000", Name: "server CPU a message", Over: "trickle@5000/1000", Bound: 1.3},
	{What: "CPU a message, encrypted over plain of the same size", Step: "trickle@5000/encrypted", Name: "server CPU a message", Over: "trickle@5000/plain", Bound: 1.05},
	{What: "one message to 10,000 sockets, CPU a recipient before the kernel", Step: "fanout", Name: "to 10000: CPU a recipient before the kernel", Bound: 1, Unit: "us"},
	{What: "connect storm, of raw accept and handshake", Step: "connect", Name: "rookery, storm: rate, of a bare server's", Bound: 1, Least: true},
	{What: "everybody at once, errors shown to apps (aim: of 100,000; here 15,000)", Step: "reconnect", Name: "errors shown to apps, and sessions not back", Bound: 0},
	{What: "sessions in one server, both ends on one host, 11,600 msg/s flowing", Step: trickleMillion, Name: "connections", Bound: 1_000_000, Least: true},
	{What: "the same, delivered meanwhile", Step: trickleMillion, Name: "delivered", Bound: 11_600, Least: true, Unit: "/s"},
	{What: "the same, delivery p99", Step: trickleMillion, Name: "delivery p99", Bound: 100, Unit: "ms"},
	{What: "CPU a message, 1,000,000 sessions over 1,040", Step: trickleMillion, Name: "server CPU a message", Over: trickleFew, Bound: 1.3},
	{What: "resident bytes of an idle session, 1,000,000 in one process, memtables of 1 MiB", Step: idleMillion, Name: "bytes a silent session", Bound: 256, Unit: "B"},
	{What: "100,000 at once, errors shown to apps", Step: reconnectMany, Name: "errors shown to apps, and sessions not back", Bound: 0},
}

// reached compares a summary's figures with the targets, by their medians: never
// rounded.
func reached(s *Summary) (all []Reached) {
	for _, t := range targets {
		r := Reached{Target: t, Note: "not measured in this run"}
		if f := s.Figure(t.Step, t.Name); f != nil {
			r.Measured, r.Value, r.Figure, r.Note = true, f.Spread.Median, f, ""
			if t.Over != "" {
				over := s.Figure(t.Over, t.Name)
				if r.Measured = over != nil && over.Spread.Median > 0; !r.Measured {
					r.Note = "not measured in this run"
					all = append(all, r)
					continue
				}
				r.Value /= over.Spread.Median
			}
			if r.Reached = r.Value <= t.Bound; t.Least {
				r.Reached = r.Value >= t.Bound
			}
			if f.Bad > 0 {
				r.Note = badNote(f)
			}
		}
		all = append(all, r)
	}
	return all
}

func badNote(f *Figure) string {
	if f.Bad == len(f.Values) {
		return "every round was noisy or invalid"
	}
	return fmt.Sprintf("%d of %d rounds were noisy or invalid", f.Bad, len(f.Values))
}
