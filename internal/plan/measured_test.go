package plan

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bench"
)

// TestLinesAreTheBenchs writes a result as the bench does and reads it.
func TestLinesAreTheBenchs(t *testing.T) {
	r := bench.Result{
		Profile: "real", When: time.Date(2026, 11, 24, 1, 0, 0, 0, time.UTC), Machine: bench.Machine{CPUs: 2, Version: "abc"}, Connections: 500,
		Rate: 2000, PerWrite: 4, Valid: true, AcceptedPS: 1999, DeliveredPS: 1998, Delivery: bench.Percentiles{P50: 1, P99: 2}, Ack: bench.Percentiles{P50: 3, P99: 4},
		ServerCPUPerMessageUs: 5, ServerCores: 6, ProcessCores: map[string]float64{"kafka-1": 7}, LoadCores: 8, StolenCores: 9, ForeignCores: 10,
		BytesPerConnection: 11, EmptyBytes: 12, SettledBytes: 13,
		Connects:  []bench.ConnectFigures{{Server: "rookery", CPUUs: 14}},
		Reconnect: &bench.ReconnectFigures{Sessions: 15, SettledSecs: 16, CPUUs: 17, Session: bench.Percentiles{P50: 18, P99: 19}},
		Noisy:     []string{"loud"}, ServerFlags: []string{"--flag"}, BytesPerSilentConnection: 20,
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	lines, err := ReadLines(strings.NewReader("\n"+b.String()), "x.json")
	if err != nil || len(lines) != 1 {
		t.Fatal(lines, err)
	}
	l := lines[0]
	if l.Profile != "real" || !l.When.Equal(r.When) || l.Machine != (Machine{2, "abc"}) || l.Connections != 500 || l.Rate != 2000 || l.PerWrite != 4 || !l.Valid ||
		l.AcceptedPS != 1999 || l.DeliveredPS != 1998 || l.Delivery != (Percentiles{1, 2}) || l.Ack != (Percentiles{3, 4}) || l.ServerCPUPerMessageUs != 5 ||
		l.ServerCores != 6 || l.ProcessCores["kafka-1"] != 7 || l.LoadCores != 8 || l.StolenCores != 9 || l.ForeignCores != 10 || l.BytesPerConnection != 11 ||
		l.EmptyBytes != 12 || l.SettledBytes != 13 || l.Connects[0] != (Connects{"rookery", 14}) || *l.Reconnect != (Reconnect{15, 16, Percentiles{18, 19}, 17}) || l.Noisy[0] != "loud" || l.ServerFlags[0] != "--flag" || l.BytesPerSilent != 20 {
		t.Errorf("a line is read as %+v", l)
	}
	if l.From != "x.json:2" || l.source() != "bench real, 500 sessions, 2,000 msg/s; commit abc (noisy: loud), 2026-11-24; x.json:2" {
		t.Errorf("its source is %s", l.source())
	}
}

func TestFaultyLines(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "has no results",
		"{}":                               "x.json:1 is no line of rookery bench: it names no profile",
		"{\"profile\":\"idle\"}\nhello":    "x.json:2 is no line of rookery bench",
		"{\"profile\":1}":                  "x.json:1",
		"{\n\"profile\":\"idle\"}":         "x.json:1 is JSON over several lines, such as a run's summary.json: give what has a line for each result, such as its rounds.jsonl",
		strings.Repeat(" ", maxLine) + "{": "token too long",
	} {
		if _, err := ReadLines(strings.NewReader(text), "x.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, no word of %q", text, err, want)
		}
	}
}

// TestRoundsOfASuiteAreLines: a round that measured nothing is passed over.
func TestRoundsOfASuiteAreLines(t *testing.T) {
	got := lines(t, `{"step":"idle@1000","round":1,"error":"no server","profile":"idle"}
{"step":"idle@1000","round":1,"attempt":2,"profile":"idle","connections":1000,"valid":true}
`)
	if len(got) != 1 || got[0].From != "given:2" || got[0].Connections != 1000 {
		t.Errorf("rounds are read as %+v", got)
	}
}

// TestBuiltInLinesTellEveryFigure: what no line tells would be 0 in a plan.
func TestBuiltInLinesTellEveryFigure(t *testing.T) {
	p := newPlan(t, planet())
	for _, f := range figures {
		if p.Get(f.name) <= 0 || p.all[f.name].Kind != FromMeasured {
			t.Errorf("%s is not built in", f.name)
		}
	}
}

func TestSilentSessionsTakeTheirOwnMemory(t *testing.T) {
	m, err := NewMeasured(lines(t, `{"profile":"idle","valid":true,"connections":1000,"bytes_per_silent_connection":233,"noisy":["0.70 cores were stolen"]}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(planet(), m, []string{"silent_share=75%", "bytes_per_connection=2000", "kernel_bytes_per_socket=5000"})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "session_bytes", p.Get("session_bytes"), 0.25*2000+0.75*233+5000)
	if all := strings.Join(p.Warnings, "\n"); !strings.Contains(all, "noisy runs, as their sources say: ") || !strings.Contains(all, "bytes_per_silent_connection") || !strings.Contains(p.all["bytes_per_silent_connection"].Source, "0.70 cores were stolen") {
		t.Errorf("no word of the noise: %q", all)
	}
}

// lines reads results from JSON.
func lines(t *testing.T, text string) []Line {
	t.Helper()
	l, err := ReadLines(strings.NewReader(text), "given")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestFiguresComeFromTheLineWithTheMostLoad(t *testing.T) {
	m, err := NewMeasured(lines(t, `
{"profile":"real","valid":true,"rate":200,"accepted_per_second":200,"process_cores":{"gateway-1":1,"gateway-2":1}}
{"profile":"real","valid":true,"rate":9000,"accepted_per_second":1000,"process_cores":{"gateway-1":0.1,"gateway-2":0.3,"gatewayish":5,"scylla-1":0.2}}
{"profile":"real","valid":true,"rate":9000,"accepted_per_second":1000,"process_cores":{"gateway-1":0.5}}
{"profile":"real","valid":true,"rate":9000,"accepted_per_second":1000,"process_cores":{"gateway-1":0.6}}
{"profile":"real","valid":false,"rate":99000,"accepted_per_second":1000,"process_cores":{"gateway-1":7}}
{"profile":"real","valid":true,"rate":300,"accepted_per_second":300,"process_cores":{"gateway-1":3}}
{"profile":"connect","valid":true,"connects":[{"server":"bare","server_cpu_us_per_connect":1},{"server":"rookery","server_cpu_us_per_connect":123}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(planet(), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "gateway_us, the median of three", p.Get("gateway_us"), 500)
	near(t, "store_us", p.Get("store_us"), 200)
	near(t, "connect_us", p.Get("connect_us"), 123)
	near(t, "owner_us, built in", p.Get("owner_us"), newPlan(t, planet()).Get("owner_us"))
	if s := p.all["gateway_us"].Source; !strings.Contains(s, "given:4") || !strings.Contains(s, "median of 3") {
		t.Errorf("gateway_us comes from %s", s)
	}
	if s := p.all["owner_us"].Source; !strings.HasSuffix(s, builtinFrom) {
		t.Errorf("owner_us comes from %s", s)
	}
	if _, err := NewMeasured(lines(t, `{"profile":"idle","valid":false,"bytes_per_connection":1}`)); err == nil {
		t.Error("an invalid run alone is taken")
	}
}
