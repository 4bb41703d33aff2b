package client_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

// Each link is taken once, in order: repeats are passed over.
func TestChainIsGivenOnceInOrder(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Resume: 10})
	conn.Write(message(12, 10, "a"), message(12, 10, "a"), message(11, 10, "late"), message(15, 12, "b"), message(15, 9, "b"))
	conn.Write(&packet.CaughtUp{Pos: 20})
	for _, want := range []string{"a", "b"} {
		if m := receive[client.Message](t, f.c); string(m.Content) != want || m.From != "bob" || m.To != "alice" {
			t.Fatalf("got %q from %s, want %q", m.Content, m.From, want)
		}
	}
	if e := receive[client.CaughtUp](t, f.c); e.Position != 20 {
		t.Fatalf("caught up to %v", e.Position)
	}
	conn.Write(message(21, 20, "c"))
	if m := receive[client.Message](t, f.c); string(m.Content) != "c" || m.Place != 21 {
		t.Fatalf("got %+v", m)
	}
}

func TestGapIsAskedForAgain(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(1, 0, "one"), message(3, 2, "three"))
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Resume != 0 {
		t.Fatalf("resumes at %d, though the app has handled nothing", hello.Resume)
	}
	conn.Write(message(1, 0, "one"), message(2, 1, "two"), message(3, 2, "three"))
	for _, want := range []string{"one", "two", "three"} {
		if m := receive[client.Message](t, f.c); string(m.Content) != want {
			t.Fatalf("got %q, want %q", m.Content, want)
		}
	}
}

// The mark says what the app has handled, not what has arrived, and comes only
// when the state file says the same.
func TestMarkFollowsTheApp(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(1, 0, "one"), message(2, 1, "two"), message(3, 2, "three"))
	receive[client.Message](t, f.c)
	receive[client.Message](t, f.c)
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 1 {
		t.Fatalf("marked %v", m.Pos)
	}
	f.c.Handled()
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 2 {
		t.Fatalf("marked %v", m.Pos)
	}
	must(t, f.c.Close(ctx(t)))
	f.open()
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Resume != 2 {
		t.Fatalf("resumes at %d: what was not handled has to come again", hello.Resume)
	}
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 2 {
		t.Fatalf("the mark of the last session is said again as %v", m.Pos)
	}
	conn.Write(message(3, 2, "three"))
	receive[client.Message](t, f.c)
}

// What the app has not asked for yet survives a broken connection, and does not
// come twice.
func TestReconnectShowsNothingTwice(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	for i := range chat.Position(10) {
		conn.Write(message(i+1, i, fmt.Sprint(i+1)))
	}
	for i := 1; i <= 3; i++ {
		receive[client.Message](t, f.c)
	}
	conn.Drop()
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Resume > 2 {
		t.Fatalf("resumes at %d, though 2 are handled", hello.Resume)
	}
	for i := chat.Position(hello.Resume); i < 12; i++ {
		conn.Write(message(i+1, i, fmt.Sprint(i+1)))
	}
	for i := 4; i <= 12; i++ {
		if m := receive[client.Message](t, f.c); string(m.Content) != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", m.Content, i)
		}
	}
}

// After a reconnect the app may handle what the server has not sent again yet:
// its marks wait for that, as the server would not take them.
func TestMarksWaitForTheServersChain(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	must(t, f.c.MarkRead("bob", 2))
	conn.Write(message(1, 0, "one"), message(2, 1, "two"))
	receive[client.Message](t, f.c)
	expect[packet.Read](t, conn, packet.TypeRead) // so both have arrived
	conn.Drop()
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Resume != 0 {
		t.Fatalf("resumes at %d", hello.Resume)
	}
	must(t, f.c.Connected(ctx(t)))
	receive[client.Message](t, f.c)
	f.c.Handled()
	must(t, f.c.Typing("bob", true))
	expect[packet.Typing](t, conn, packet.TypeTyping)
	conn.Write(message(1, 0, "one"))
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 1 {
		t.Fatalf("marked %v", m.Pos)
	}
	conn.Write(message(2, 1, "two"))
	got := map[packet.Type]chat.Position{}
	for range 2 {
		p, err := conn.Read()
		must(t, err)
		var m packet.Mark
		var r packet.Read
		if m.Decode(p) == nil {
			got[p.Type] = m.Pos
		} else if r.Decode(p) == nil {
			got[p.Type] = r.Pos
		}
	}
	if got[packet.TypeMark] != 2 || got[packet.TypeRead] != 2 {
		t.Fatalf("marks %v", got)
	}
}

func TestCopies(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Node: chat.Node{1, 1, 1, 1, 1, 1}})
	s := f.send("bob", "mine")
	sends(t, conn, 1, 1)
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 50})
	must(t, s.Durable(ctx(t)))
	other := chat.NewID(chat.Ticks(time.Now()), 1, chat.Node{3, 3, 3, 3, 3, 3})
	conn.Write(
		&packet.Copy{Pos: 1, Gap: 1, ID: s.ID(), To: []byte("bob"), Place: 40},
		&packet.Copy{Pos: 2, Gap: 1, ID: other, To: []byte("bob"), Content: []byte("other"), Place: 51, Late: 5},
	)
	e, err := f.c.Receive(ctx(t))
	for err == nil {
		if m, ok := e.(client.Copy); ok {
			if m.ID != other || m.From != "alice" || m.To != "bob" || m.Place != 51 || m.At != other.UnixMilli()+5 {
				t.Fatalf("copy %+v", m)
			}
			break
		}
		e, err = f.c.Receive(ctx(t))
	}
	must(t, err)
	if s.Place() != 40 {
		t.Fatalf("the message's first place is 40, not %v", s.Place())
	}
}

// Of two messages that a manual client was given, the first can be handled alone.
func TestHandledToTheFirstOfTwo(t *testing.T) {
	f := newFixture(t, func(o *client.Options) { o.Manual = true })
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(1, 0, "one"), message(2, 1, "two"))
	receive[client.Message](t, f.c)
	receive[client.Message](t, f.c)
	for pos := range chat.Position(2) {
		must(t, f.c.HandledTo(pos+1))
		if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != pos+1 {
			t.Fatalf("marked %v, not %v", m.Pos, pos+1)
		}
	}
}

// A copy of what this device sent is no event, and is marked all the same: the
// server sends nothing more when a window of them is not. Without a word of the
// app it is not marked before what the app was given.
func TestOwnCopiesAreMarked(t *testing.T) {
	for _, manual := range []bool{false, true} {
		f := newFixture(t, func(o *client.Options) { o.Manual = manual })
		conn, _ := f.welcome(packet.Welcome{Node: chat.Node{1, 1, 1, 1, 1, 1}})
		copied := func(pos chat.Position) *packet.Copy {
			return &packet.Copy{Pos: pos, Gap: 1, ID: chat.NewID(uint64(pos), 1, chat.Node{1, 1, 1, 1, 1, 1}), To: []byte("bob"), Place: pos}
		}
		marked := func(want chat.Position) {
			t.Helper()
			for at := chat.Position(0); at != want; {
				if at = expect[packet.Mark](t, conn, packet.TypeMark).Pos; at > want {
					t.Fatalf("manual %v: marked %v, not %v", manual, at, want)
				}
			}
		}
		wait := func() (ended func()) { // as an app does that has nothing to handle
			ctx, cancel := context.WithCancel(ctx(t))
			var waiting sync.WaitGroup
			waiting.Go(func() {
				for {
					if e, err := f.c.Receive(ctx); err != nil {
						return
					} else if m, ok := e.(client.Message); ok {
						t.Errorf("got %+v", m)
					}
				}
			})
			return func() { cancel(); waiting.Wait() }
		}
		ended := wait()
		conn.Write(copied(1), copied(2))
		marked(2)
		ended()
		conn.Write(message(3, 2, "one"), copied(4))
		receive[client.Message](t, f.c)
		ended = wait()
		if manual {
			must(t, f.c.MarkRead("carol", 2))
			if m := expect[packet.Read](t, conn, packet.TypeRead); m.Pos != 2 {
				t.Fatalf("read %+v", m)
			}
			for f.c.Received() != 4 {
				runtime.Gosched()
			}
			must(t, f.c.HandledTo(3))
		}
		marked(4)
		conn.Write(copied(5))
		marked(5)
		ended()
	}
}

func TestCatchUpReceiptsAndTruncation(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Resume: 5, Waiting: 3, User: "alice"})
	if e := receive[client.Connected](t, f.c); e.Resume != 5 || e.Waiting != 3 || e.User != "alice" {
		t.Fatalf("connected %+v", e)
	}
	r := &packet.Receipt{Peer: []byte("bob"), Delivered: 8, Read: 7}
	conn.Write(&packet.Truncated{Pos: 100}, r, r, message(101, 100, "a"), &packet.CaughtUp{Pos: 101})
	if e := receive[client.Truncated](t, f.c); e.Position != 100 {
		t.Fatalf("truncated %+v", e)
	}
	if e := receive[client.Receipt](t, f.c); e.Peer != "bob" || e.Delivered != 8 || e.Read != 7 {
		t.Fatalf("receipt %+v", e)
	}
	receive[client.Message](t, f.c) // and no second receipt, nor a gap
	receive[client.CaughtUp](t, f.c)
	if got := f.c.Position(); got != 101 {
		t.Fatalf("handled up to %v", got)
	}
}

func TestFrom(t *testing.T) {
	for from, want := range map[string]int64{
		client.FromStart: 0, client.FromNow: packet.ResumeNow, client.FromLast: packet.ResumeCursor, "": packet.ResumeCursor, "1:7": 1<<48 | 7,
	} {
		f := newFixture(t, func(o *client.Options) { o.From = from })
		if _, hello := f.welcome(packet.Welcome{Resume: 1<<48 | 7}); hello.Resume != want {
			t.Errorf("from %q resumes at %d, want %d", from, hello.Resume, want)
		}
		must(t, f.c.Close(ctx(t)))
	}
}

// A position given wins over the one kept, also when it is an earlier one.
func TestFromStartGoesBack(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(9, 0, "nine"))
	receive[client.Message](t, f.c)
	f.c.Handled()
	expect[packet.Mark](t, conn, packet.TypeMark)
	must(t, f.c.Close(ctx(t)))
	f.o.From = client.FromStart
	f.open()
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Resume != 0 {
		t.Fatalf("resumes at %d", hello.Resume)
	}
	conn.Write(message(9, 0, "nine"))
	receive[client.Message](t, f.c)
}

// A server that lost data, and says so, is believed: the app is told, and what
// comes next is taken by its positions.
func TestServerThatLostItsDataIsBelieved(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(9, 0, "nine"))
	receive[client.Message](t, f.c)
	f.c.Handled()
	expect[packet.Mark](t, conn, packet.TypeMark)
	must(t, f.c.Close(ctx(t)))
	f.open()
	conn, err := f.server.Accept()
	must(t, err)
	if hello := expect[packet.Hello](t, conn, packet.TypeHello); hello.Resume != 9 {
		t.Fatalf("resumes at %d", hello.Resume)
	}
	conn.Write(&packet.Bye{Code: chat.CodeBadPosition})
	conn, hello := f.welcome(packet.Welcome{Resume: 2})
	if hello.Resume != packet.ResumeCursor {
		t.Fatalf("resumes at %d", hello.Resume)
	}
	conn.Write(message(3, 2, "three"))
	if e := receive[client.Truncated](t, f.c); e.Position != 9 {
		t.Fatalf("truncated %v", e)
	}
	if m := receive[client.Message](t, f.c); m.Place != 3 {
		t.Fatalf("message %+v", m)
	}
	f.c.Handled()
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 3 {
		t.Fatalf("marked %v", m.Pos)
	}
}

// A position that the caller gave is a fault of the caller.
func TestImpossibleFrom(t *testing.T) {
	f := newFixture(t, func(o *client.Options) { o.From = "99" })
	conn, err := f.server.Accept()
	must(t, err)
	expect[packet.Hello](t, conn, packet.TypeHello)
	conn.Write(&packet.Bye{Code: chat.CodeBadPosition, Text: "the log ends before 99"})
	<-f.c.Done()
	wantCode(t, f.c.Err(), chat.CodeBadPosition)
}

func TestServerBehindTheClientIsAnError(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(9, 0, "nine"))
	receive[client.Message](t, f.c)
	f.c.Handled()
	expect[packet.Mark](t, conn, packet.TypeMark)
	conn.Drop()
	f.welcome(packet.Welcome{Resume: 3})
	for {
		if _, err := f.c.Receive(ctx(t)); err != nil {
			wantCode(t, err, chat.CodeBadPosition)
			return
		}
	}
}

// An app that waits for its own send while the queue is full gets its answer,
// and afterwards everything that had to be left out.
func TestFullQueueDoesNotHoldUpAnswers(t *testing.T) {
	const n = 20
	f := newFixture(t, func(o *client.Options) { o.EventQueue = 4 })
	conn, _ := f.welcome(packet.Welcome{})
	must(t, f.c.Connected(ctx(t)))
	for i := range chat.Position(n) {
		conn.Write(message(i+1, i, fmt.Sprint(i+1)))
	}
	s := f.send("bob", "x")
	sends(t, conn, 1, 1)
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 1})
	must(t, s.Durable(ctx(t)))
	// Each session brings again what had no room, until all is there.
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			conn, err := f.server.Accept()
			if err != nil {
				return
			}
			hello, _ := conn.Welcome(packet.Welcome{})
			for i := chat.Position(hello.Resume); i < n; i++ {
				conn.Write(message(i+1, i, fmt.Sprint(i+1)))
			}
		}
	}()
	for i := 1; i <= n; i++ {
		if m := receive[client.Message](t, f.c); string(m.Content) != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", m.Content, i)
		}
	}
	must(t, f.c.Close(ctx(t)))
	f.closeServer()
	<-over
}

func TestSendOnlyTakesNothing(t *testing.T) {
	f := newFixture(t, func(o *client.Options) { o.SendOnly, o.From = true, client.FromNow })
	conn, _ := f.welcome(packet.Welcome{Resume: 10, Limits: map[string]uint64{packet.LimitWindow: 3}})
	s := f.send("bob", "x")
	sends(t, conn, 1, 1)
	conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 1}, message(11, 10, "a"), message(12, 11, "b"),
		&packet.Receipt{Pos: 13, Gap: 1, Peer: []byte("bob"), Delivered: 1})
	must(t, s.Delivered(ctx(t)))
	conn.Write(message(14, 13, "c")) // the window is used up
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Resume != 14 {
		t.Fatalf("resumes at %d", hello.Resume)
	}
	must(t, f.c.Close(ctx(t)))
	if p, err := conn.Read(); err == nil {
		t.Fatalf("it says %+v", p)
	}
}

func TestReceiveEnds(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	receive[client.Connected](t, f.c)
	if _, err := f.c.Receive(canceled()); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	conn.Write(message(1, 0, "last"), &packet.Bye{Code: chat.CodeReplaced, Text: "elsewhere"})
	<-f.c.Done()
	receive[client.Message](t, f.c) // what had arrived is not lost
	if _, err := f.c.Receive(ctx(t)); chat.CodeOf(err) != chat.CodeReplaced {
		t.Fatalf("after the last event: %v", err)
	}
	wantCode(t, f.c.Err(), chat.CodeReplaced)
	wantCode(t, f.c.Connected(ctx(t)), chat.CodeReplaced)
	must(t, f.c.Close(ctx(t)))
	must(t, f.c.Close(ctx(t)))
}
