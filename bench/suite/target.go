package suite

import (
	"cmp"
	"fmt"
)

// Target is what is aimed at.
type Target struct {
	What   string  `json:"what"`
	Step   string  `json:"step"`
	Name   string  `json:"name"`
	Over   string  `json:"over,omitempty"`   // divided by this step's figure of the same name, round by round
	Beside string  `json:"beside,omitempty"` // another figure of the step that is shown with it
	Bound  float64 `json:"bound"`
	Least  bool    `json:"least"` // at least the bound, else at most
	Unit   string  `json:"unit"`
	limit
}

// Reached is a target with what a run found.
type Reached struct {
	Target
	Measured bool    `json:"measured"`
	Unjudged bool    `json:"unjudged,omitempty"` // no round is to be believed
	Value    float64 `json:"value"`
	Reached  bool    `json:"reached"`
	Figure   *Figure `json:"figure,omitempty"`
	Aside    *Figure `json:"aside,omitempty"`
	Behind   string  `json:"behind,omitempty"` // the step that fell behind, so that nothing can be compared with it
	Note     string  `json:"note,omitempty"`
}

// Shares that count as all: of what was sent, as something is always under way,
// and of what was offered, below which internal/plan calls a server overloaded too.
const (
	wholeOfSent  = 0.99
	carriedWhole = 0.95
)

// What several targets name.
const (
	most          = "firehose@1160000"
	mostOf        = "firehose of 1,160,000 /s, 64 messages a write: "
	whatWasSent   = "of what was sent"
	cpuAMessage   = "server CPU a message"
	errorsAndAway = "errors shown to apps, and sessions not back"
)

// targets are those of the project. What a run of one small machine cannot show
// stands with what it can.
var targets = []Target{
	{What: "echo, one message in flight, of the bare echo in C", Step: ours, Name: "1 in flight: " + toC, Bound: 0.95, Least: true, limit: framing},
	{What: "echo, 16 in flight, of the bare echo in C", Step: ours, Name: "16 in flight: " + toC, Bound: 0.95, Least: true, limit: framing},
	{What: "echo, 16 in flight, times the best other library with its first settings", Step: ours, Name: "16 in flight: " + toPeer, Bound: 10, Least: true, limit: joining},
	{What: "echo, 64 in flight, of the bare echo in C", Step: ours, Name: "64 in flight: " + toC, Bound: 0.9, Least: true, limit: framing},
	{What: "pipelined senders, 16 in flight, p99", Step: ours, Name: "16 in flight: p99", Bound: 40, Unit: "ms", limit: turns},
	{What: "pipelined senders, 64 in flight, p99", Step: ours, Name: "64 in flight: p99", Bound: 40, Unit: "ms", limit: turns},
	{What: "resident bytes of an idle session (aim: at 1,000,000; here 15,000)", Step: "idle@15000", Name: "bytes a session", Bound: 256, Unit: "B", limit: firstRows},
	{What: mostOf + "accepted, durable", Step: most, Name: "accepted" + ofSent, Beside: "accepted", Bound: wholeOfSent, Least: true, Unit: whatWasSent, limit: takingIn},
	{What: mostOf + "stored", Step: most, Name: "stored" + ofSent, Beside: "stored", Bound: wholeOfSent, Least: true, Unit: whatWasSent, limit: storing},
	{What: mostOf + "delivered", Step: most, Name: "delivered" + ofSent, Beside: "delivered", Bound: wholeOfSent, Least: true, Unit: whatWasSent, limit: storing},
	{What: mostOf + "delivery p99", Step: most, Name: "delivery p99", Bound: 100, Unit: "ms", limit: storing},
	{What: "durable delivery, 10,000 connections, 20,000 msg/s, p50", Step: "trickle@20000", Name: "delivery p50", Bound: 2, Unit: "ms", limit: sending},
	{What: "durable delivery, 10,000 connections, 20,000 msg/s, p99", Step: "trickle@20000", Name: "delivery p99", Bound: 10, Unit: "ms", limit: sending},
	{What: "CPU a message, 10,000 connections over 1,000 (aim: 1,000,000)", Step: "trickle@5000", Name: cpuAMessage, Over: "trickle@5000/1000", Bound: 1.3, limit: scatter},
	{What: "CPU a message, encrypted over plain of the same size", Step: "trickle@5000/encrypted", Name: cpuAMessage, Over: "trickle@5000/plain", Bound: 1.05, limit: blind},
	{What: "one message to 10,000 sockets, CPU a recipient before the kernel", Step: "fanout", Name: "to 10000: CPU a recipient before the kernel", Bound: 1, Unit: "us", limit: samples},
	{What: "connect storm, of raw accept and handshake", Step: "connect", Name: "rookery, storm: rate, of a bare server's", Bound: 1, Least: true, limit: greeting},
	{What: "everybody at once, errors shown to apps (aim: of 100,000; here 15,000)", Step: "reconnect", Name: errorsAndAway, Bound: 0, limit: backlog},
	{What: "sessions in one server, both ends on one host, 11,600 msg/s flowing", Step: trickleMillion, Name: "connections", Bound: 1_000_000, Least: true, limit: descriptors},
	{What: "the same, delivered of 11,600 /s meanwhile", Step: trickleMillion, Name: "delivered" + ofSent, Beside: "delivered", Bound: wholeOfSent, Least: true, Unit: whatWasSent, limit: ownersLast},
	{What: "the same, delivery p99", Step: trickleMillion, Name: "delivery p99", Bound: 100, Unit: "ms", limit: ownersLast},
	{What: "CPU a message, 1,000,000 sessions over 1,040", Step: trickleMillion, Name: cpuAMessage, Over: trickleFew, Bound: 1.3, limit: firstMarks},
	{What: "resident bytes of an idle session, 1,000,000 in one process, memtables of 1 MiB", Step: idleMillion, Name: "bytes a silent session", Bound: 256, Unit: "B", limit: silent},
	{What: "cluster on one machine, 2,000 msg/s, delivery p99", Step: realSteady, Name: "delivery p99", Bound: 100, Unit: "ms", limit: requests},
	{What: "firehose of 1,160,000 /s into Kafka, 64 messages a write: accepted, durable", Step: realMost, Name: "accepted" + ofSent, Beside: "accepted", Bound: wholeOfSent, Least: true, Unit: whatWasSent, limit: intoKafka},
	{What: "100,000 at once, errors shown to apps", Step: reconnectMany, Name: errorsAndAway, Bound: 0, limit: backlog},
}

// figure is the name of what is judged.
func (t *Target) figure() string {
	if t.Over != "" {
		return t.Name + ", over " + t.Over
	}
	return t.Name
}

// reached compares a summary's figures with the targets of its plan, by their
// medians: never rounded.
func reached(s *Summary) (all []Reached) {
	planned := measures(s.Plan)
	for _, t := range targets {
		f := s.Figure(t.Step, t.figure())
		if f == nil && (!planned[t.Step] || t.Over != "" && !planned[t.Over]) {
			continue
		}
		r := Reached{Target: t, Figure: f, Measured: f != nil, Note: "not measured in this run"}
		if r.Measured {
			r.judge(s)
		}
		all = append(all, r)
	}
	return all
}

// judge says what a figure that was measured comes to.
func (r *Reached) judge(s *Summary) {
	f := r.Figure
	r.Value, r.Note, r.Aside = f.Spread.Median, "", s.Figure(r.Step, r.Beside)
	switch {
	case f.Bad == len(f.Values):
		r.Unjudged, r.Note = true, "every round was noisy or invalid"
		return
	case f.Bad > 0:
		r.Note = fmt.Sprintf("%d of %d rounds were noisy or invalid", f.Bad, len(f.Values))
	}
	if r.Over != "" {
		r.Behind = cmp.Or(s.behind(r.Step), s.behind(r.Over))
	}
	if r.Least {
		r.Reached = r.Value >= r.Bound
	} else {
		r.Reached = r.Value <= r.Bound && r.Behind == ""
	}
}

// behind says how much less than it was offered a step's server delivered. What
// a message costs then cannot be compared: part of the work is still to come.
func (s *Summary) behind(step string) string {
	offered, delivered := s.Figure(step, "offered"), s.Figure(step, "delivered")
	if offered == nil || delivered == nil || delivered.Spread.Median >= carriedWhole*offered.Spread.Median {
		return ""
	}
	return fmt.Sprintf("%s delivered %s of %s a second", step, digits(delivered.Spread.Median), digits(offered.Spread.Median))
}
