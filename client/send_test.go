package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

func TestSendGoesThroughItsStates(t *testing.T) {
	f := newFixture(t, nil)
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Device != "phone" || hello.Resume != packet.ResumeCursor || conn.Path != "/ws/alice" || conn.Authorization != "Bearer token" {
		t.Fatalf("hello %+v on %s with %q", hello, conn.Path, conn.Authorization)
	}
	s := f.send("bob", "hi")
	m := sends(t, conn, 1, 1)[0]
	if m.ID != s.ID() || string(m.To) != "bob" || string(m.Content) != "hi" || m.Flags != 0 || m.ID.ClockSeq() != hello.Seq {
		t.Fatalf("sent %+v", m)
	}
	if status, err := s.Status(); status != 0 || err != nil {
		t.Fatalf("before it is accepted: %v, %v", status, err)
	}
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 7})
	must(t, s.Durable(ctx(t)))
	if s.Place() != 7 {
		t.Fatalf("place %v", s.Place())
	}
	conn.Write(&packet.Receipt{Pos: 1, Gap: 1, Peer: []byte("bob"), Delivered: 6})
	receive[client.Receipt](t, f.c)
	if status, _ := s.Status(); status != chat.Sent {
		t.Fatalf("delivered by a receipt of an earlier message: %v", status)
	}
	conn.Write(&packet.Receipt{Pos: 2, Gap: 1, Peer: []byte("bob"), Delivered: 7})
	must(t, s.Delivered(ctx(t)))
	conn.Write(&packet.Receipt{Pos: 3, Gap: 1, Peer: []byte("bob"), Delivered: 7, Read: 7})
	must(t, s.Read(ctx(t)))
	if got := f.c.Outbox(); len(got) != 0 {
		t.Fatalf("outbox %v", got)
	}
}

func TestIDsRiseAboveAllSeen(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	seen := message(1, 0, "from the future")
	seen.ID = chat.NewID(seen.ID.Ticks()+1e9, 1, seen.ID.Node())
	conn.Write(seen)
	receive[client.Message](t, f.c)
	last := seen.ID
	for range 100 {
		s := f.send("bob", "x")
		if s.ID().Compare(last) <= 0 {
			t.Fatalf("%v is not above %v", s.ID(), last)
		}
		last = s.ID()
	}
	must(t, f.c.Close(ctx(t)))
	f.open()
	if s := f.send("bob", "x"); s.ID().Compare(last) <= 0 {
		t.Fatalf("after a restart %v is not above %v", s.ID(), last)
	}
}

func TestIDsGoByTheServersClock(t *testing.T) {
	f := newFixture(t, nil)
	now := chat.MillisNow() - 3_600_000
	f.welcome(packet.Welcome{Now: now})
	must(t, f.c.Connected(ctx(t)))
	if at := f.send("bob", "x").ID().UnixMilli(); at < now || at > now+60_000 {
		t.Fatalf("stamped %d ms from the server's time", at-now)
	}
}

// What was on its way when the connection broke goes first on the next one, in
// order and byte for byte, as retries; what was not is no retry.
func TestReconnectSendsTheOutboxFirst(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitInflight: 3}})
	var handles []*client.Sent
	for i := range 5 {
		handles = append(handles, f.send("bob", fmt.Sprint(i)))
	}
	before := sends(t, conn, 1, 3)
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 1})
	must(t, handles[0].Durable(ctx(t)))
	before = append(before, sends(t, conn, 4, 1)...)
	conn.Drop()
	conn, _ = f.welcome(packet.Welcome{})
	after := sends(t, conn, 1, 4)
	for i, m := range after[:3] {
		old := before[i+1]
		if m.ID != old.ID || !bytes.Equal(m.Content, old.Content) || m.Flags != packet.SendRetry {
			t.Fatalf("retry %d: %+v, was %+v", i, m, old)
		}
	}
	if m := after[3]; m.ID != handles[4].ID() || m.Flags != 0 {
		t.Fatalf("the first send of the last message: %+v", m)
	}
	conn.Write(&packet.Accepted{N: 4, Count: 4, Pos: 13})
	for i, h := range handles[1:] {
		must(t, h.Durable(ctx(t)))
		if h.Place() != chat.Position(10+i) {
			t.Fatalf("place %v of message %d", h.Place(), i+1)
		}
	}
	// The owner found the second where an earlier arrival is.
	conn.Write(&packet.Outcome{ID: handles[1].ID(), To: "bob", Place: 2}, &packet.Receipt{Pos: 1, Gap: 1, Peer: []byte("bob"), Delivered: 2})
	must(t, handles[1].Delivered(ctx(t)))
	if status, _ := handles[2].Status(); status != chat.Sent {
		t.Fatalf("the next message is %v", status)
	}
}

// A message that Send has taken outlives the process.
func TestOutboxOutlivesTheClient(t *testing.T) {
	f := newFixture(t, nil)
	conn, hello := f.welcome(packet.Welcome{})
	first, second := f.send("bob", "one"), f.send("carol", "two")
	sends(t, conn, 1, 2)
	must(t, f.c.Close(canceled()))
	if err := first.Durable(ctx(t)); !errors.Is(err, client.ErrClosed) {
		t.Fatalf("a handle of a closed client: %v", err)
	}
	f.open()
	restored := f.c.Outbox()
	if len(restored) != 2 || restored[0].ID() != first.ID() || restored[1].ID() != second.ID() || restored[1].To() != "carol" {
		t.Fatalf("restored %v", restored)
	}
	third := f.send("bob", "three")
	conn, again := f.welcome(packet.Welcome{})
	if again.Seq != hello.Seq {
		t.Fatalf("clock sequence %d, was %d", again.Seq, hello.Seq)
	}
	got := sends(t, conn, 1, 3)
	if got[0].Flags != packet.SendRetry || string(got[0].Content) != "one" || got[2].ID != third.ID() || got[2].Flags != 0 {
		t.Fatalf("sent %+v", got)
	}
	conn.Write(&packet.Accepted{N: 3, Count: 3, Pos: 3})
	must(t, restored[1].Durable(ctx(t)))
	if got := f.c.Earlier(); !slices.Equal(got, restored) {
		t.Fatalf("of the earlier run, once they were accepted: %v, want %v", got, restored)
	}
	must(t, f.c.Close(ctx(t)))
	f.open()
	if got := f.c.Outbox(); len(got)+len(f.c.Earlier()) != 0 {
		t.Fatalf("accepted messages are in the outbox again: %v, %v", got, f.c.Earlier())
	}
}

func TestRetryableRefusalIsSentAgainAsItWas(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	for i := range 3 {
		f.send("bob", fmt.Sprint(i))
	}
	before := sends(t, conn, 1, 3)
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 1}, &packet.Refused{N: 2, Code: chat.CodeOverloaded, Retry: 1})
	after := sends(t, conn, 2, 2)
	for i, m := range after {
		if m.ID != before[i+1].ID || m.Flags != 0 {
			t.Fatalf("again %+v, was %+v", m, before[i+1])
		}
	}
	conn.Write(&packet.Accepted{N: 3, Count: 2, Pos: 3})
	f.drained()
}

func TestPermanentRefusalGivesItsNumberToTheNext(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	bad, good := f.send("bob", "bad"), f.send("bob", "good")
	sends(t, conn, 1, 2)
	conn.Write(&packet.Refused{N: 1, Code: chat.CodeIDFuture, Text: "ahead by an hour"})
	wantCode(t, bad.Durable(ctx(t)), chat.CodeIDFuture)
	if p := receive[client.Problem](t, f.c); p.ID != bad.ID() {
		t.Fatalf("problem %+v", p)
	}
	if m := sends(t, conn, 1, 1)[0]; m.ID != good.ID() || m.Flags != 0 {
		t.Fatalf("next %+v", m)
	}
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 1})
	must(t, good.Durable(ctx(t)))
	must(t, f.c.Close(ctx(t)))
	f.open()
	if got := f.c.Outbox(); len(got) != 0 {
		t.Fatalf("outbox %v", got)
	}
}

func TestUnknownOutcomeReconnects(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	s := f.send("bob", "x")
	sends(t, conn, 1, 1)
	conn.Write(&packet.Refused{N: 1, Code: chat.CodeUnknown})
	conn, _ = f.welcome(packet.Welcome{})
	if m := sends(t, conn, 1, 1)[0]; m.ID != s.ID() || m.Flags != packet.SendRetry {
		t.Fatalf("retry %+v", m)
	}
}

func TestAcceptedAndThenNotStored(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	s := f.send("bob", "x")
	sends(t, conn, 1, 1)
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 9})
	must(t, s.Durable(ctx(t)))
	delivered := make(chan error, 1)
	go func() { delivered <- s.Delivered(ctx(t)) }()
	must(t, f.c.Typing("bob", true))
	expect[packet.Typing](t, conn, packet.TypeTyping)
	conn.Write(&packet.Outcome{ID: s.ID(), To: "bob", Code: chat.CodeIDConflict})
	wantCode(t, <-delivered, chat.CodeIDConflict)
	receive[client.Problem](t, f.c)
}

// The owner's word may be here before the acceptance, whose place is that of a
// retry, or in an epoch that has ended. It is the place that ticks go by.
func TestOutcomesBeforeAcceptance(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	first, refused, copied := f.send("bob", "1"), f.send("bob", "2"), f.send("bob", "3")
	sends(t, conn, 1, 3)
	at := func(offset uint64) chat.Position { return chat.NewPosition(1, offset) }
	conn.Write(
		&packet.Outcome{ID: first.ID(), To: "bob", Place: at(5)}, &packet.Outcome{ID: refused.ID(), To: "bob", Code: chat.CodeIDConflict},
		&packet.Copy{Pos: 1, Gap: 1, ID: copied.ID(), To: []byte("bob"), Place: at(6)},
		&packet.Receipt{Pos: 2, Gap: 1, Peer: []byte("bob"), Delivered: at(4)}, &packet.Accepted{N: 3, Count: 3, Pos: 9},
	)
	must(t, errors.Join(first.Durable(ctx(t)), copied.Durable(ctx(t))))
	for s, place := range map[*client.Sent]chat.Position{first: at(5), copied: at(6)} {
		if status, err := s.Status(); s.Place() != place || status != chat.Sent || err != nil {
			t.Errorf("%v at %v, %v; it lies at %v", status, s.Place(), err, place)
		}
	}
	wantCode(t, refused.Durable(ctx(t)), chat.CodeIDConflict)
	conn.Write(&packet.Receipt{Pos: 3, Gap: 1, Peer: []byte("bob"), Delivered: at(5)})
	must(t, first.Delivered(ctx(t)))

	// What is sent again is judged again.
	again := f.send("bob", "4")
	sends(t, conn, 4, 1)
	conn.Write(&packet.Outcome{ID: again.ID(), To: "bob", Code: chat.CodeNotMember})
	for { // the problem of the one before came first
		if p := receive[client.Problem](t, f.c); p.ID == again.ID() {
			break
		}
	}
	conn.Drop()
	conn, _ = f.welcome(packet.Welcome{})
	for { // the copy's mark may come first
		p, err := conn.Read()
		if must(t, err); p.Type == packet.TypeSend {
			break
		}
	}
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: at(8)})
	must(t, again.Durable(ctx(t)))
}

// The owner's word says an id and no more: of one that was used again it is the
// newest that is refused, before its acceptance as behind it.
func TestOfAnIDUsedAgainTheNewestIsRefused(t *testing.T) {
	for name, first := range map[string]uint64{"before both were accepted": 0, "between": 1} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			conn, _ := f.welcome(packet.Welcome{})
			sent := f.send("bob", "1")
			other, err := f.c.Send(ctx(t), "bob", []byte("2"), client.SendOptions{ID: sent.ID()})
			must(t, err)
			sends(t, conn, 1, 2)
			if first > 0 {
				conn.Write(&packet.Accepted{N: first, Count: first, Pos: 8})
			}
			conn.Write(&packet.Outcome{ID: sent.ID(), To: "bob", Code: chat.CodeIDConflict}, &packet.Accepted{N: 2, Count: 2 - first, Pos: 9})
			wantCode(t, other.Durable(ctx(t)), chat.CodeIDConflict)
			must(t, sent.Durable(ctx(t)))
		})
	}
}

func TestPartitionsAcceptInAnyOrder(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	a, b, d := f.send("bob", "1"), f.send("carol", "2"), f.send("bob", "3")
	sends(t, conn, 1, 3)
	conn.Write(&packet.Accepted{N: 2, Count: 1, Pos: 5})
	must(t, b.Durable(ctx(t)))
	if got := f.c.Outbox(); len(got) != 2 {
		t.Fatalf("outbox %v", got)
	}
	conn.Drop()
	conn, _ = f.welcome(packet.Welcome{})
	if got := sends(t, conn, 1, 2); got[0].ID != a.ID() || got[1].ID != d.ID() {
		t.Fatalf("retried %+v", got)
	}
}

// Many messages share a frame, and never more are without an answer than the
// server allows.
func TestManySendsShareMessages(t *testing.T) {
	const n, inflight = 1000, 64
	f := newFixture(t, func(o *client.Options) { o.State = "" })
	conn, _ := f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitInflight: inflight}})
	must(t, f.c.Connected(ctx(t)))
	go func() {
		for i := range n {
			f.c.Send(context.Background(), "bob", fmt.Appendf(nil, "%d", i))
		}
	}()
	for first := uint64(1); first <= n; {
		m := sends(t, conn, first, 1)[0]
		if string(m.Content) != fmt.Sprint(first-1) {
			t.Fatalf("send %d is %q", first, m.Content)
		}
		if first%inflight == 0 || first == n {
			conn.Write(&packet.Accepted{N: first, Count: (first-1)%inflight + 1, Pos: chat.Position(first)})
		}
		first++
	}
	f.drained()
	if got := conn.Messages(); got > n/4 {
		t.Errorf("%d sends took %d messages", n, got)
	}
}

// drained waits until the outbox is empty.
func (f *fixture) drained() {
	f.t.Helper()
	for _, s := range f.c.Outbox() {
		must(f.t, s.Durable(ctx(f.t)))
	}
}

func TestSendRefusesWhatCannotBe(t *testing.T) {
	f := newFixture(t, nil)
	if most := f.c.MaxTTL(); most != 0 {
		t.Errorf("a longest time to live of %v, which no server has said", most)
	}
	f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitContent: 10, packet.LimitTTL: 60}})
	must(t, f.c.Connected(ctx(t)))
	if most := f.c.MaxTTL(); most != time.Minute {
		t.Errorf("a longest time to live of %v", most)
	}
	_, err := f.c.Send(ctx(t), "bob", make([]byte, 11))
	wantCode(t, err, chat.CodeTooLarge)
	_, err = f.c.Send(ctx(t), "no one", nil)
	wantCode(t, err, chat.CodeBadName)
	_, err = f.c.Send(ctx(t), "bob", nil, client.SendOptions{TTL: -1})
	wantCode(t, err, chat.CodeBadTTL)
	must(t, f.c.Close(ctx(t)))
	if _, err := f.c.Send(ctx(t), "bob", nil); !errors.Is(err, client.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestSendWaitsForRoomAndForItsNode(t *testing.T) {
	f := newFixture(t, func(o *client.Options) { o.OutboxMessages = 2 })
	if _, err := f.c.Send(canceled(), "bob", nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("without a node: %v", err)
	}
	conn, _ := f.welcome(packet.Welcome{})
	f.send("bob", "1")
	f.send("bob", "2")
	if _, err := f.c.Send(canceled(), "bob", nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("with a full outbox: %v", err)
	}
	third := make(chan error)
	go func() {
		_, err := f.c.Send(context.Background(), "bob", []byte("3"))
		third <- err
	}()
	sends(t, conn, 1, 2)
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 1})
	must(t, <-third)
	sends(t, conn, 3, 1)
}
