package rpc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// foreign is a client that writes what it likes, as another version would.
func foreign(t *testing.T, at presence.Gateway) grpc.BidiStreamingClient[Frame, Answer] {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+at.Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallSendMsgSize(2*maxFrameBytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	stream, err := NewDeliveryClient(c).Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// write sends bytes as a frame and returns what comes back.
func write(t *testing.T, stream grpc.BidiStreamingClient[Frame, Answer], b []byte) (*Answer, error) {
	t.Helper()
	if err := stream.SendMsg(&outgoing{&b}); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return stream.Recv()
}

// later is a field that this version does not know.
func later(b []byte) []byte {
	b = protowire.AppendTag(b, 200, protowire.BytesType)
	return protowire.AppendBytes(b, []byte("of a later version"))
}

func TestAFrameOfALaterVersion(t *testing.T) {
	f := newFar()
	_, s, at := pair(t, Options{}, f)
	stream := foreign(t, at)
	b := later(appendFrame(nil, &Frame{Version: version + 1, Seq: 9, Hints: []*Hint{{User: "bob", Kind: 99, Pos: 6, Node: make([]byte, 6), Packet: []byte("x")}}}))
	a, err := write(t, stream, later(appendHint(b, hint("bob", 7), false)))
	if err != nil || a.Seq != 9 || a.Version != version {
		t.Fatalf("%v, %v", a, err)
	}
	if got := f.waitFor(t, 1); len(got) != 1 || got[0] != line("bob", 7) || s.Stats.Unknown.Load() != 1 {
		t.Errorf("%q", got)
	}
}

func TestAFrameOfAnEarlierVersion(t *testing.T) {
	f := newFar()
	_, _, at := pair(t, Options{}, f)
	if a, err := write(t, foreign(t, at), appendFrame(nil, &Frame{Seq: 3, Typing: []*Typing{{From: "a", To: "b"}}})); err != nil || a.Seq != 3 {
		t.Fatalf("%v, %v", a, err)
	}
	if got := f.waitFor(t, 1); got[0] != "typing a b false" {
		t.Errorf("%q", got)
	}
}

// TestSharedPackets: a packet that many hints have goes once a frame, to who has
// answered that it knows such hints, and each gets it.
func TestSharedPackets(t *testing.T) {
	f := newFar()
	f.hold = make(chan struct{})
	p, _, at := pair(t, Options{FrameHints: 50}, f)
	packet := bytes.Repeat([]byte("p"), 1000)
	send := func(n int) {
		for i := range n {
			h := hint(fmt.Sprint("u", i), chat.Position(i+1))
			h.Packet = packet
			p.Send(at, h)
		}
	}
	send(1)
	f.hold <- struct{}{}
	f.waitFor(t, 1)
	eventually(t, "it has answered", func() bool { return p.Stats.Bytes.Load() == 0 })
	const members = 1000
	send(members)
	if n := p.Stats.Bytes.Load(); n > members*60+members/50*2*int64(len(packet))+int64(len(packet)) {
		t.Errorf("%d bytes wait, for %d hints with one packet", n, members)
	}
	other := hint("u0", members+1)
	p.Send(at, other)
	close(f.hold)
	got := f.waitFor(t, members+2)
	for i := range members {
		h := hint(fmt.Sprint("u", i), chat.Position(i+1))
		h.Packet = packet
		if want := fmt.Sprintf("%s %d %d %d %x %s %s", h.User, h.Kind, h.Pos, h.Prev, h.Node, h.Packet, h.Bare); got[1+i] != want {
			t.Fatalf("the %d. is %.80q, want %.80q", i, got[1+i], want)
		}
	}
	if got[members+1] != line("u0", members+1) {
		t.Errorf("the last is %q", got[members+1])
	}
}

// TestNoSharedPacketsForAnEarlierVersion: who answers with a version that does not
// know them, or not yet, gets every packet.
func TestNoSharedPacketsForAnEarlierVersion(t *testing.T) {
	q := newPeer(&Peers{opt: Options{QueueBytes: 1 << 20, FrameBytes: 1 << 16, FrameHints: 100}}, presence.Gateway{})
	size := func() int {
		before := len(*q.filling().buf)
		if err := q.hint(hint("bob", 1)); err != nil {
			t.Fatal(err)
		}
		return len(*q.filling().buf) - before
	}
	whole := size()
	for _, v := range []uint32{0, sharing - 1} {
		if q.version = v; size() != whole {
			t.Errorf("version %d gets a hint of another size than %d", v, whole)
		}
	}
	q.answered(&Answer{Version: sharing})
	if n := size(); n >= whole {
		t.Errorf("version %d gets %d bytes, as before", sharing, n)
	}
	q.broken()
	if n := size(); n != whole {
		t.Errorf("after a break, before an answer: %d bytes, want %d", n, whole)
	}
}

// laterServer answers as a later version: with fields, users and calls that the
// sender does not know.
type laterServer struct{ UnimplementedDeliveryServer }

func (laterServer) Link(stream grpc.BidiStreamingServer[Frame, Answer]) error {
	for {
		f, err := stream.Recv()
		if err != nil {
			return nil
		}
		a := &Answer{Version: version + 1, Seq: f.Seq, Absent: []string{"carol"}, Siblings: []uint64{12345}}
		for _, s := range f.Siblings {
			a.Siblings = append(a.Siblings, s.Call)
		}
		a.ProtoReflect().SetUnknown(later(nil))
		if err := stream.Send(a); err != nil {
			return err
		}
	}
}

func TestAnAnswerOfALaterVersion(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	RegisterDeliveryServer(server, laterServer{})
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	defer serving.Wait()
	defer server.Stop()
	stale := make(chan chat.User, 1)
	p := newPeers(t, Options{Plaintext: true, Stale: func(u chat.User, _ presence.Gateway) { stale <- u }})
	if err := p.Siblings(context.Background(), presence.Gateway{ID: "g", Address: l.Addr().String()}, "bob"); err != nil {
		t.Error(err)
	}
	if u := <-stale; u != "carol" {
		t.Error(u)
	}
	eventually(t, "everything is answered", func() bool { return p.Stats.Bytes.Load() == 0 })
}

// TestBadFramesEndTheirLinkAlone holds that what comes on one link does no harm
// to another.
func TestBadFramesEndTheirLinkAlone(t *testing.T) {
	f := newFar()
	p, s, at := pair(t, Options{}, f)
	var calls []byte
	for i := range maxCalls + 1 {
		calls = appendFrame(calls, &Frame{Siblings: []*Sibling{{Call: uint64(i), User: "x"}}})
	}
	for name, c := range map[string]struct {
		frame []byte
		code  codes.Code
	}{
		"no protobuf":    {[]byte{0xff, 0xff, 0xff}, codes.InvalidArgument},
		"too large":      {make([]byte, maxFrameBytes+1), codes.ResourceExhausted},
		"too many calls": {calls, codes.ResourceExhausted},
	} {
		if _, err := write(t, foreign(t, at), c.frame); status.Code(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.mu.Lock()
	f.fail = true
	f.mu.Unlock()
	if _, err := write(t, foreign(t, at), appendHint(nil, hint("bob", 1), false)); status.Code(err) != codes.Internal {
		t.Errorf("a receiver that fails: %v", err)
	}
	f.mu.Lock()
	f.fail, f.got = false, nil
	f.mu.Unlock()
	p.Send(at, hint("bob", 2))
	f.waitFor(t, 1)
	if n := s.Stats.Faults.Load(); n != 4 {
		t.Errorf("%d faults are counted", n)
	}
}

// TestAnswersAreBounded crosses maxAbsent.
func TestAnswersAreBounded(t *testing.T) {
	f := newFar()
	_, _, at := pair(t, Options{}, f)
	var b []byte
	for i := range maxAbsent + 10 {
		h := hint("u", 1)
		h.User = protowire.AppendFixed32([]byte("u"), uint32(i)&0x7f|uint32(i)>>7<<8) // ASCII
		f.absent[string(h.User)] = true
		b = appendHint(b, h, false)
	}
	a, err := write(t, foreign(t, at), appendFrame(b, &Frame{Seq: 1}))
	if err != nil || len(a.Absent) != maxAbsent {
		t.Errorf("%d users, %v", len(a.GetAbsent()), err)
	}
}

// TestStopAnswersWhatWasTaken stops a server that is at work.
func TestStopAnswersWhatWasTaken(t *testing.T) {
	f := newFar()
	f.hold = make(chan struct{})
	_, s, at := pair(t, Options{}, f)
	stream := foreign(t, at)
	b, c := appendHint(appendHeader(nil, 1), hint("bob", 1), false), appendHint(appendHeader(nil, 2), hint("bob", 2), false)
	for _, frame := range []*[]byte{&b, &c} {
		if err := stream.SendMsg(&outgoing{frame}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is worked on", func() bool { return s.Stats.Frames.Load() == 1 })
	stopped := make(chan struct{})
	go func() {
		s.Stop(context.Background())
		close(stopped)
	}()
	<-s.stopping
	f.hold <- struct{}{}
	close(f.hold) // for the second, if the server takes it before it sees the stop
	var seq uint64
	for {
		a, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seq = a.Seq
	}
	<-stopped
	if got := f.waitFor(t, 1); seq != uint64(len(got)) {
		t.Errorf("frames up to %d were answered, %d were taken", seq, len(got))
	}
}
