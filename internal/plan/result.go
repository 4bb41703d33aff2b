package plan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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
	EmptyBytes            float64            `json:"empty_bytes"`
	SettledBytes          float64            `json:"settled_bytes"`

	Connects  []Connects `json:"connects"`
	Reconnect *Reconnect `json:"reconnect"`

	From string `json:"-"` // file:line
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
	Sessions    int     `json:"sessions"`
	SettledSecs float64 `json:"settled_seconds"`
	CPUUs       float64 `json:"server_cpu_us_per_session"`
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
	return fmt.Sprintf("%s; commit %s, %s; %s", s, version, l.When.UTC().Format("2006-01-02"), l.From)
}

// ReadLines reads JSON lines as rookery bench writes them. Empty lines are
// passed over; anything else that is no result is an error with its place.
func ReadLines(r io.Reader, from string) ([]Line, error) {
	var lines []Line
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, maxLine)
	for n := 1; scan.Scan(); n++ {
		if len(bytes.TrimSpace(scan.Bytes())) == 0 {
			continue
		}
		l := Line{From: fmt.Sprintf("%s:%d", from, n)}
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("plan: %s is no line of rookery bench: %w", l.From, err)
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
