package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// Rounds through a real server: every step is reached, and the exit code says
// so.
func TestProbe(t *testing.T) {
	s := startTestServer(t)
	code, out, errOut := s.run("probe", "--count", "3", "--every", "1ms", "--timeout", "20s", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != ExitOK || len(lines) != 4 || errOut != "" {
		t.Fatalf("exit %d\n%s%s", code, out, errOut)
	}
	for i, line := range lines[:3] {
		for _, want := range []string{`"type":"round"`, fmt.Sprintf(`"round":%d`, i+1), `"in_time":true`, `"accepted_ms":`, `"received_ms":`, `"delivered_ms":`} {
			if !strings.Contains(line, want) {
				t.Errorf("round %d: no %s in %s", i+1, want, line)
			}
		}
	}
	for _, want := range []string{`"type":"summary"`, `"rounds":3`, `"in_time":3`, `"lost":0`, `"p99":`} {
		if !strings.Contains(lines[3], want) {
			t.Errorf("no %s in %s", want, lines[3])
		}
	}
	// The second run finds no message of the first that counts.
	code, out, errOut = s.run("probe", "--count", "1", "--timeout", "20s")
	if code != ExitOK || !strings.Contains(out, "1 rounds, 1 in time, 0 received late, 0 not received") || !strings.HasPrefix(out, "round 1  accepted ") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
}

// While it runs its metrics are served; ending it prints the summary.
func TestProbeMetrics(t *testing.T) {
	s := startTestServer(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	code, _, errOut := s.run("probe", "--metrics", address)
	if code != ExitUsage || !strings.Contains(errOut, "--metrics") {
		t.Errorf("on an address in use: exit %d\n%s", code, errOut)
	}
	free.Close()
	p := s.start(nil, "probe", "--every", "1ms", "--timeout", "20s", "--metrics", address)
	p.line()
	p.line()
	r, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r.Body)
	r.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	for _, want := range []string{"rookery_probe_in_time_total ", `rookery_probe_failed_total{step="received"} 0`, `rookery_probe_received_seconds_bucket{le="+Inf"} `} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q", want)
		}
	}
	p.stop()
	rest, _ := io.ReadAll(p.out)
	if !strings.Contains(string(rest), " in time, 0 received late, 0 not received\n") {
		t.Errorf("no summary: %s", rest)
	}
	p.wantExit(ExitOK)
}

// A server that is not there costs every round, and the exit code tells.
func TestProbeOfNoServer(t *testing.T) {
	s := startTestServer(t) // for its key
	s.url = "ws://127.0.0.1:1"
	code, out, errOut := s.run("probe", "--count", "2", "--every", "1ms", "--timeout", "50ms")
	if code != ExitFailed || !strings.Contains(errOut, "2 of 2 rounds") || strings.Count(out, "NOT accepted in 50ms") != 2 || !strings.Contains(out, "2 rounds, 0 in time") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
}

func TestProbeFaults(t *testing.T) {
	s := startTestServer(t)
	code, _, errOut := s.run("probe", "x", "--as", "eve", "--to", "eve", "--token", "t", "--every", "0s")
	for _, want := range []string{"no arguments", "--to-token", "--every", "two users"} {
		if code != ExitUsage || !strings.Contains(errOut, want) {
			t.Errorf("exit %d, no %q in\n%s", code, want, errOut)
		}
	}
	bad := filepath.Join(t.TempDir(), "none")
	if code, _, errOut = s.run("probe", "--token", "@"+bad, "--to-token", "nonsense", "--count", "1", "--timeout", "50ms"); code != ExitFailed && code != ExitRefused {
		t.Errorf("without a token file: exit %d\n%s", code, errOut)
	}
	if code, _, errOut = s.run("probe", "--token", "nonsense", "--to-token", "nonsense", "--count", "5", "--timeout", "20s"); code != ExitRefused || !strings.Contains(errOut, chat.CodeUnauthorized.String()) {
		t.Errorf("refused tokens: exit %d\n%s", code, errOut)
	}
}
