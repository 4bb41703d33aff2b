package bench

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
)

// startLoad starts a server in this process and connects a load to it.
func startLoad(t *testing.T, sessions int) *run {
	t.Helper()
	c := config.Default()
	c.Listen, c.Admin, c.Data = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	c.Drain.Grace = time.Second
	s, err := server.Start(t.Context(), c, server.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(t.Context()) })
	r, err := newRun()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.loop.close)
	err = r.connect(netip.MustParseAddrPort(s.Addr().String()), sessions, func(user string) (string, error) {
		return s.DevKey().Sign(auth.NewClaims("", user, "", time.Hour))
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestALoadCountsWhatItStarted(t *testing.T) {
	r := startLoad(t, 20)
	r.measureFromNs = 0
	rng := rand.New(rand.NewPCG(1, 1))
	const bursts, each = 2 * sampleEvery, 4
	for range bursts {
		from, to := r.anyTwo(rng)
		r.burst(from, to, each, 100, r.loop.clock())
	}
	done, err := r.drain(time.Minute, func() bool { return r.accepted == bursts*each && r.delivered == bursts*each })
	if err != nil || !done {
		t.Fatalf("accepted %d, delivered %d, refused %d of %d: %v", r.accepted, r.delivered, r.refused, bursts*each, err)
	}
	if n := r.delivery.TotalCount(); n != bursts*each {
		t.Errorf("%d latencies of %d messages", n, bursts*each)
	}
	if n := r.ack.TotalCount(); n != bursts {
		t.Errorf("%d acknowledgement latencies of %d bursts", n, bursts)
	}
	res := &Result{}
	if err := r.readBack(res, 10, 100); err != nil || res.ReadBack != 2*each {
		t.Errorf("read %d bodies back, want %d: %v", res.ReadBack, 2*each, err)
	}
	r.samples[0].dueNs++
	if err := r.readBack(res, 10, 100); err == nil {
		t.Error("a body that is not the one sent was taken for it")
	}
}

func TestALateLoadIsInvalid(t *testing.T) {
	res := &Result{LoadLag: Percentiles{P99: 6000}}
	judgeLag(res, 5*time.Millisecond)
	if len(res.Invalid) != 1 {
		t.Errorf("a load that was 6 ms late is said to be valid")
	}
	res = &Result{LoadLag: Percentiles{P99: 4000}}
	if judgeLag(res, 5*time.Millisecond); len(res.Invalid) != 0 {
		t.Errorf("a load that was 4 ms late is said to be invalid: %v", res.Invalid)
	}
}

func TestAGapInTheChainIsNoticed(t *testing.T) {
	c := &conn{mine: 10}
	for _, l := range []struct {
		pos uint64
		gap uint64
		ok  bool
	}{{11, 1, true}, {11, 1, false}, {20, 9, true}, {30, 5, false}, {0, 0, true}} {
		if err := c.link(posOf(l.pos), l.gap); (err == nil) != l.ok {
			t.Errorf("link at %d gap %d: %v", l.pos, l.gap, err)
		}
	}
}

func posOf(p uint64) chat.Position { return chat.Position(p) }
