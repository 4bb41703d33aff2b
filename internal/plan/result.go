package plan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Line is what a plan reads of a result of the bench. A test holds it to
// bench.Result, whose package also carries the machinery that measures.
type Line struct {
	Profile     string    `json:"profile"`
	When        time.Time `json:"when"`
	Machine     Machine   `json:"machine"`
	Connections int       `json:"connections"`
	Rate        float64   `json:"rate"`
	PerWrite    int       `json:"per_write"`
	Valid       bool      `json:"valid"`
	Noisy       []string  `json:"noisy"` // why the machine was not the run's own
	ServerFlags []string  `json:"server_flags"`
	AcceptedPS  float64   `json:"accepted_per_second"`
	DeliveredPS float64   `json:"delivered_per_second"`

	Delivery Percentiles `json:"delivery"`
	Ack      Percentiles `json:"ack"`

	ServerCPUPerMessageUs float64            `json:"server_cpu_us_per_message"`
	ServerCores           float64            `json:"server_cores"`
	ProcessCores          map[string]float64 `json:"process_cores"`
	LoadCores             float64            `json:"load_cores"`
	StolenCores           float64            `json:"stolen_cores"`
	ForeignCores          float64            `json:"foreign_cores"`
	BytesPerConnection    float64            `json:"bytes_per_connection"`
	BytesPerSilent        float64            `json:"bytes_per_silent_connection"`
	EmptyBytes            float64            `json:"empty_bytes"`
	SettledBytes          float64            `json:"settled_bytes"`

	Connects  []Connects `json:"connects"`
	Reconnect *Reconnect `json:"reconnect"`

	Error string `json:"error"` // of a suite's round that measured nothing
	From  string `json:"-"`     // file:line
}

// Machine is where it was measured.
type Machine struct {
	CPUs    int    `json:"cpus"`
	Version string `json:"version"`
}

// Percentiles in microseconds.
type Percentiles struct {
	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`
}

// Connects is what connections cost on a kind of server.
type Connects struct {
	Server string  `json:"server"`
	CPUUs  float64 `json:"server_cpu_us_per_connect"`
}

// Reconnect is how everybody came back.
type Reconnect struct {
	Sessions    int         `json:"sessions"`
	SettledSecs float64     `json:"settled_seconds"`
	Session     Percentiles `json:"session"`
	CPUUs       float64     `json:"server_cpu_us_per_session"`
}

// maxLine bounds a line of JSON; raw histograms make them long.
const maxLine = 64 << 20

// source says which measurement it is.
func (l Line) source() string {
	s := fmt.Sprintf("bench %s, %s sessions", l.Profile, digits(float64(l.Connections)))
	if l.Rate > 0 {
		s += fmt.Sprintf(", %s msg/s", digits(l.Rate))
	}
	version := l.Machine.Version
	if version == "" {
		version = "unknown"
	}
	if len(l.Noisy) > 0 {
		version += noisyMark + strings.Join(l.Noisy, ", ") + ")"
	}
	return fmt.Sprintf("%s; commit %s, %s; %s", s, version, l.When.UTC().Format("2006-01-02"), l.From)
}

// noisyMark stands in the source of a figure from a noisy run.
const noisyMark = " (noisy: "

// ReadLines reads JSON lines as rookery bench writes them, a suite's
// rounds.jsonl too. Empty lines and rounds that measured nothing are passed
// over; anything else that is no result is an error with its place.
func ReadLines(r io.Reader, from string) ([]Line, error) {
	var lines []Line
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, maxLine)
	for n := 1; scan.Scan(); n++ {
		text := bytes.TrimSpace(scan.Bytes())
		if len(text) == 0 {
			continue
		}
		if string(text) == "{" || string(text) == "[" {
			return nil, fmt.Errorf("plan: %s:%d is JSON over several lines, such as a run's summary.json: give what has a line for each result, such as its rounds.jsonl", from, n)
		}
		l := Line{From: fmt.Sprintf("%s:%d", from, n)}
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("plan: %s is no line of rookery bench: %w", l.From, err)
		}
		if l.Error != "" {
			continue
		}
		if l.Profile == "" {
			return nil, fmt.Errorf("plan: %s is no line of rookery bench: it names no profile", l.From)
		}
		lines = append(lines, l)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("plan: %s: %w", from, err)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("plan: %s has no results", from)
	}
	return lines, nil
}
