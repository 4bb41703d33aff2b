package client

import (
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

func TestBackoffIsFullJitterUnderADoublingCeiling(t *testing.T) {
	o := Options{BackoffMin: 100 * time.Millisecond, BackoffMax: time.Second}.withDefaults()
	var b backoff
	for i, ceiling := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		if got := b.ceiling(o); got != ceiling*time.Millisecond {
			t.Fatalf("ceiling %d is %v", i, got)
		}
		if wait := b.next(o, false, time.Hour, ending{}); wait < 0 || wait > ceiling*time.Millisecond {
			t.Fatalf("wait %v", wait)
		}
	}
	b.failures = 1 << 30
	if got := b.ceiling(o); got != time.Second {
		t.Fatalf("after many failures %v", got)
	}
	// A session that broke at once does not start it anew, one that held does.
	b.next(o, true, time.Millisecond, ending{})
	if b.ceiling(o) != time.Second {
		t.Fatal("a short session reset it")
	}
	b.next(o, true, time.Minute, ending{})
	if b.ceiling(o) != 200*time.Millisecond {
		t.Fatalf("after a long session: %v", b.ceiling(o))
	}
	if wait := b.next(o, true, time.Minute, ending{wait: time.Hour}); wait != time.Hour {
		t.Fatalf("asked to wait an hour: %v", wait)
	}
	if wait := b.next(o, true, 0, ending{now: true}); wait != 0 {
		t.Fatalf("at once: %v", wait)
	}
	seen := map[time.Duration]bool{}
	for range 50 {
		seen[(&backoff{failures: 9}).next(o, false, 0, ending{})] = true
	}
	if len(seen) < 10 {
		t.Fatalf("only %d different waits of 50", len(seen))
	}
}

func TestPace(t *testing.T) {
	now := time.Now()
	p := pace{packets: newBucket(100, 10, now), bytes: newBucket(1000, 1000, now)}
	for range 9 {
		if wait := p.wait(now); wait > 0 {
			t.Fatalf("waits %v in the burst", wait)
		}
		p.take(10, now)
	}
	wait := p.wait(now)
	if wait <= 0 || wait > 20*time.Millisecond {
		t.Fatalf("after the burst %v", wait)
	}
	if again := p.wait(now.Add(wait + time.Microsecond)); again > 0 {
		t.Fatalf("after waiting %v more", again)
	}
	p.take(5000, now)
	if wait := p.wait(now); wait < 4*time.Second || wait > 6*time.Second {
		t.Fatalf("after too many bytes %v", wait)
	}
	var free pace
	free.take(1<<30, now)
	if free.wait(now) != 0 {
		t.Fatal("without limits it waits")
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("%q is %v, want %v", s, got, want)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for base, want := range map[string]string{
		"ws://h:1":      "ws://h:1/ws/al+ice@x",
		"wss://h/":      "wss://h/ws/al+ice@x",
		"ws://h/prefix": "ws://h/prefix",
	} {
		if got := endpoint(base, "al+ice@x"); got != want {
			t.Errorf("%s becomes %s, want %s", base, got, want)
		}
	}
}

func newItems(n int) *outbox {
	var o outbox
	o.begin()
	for range n {
		o.push(&item{bytes: 1})
	}
	return &o
}

func (o *outbox) numbers() (ns []uint64) {
	for {
		it := o.take(0, time.Now(), 10)
		if it == nil {
			return ns
		}
		ns = append(ns, it.n)
	}
}

// A server that took a newer one before it refused breaks law 8; the taken one
// still is not sent twice.
func TestOutboxRefusalAfterANewerAcceptance(t *testing.T) {
	o := newItems(4)
	o.numbers()
	o.accepted(packet.Accepted{N: 3, Count: 1, Pos: 3}, func(*item, chat.Position) {})
	if it := o.refused(2, false); it == nil || len(o.items) != 3 || o.inflight() != 1 {
		t.Fatalf("%d items, %d on their way", len(o.items), o.inflight())
	}
	if got := o.numbers(); len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Fatalf("numbers %v", got)
	}
	if o.bytes != 3 {
		t.Fatalf("%d bytes", o.bytes)
	}
	if o.refused(9, true) != nil || o.accepted(packet.Accepted{N: 9, Count: 1}, nil) || o.accepted(packet.Accepted{N: 1, Count: 2}, nil) {
		t.Fatal("numbers that never were")
	}
}

func TestOutboxWaitsForTheJournal(t *testing.T) {
	o := newItems(1)
	o.items[0].seq = 5
	if o.take(4, time.Now(), 10) != nil {
		t.Fatal("it leaves before it is durable")
	}
	if o.take(5, time.Now(), 0) != nil {
		t.Fatal("it leaves without room")
	}
	o.notBefore = time.Now().Add(time.Hour)
	if o.take(5, time.Now(), 10) != nil {
		t.Fatal("it does not wait")
	}
	o.begin()
	if o.take(5, time.Now(), 10) == nil {
		t.Fatal("it does not leave")
	}
}
