package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What everybody has and has persisted is forgotten, and nothing else.
func TestOnlyWhatIsSettledIsForgotten(t *testing.T) {
	s := newStory(t)
	s.attempt(3)
	s.promise()
	s.all(s.bob)
	s.all(s.bobToo)
	l, later := s.w.ledger, time.Now().Add(time.Hour)
	left := func(what string, before time.Time, want int) {
		t.Helper()
		if l.settle(before); len(l.sent) != want {
			t.Fatalf("%s: %d are left, want %d", what, len(l.sent), want)
		}
	}
	left("the copies are missing", later, 3)
	s.copies()
	left("nobody has persisted any", later, 3)
	s.bob.persist()
	s.alice.persist()
	s.aliceToo.persist()
	left("one device has not", later, 3)
	s.bobToo.persist()
	left("they are young", time.Now().Add(-time.Hour), 3)
	left("all have them", later, 0)
	if len(l.byTo["bob"])+len(l.byFrom["alice"]) != 0 {
		t.Error("the lists still have them")
	}
	s.say(s.bob, typeMessage, 104, 1, s.sent[0].id[:], "alice", 0, 0, []byte(s.sent[0].content()))
	if kinds := s.kinds(); !slices.Equal(kinds, []string{"unexpected"}) {
		t.Errorf("one that comes again: %v", l.faults)
	}
}

// Of what was retried, outcomes may come at any time.
func TestWhatWasRetriedIsNotForgotten(t *testing.T) {
	s := newStory(t)
	s.attempt(1)
	s.connect(s.alice, s.alicePos)
	s.attempt(1)
	s.promise()
	s.all(s.bob)
	s.all(s.bobToo)
	s.copies()
	for _, d := range s.w.devices {
		d.persist()
	}
	s.w.ledger.settle(time.Now().Add(time.Hour))
	s.say(s.alice, typeOutcome, s.sent[0].id[:], "bob", 0, first)
	if len(s.w.ledger.faults) > 0 {
		t.Error(s.w.ledger.faults)
	}
}

// A client that lost its memory knows the receipts that it had persisted.
func TestACrashTakesWhatWasNotPersisted(t *testing.T) {
	s := newStory(t)
	s.good()
	s.copies()
	s.alice.persist()
	s.receipt(103, 103)
	s.alice.crash()
	if r := s.alice.receipts["bob"]; r != [2]uint64{103, 0} {
		t.Errorf("receipts %v, want what was persisted", r)
	}
	s.bob.crash() // had persisted all
	s.bobToo.crash()
	messages, copies := s.w.lost(s.bobToo)
	if len(messages) != 3 || len(copies) != 0 {
		t.Errorf("%d messages and %d copies have to come again, want 3 and 0", len(messages), len(copies))
	}
	if messages, _ := s.w.lost(s.bob); len(messages) != 0 {
		t.Errorf("%d messages have to come again to who had persisted them", len(messages))
	}
}

func TestEveryFaultBefallsEverything(t *testing.T) {
	s := &storm{o: &stormOptions{faults: "kill,pause", scenes: "none"}}
	plan, err := s.plan()
	if err != nil || len(plan) != 2*len(targets) {
		t.Errorf("%v, %v", plan, err)
	}
	s.o.targets, s.o.scenes = "redis,gateway", "zombie,buffered"
	plan, err = s.plan()
	want := []fault{{"buffered", ""}, {"kill", "gateway"}, {"kill", "redis"}, {"pause", "gateway"}, {"pause", "redis"}, {"zombie", ""}}
	if err != nil || !slices.Equal(plan, want) {
		t.Errorf("%v, %v; want %v", plan, err, want)
	}
	s.o.faults = "kill,flood"
	if _, err := s.plan(); err == nil {
		t.Error("flood is taken for a fault")
	}
}

func TestCutsAreKeptToANetworkOfTheirOwn(t *testing.T) {
	s := &storm{o: &stormOptions{faults: "cut", scenes: "none"}}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.plan(); err == nil && len(interfaces) > 1 {
		t.Error("packets would be dropped in the machine's own network")
	}
}

// The report is one page that needs nothing beside it.
func TestErrorsOfDialsAreCountedByKind(t *testing.T) {
	reset := func(port int) error {
		op := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Err: syscall.ECONNRESET}
		return fmt.Errorf("failed to send handshake request: %w", &url.Error{Op: "Get", URL: "https://127.0.0.1:1/ws/ann", Err: op})
	}
	if a, b := kindOf(reset(1)), kindOf(reset(2)); a != b || a != "read: connection reset by peer" {
		t.Errorf("%q and %q", a, b)
	}
	if k := kindOf(fmt.Errorf(`failed to WebSocket dial: %w`, &url.Error{Op: "Get", URL: "https://127.0.0.1:1/ws/ann", Err: io.EOF})); k != "EOF" {
		t.Errorf("%q", k)
	}
}

func TestTheReport(t *testing.T) {
	s := &storm{crowd: crowd{ledger: newLedger()}, o: &stormOptions{out: filepath.Join(t.TempDir(), "out"), rate: 10, sockets: 4}, times: newTimes()}
	s.times.seconds = make([]second, 30)
	for i := range s.times.seconds {
		s.times.seconds[i].latencies = []uint32{uint32(i+1) * 10, 50, 20000}
		s.times.seconds[i].memory = map[string]int64{"gateway-1": int64(i) << 20}
	}
	s.times.events = []*event{{What: "kill", Target: "gateway-1", Begin: 5, Heal: 8, Whole: 9, Recovered: []float64{3, 1, 2}}}
	s.ledger.fault("lost: <one> message")
	s.times.finish()
	if err := s.report(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(s.o.out, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if r.Seconds != 30 || r.FaultsCount != 1 || r.MemoryMB["gateway-1"] != 29 || len(r.Events) != 1 || r.Events[0].P50 != 2 || r.Events[0].P99 != 3 {
		t.Errorf("%+v, %+v", r, r.Events[0])
	}
	if l := r.Line[9]; l.P50 != 10 || l.P99 != 2000 {
		t.Errorf("second 9: %+v", l)
	}
	page, err := os.ReadFile(filepath.Join(s.o.out, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "polyline", "kill gateway-1", "1 promises broken", "lost: &lt;one&gt; message"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, not := range []string{"src=", "href=", "http"} {
		if strings.Contains(string(page), not) {
			t.Errorf("the page needs something beside it: %q", not)
		}
	}
}
