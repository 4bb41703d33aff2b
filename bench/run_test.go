package bench

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
	"github.com/rookery-chat/rookery/packet"
)

// startTestServer starts a server in this process, as a target.
func startTestServer(t *testing.T, change func(*config.Config)) (*target, destination) {
	t.Helper()
	c := config.Default()
	c.Listen, c.Admin, c.Web.Listen, c.Data = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	c.Drain.Grace = time.Second
	if change != nil {
		change(c)
	}
	s, err := server.Start(t.Context(), c, server.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	at := &target{
		processes: map[string]int{"server": os.Getpid()}, keys: c.Data, admins: []string{"http://" + s.AdminAddr().String()},
		addresses: []netip.AddrPort{netip.MustParseAddrPort(s.Addr().String())},
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	d, err := at.destination()
	if err != nil {
		t.Fatal(err)
	}
	return at, d
}

// startLoad starts a server in this process and connects a load to it.
func startLoad(t *testing.T, sessions int) *run {
	t.Helper()
	_, d := startTestServer(t, nil)
	r, _ := loadOn(t, d, sessions)
	return r
}

// loadOn connects a load to a server. It returns what signs more tokens, too.
func loadOn(t *testing.T, d destination, sessions int) (*run, func(user string) (string, error)) {
	t.Helper()
	r, err := newRun()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.loop.close)
	key, err := keyOf(d.key)
	if err != nil {
		t.Fatal(err)
	}
	r.to, r.total = d.to, sessions
	begun, err := r.prepare(0, sessions, -1, signer(key))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.connect(t.Context(), begun, dialsAtOnce, 0, false); err != nil {
		t.Fatal(err)
	}
	return r, signer(key)
}

// A device for which more waits than a server sends ahead of its mark catches up,
// as it marks meanwhile.
func TestWhoConnectsMarksWhatWaited(t *testing.T) {
	_, d := startTestServer(t, func(c *config.Config) { c.Session.Window = 4 })
	r, token := loadOn(t, d, 2)
	const waiting = 40
	r.loop.cut(r.conns[1])
	r.burst(r.conns[0], 1, waiting, 8, r.loop.clock())
	if done, err := r.drain(t.Context(), time.Minute, func() bool { return r.counts.Accepted == waiting }); !done || err != nil {
		t.Fatalf("%d of %d were accepted: %v", r.counts.Accepted, waiting, err)
	}
	back, err := r.prepare(1, 1, -1, token)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.connect(t.Context(), back, 1, 0, false); err != nil {
		t.Fatal(err)
	}
	if r.counts.Delivered != waiting {
		t.Errorf("%d of %d messages had come when it was caught up", r.counts.Delivered, waiting)
	}
}

func TestAnExchangeOfMoreSessionsHasMoreTime(t *testing.T) {
	few, million := exchangeWithin(15_000), exchangeWithin(1_000_000)
	if few < settleFor || million < 30*few {
		t.Errorf("15,000 sessions have %v, a million %v", few, million)
	}
}

func TestWhatAnEarlierLoadSentIsNotCounted(t *testing.T) {
	r := startLoad(t, 2)
	r.burst(r.conns[0], 1, 3, 100, r.begunNs-1)
	r.burst(r.conns[0], 1, 2, 100, r.begunNs)
	done, err := r.drain(t.Context(), time.Minute, func() bool { return r.counts.Accepted == 5 && r.counts.Delivered >= 2 })
	if err != nil || !done || r.counts.Delivered != 2 {
		t.Errorf("%v, %+v, %v", done, r.counts, err)
	}
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
	c := &r.counts
	done, err := r.drain(t.Context(), time.Minute, func() bool { return c.Accepted == bursts*each && c.Delivered == bursts*each })
	if err != nil || !done {
		t.Fatalf("accepted %d, delivered %d, refused %d of %d: %v", c.Accepted, c.Delivered, c.Refused, bursts*each, err)
	}
	if c.Sent != bursts*each || c.Measured != bursts*each {
		t.Errorf("sent %d, measured %d of %d", c.Sent, c.Measured, bursts*each)
	}
	if n := r.delivery.TotalCount(); n != bursts*each {
		t.Errorf("%d latencies of %d messages", n, bursts*each)
	}
	if n := r.ack.TotalCount(); n != bursts {
		t.Errorf("%d acknowledgement latencies of %d bursts", n, bursts)
	}
	if n := r.connecting.TotalCount(); n != 20 {
		t.Errorf("%d latencies of 20 connections", n)
	}
	if n, err := r.readBack(t.Context(), 10, 100); err != nil || n != 2*each {
		t.Errorf("read %d bodies back, want %d: %v", n, 2*each, err)
	}
	r.samples[0].dueNs++
	if _, err := r.readBack(t.Context(), 10, 100); err == nil {
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

// Everybody in a circle writes to its contacts alone, to all of them, and they write back.
func TestACircleIsClosed(t *testing.T) {
	const total, contacts = 11, 4
	r := &run{total: total}
	for i := range total {
		r.conns = append(r.conns, &conn{index: int32(i)})
	}
	met := map[[2]int]bool{}
	rng, pick := rand.New(rand.NewPCG(1, 1)), r.circle(contacts)
	for range 10_000 {
		from, to := pick(rng)
		met[[2]int{int(from.index), to}] = true
	}
	if len(met) != total*contacts {
		t.Errorf("%d pairs, want %d", len(met), total*contacts)
	}
	for pair := range met {
		if pair[0] == pair[1] || !met[[2]int{pair[1], pair[0]}] {
			t.Errorf("%d writes to %d, and hears nothing back", pair[0], pair[1])
		}
	}
}

// Where servers know nothing of each other, nobody writes to who is on another one.
func TestServersApart(t *testing.T) {
	const total, servers = 12, 3
	r := &run{total: total, apart: servers}
	for i := range total {
		r.conns = append(r.conns, &conn{index: int32(i)})
	}
	met, rng := map[[2]int]bool{}, rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		from, to := r.anyTwo(rng)
		met[[2]int{int(from.index), to}] = true
		if int(from.index)%servers != to%servers {
			t.Fatalf("%d writes to %d, which is on another server", from.index, to)
		}
	}
	if want := total * total / servers; len(met) != want {
		t.Errorf("%d pairs, want %d", len(met), want)
	}
}

// A group's members get what the load's first session sends to it, and what
// changes it is counted apart.
func TestALoadToAGroup(t *testing.T) {
	r := startLoad(t, 6)
	r.measureFromNs = 0
	c := &r.counts
	for have, more := range []int{1: 1, 2: 3} { // users 1, and then 2 to 4
		if more == 0 {
			continue
		}
		told := c.Told + uint64(have-1+more)
		r.gather(have, more)
		if done, err := r.drain(t.Context(), time.Minute, func() bool { return c.Told == told }); err != nil || !done {
			t.Fatalf("told %d, want %d: %v", c.Told, told, err)
		}
	}
	const messages, members = 10, 4
	for range messages {
		from, to := r.firstToGroup(nil)
		r.burst(from, to, 1, 100, r.loop.clock())
	}
	if done, err := r.drain(t.Context(), time.Minute, func() bool { return c.Delivered == messages*members }); err != nil || !done {
		t.Fatalf("delivered %d: %v", c.Delivered, err)
	}
	if c.Sent != messages+2 || c.Accepted != c.Sent || c.Told != 1+4 || r.delivery.TotalCount() != messages*members || len(r.conns[5].sent) != 0 || r.conns[5].mine > r.conns[5].marked {
		t.Errorf("%+v, %d latencies", c, r.delivery.TotalCount())
	}
}

// TestAnEncryptedLoad sends encrypted messages, each of other bytes, and then
// plain ones, and looks at them in the store.
func TestAnEncryptedLoad(t *testing.T) {
	r := startLoad(t, 2)
	a := &agent{run: r}
	const size = 64
	for _, encrypted := range []bool{true, false} {
		sent := r.counts.Sent
		o := &loadOrder{StartNs: r.loop.clock(), DurationNs: int64(time.Second), Rate: 50, PerWrite: 1, SizeBytes: size, MarkEveryNs: 1e6, Seed: 2, Pattern: patternOneWay, Encrypted: encrypted}
		if err := a.load(t.Context(), o, &report{}); err != nil {
			t.Fatal(err)
		}
		n := int(r.counts.Sent - sent)
		if done, err := r.drain(t.Context(), time.Minute, func() bool { return r.counts.Accepted == r.counts.Sent && r.counts.Delivered == r.counts.Sent }); err != nil || !done || n < 2 {
			t.Fatalf("%d messages, %+v: %v", n, r.counts, err)
		}
		n = min(n, 10)
		ask := packet.History{Req: 1, Peer: userOf(1), Limit: n}
		r.page = nil
		r.conns[0].write(ask.AppendTo(nil))
		if done, err := r.drain(t.Context(), time.Minute, func() bool { return r.page != nil }); err != nil || !done || len(r.page.Rows) != n {
			t.Fatalf("%+v: %v", r.page, err)
		}
		bodies := map[string]bool{}
		for _, row := range r.page.Rows {
			bodies[string(row.Content[8:])] = true
			if len(row.Content) != size || (row.Suite == chat.SuiteMegolm) != encrypted {
				t.Errorf("encrypted %v: suite %d, %d bytes", encrypted, row.Suite, len(row.Content))
			}
		}
		if encrypted && len(bodies) != n || !encrypted && (len(bodies) != 1 || !bodies[string(make([]byte, size-8))]) {
			t.Errorf("encrypted %v: %d bodies of %d messages", encrypted, len(bodies), n)
		}
	}
}
