package rpc

import (
	"context"
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
	a, err := write(t, stream, later(appendHint(b, hint("bob", 7))))
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
	if _, err := write(t, foreign(t, at), appendHint(nil, hint("bob", 1))); status.Code(err) != codes.Internal {
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
		b = appendHint(b, h)
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
	b, c := appendHint(appendHeader(nil, 1), hint("bob", 1)), appendHint(appendHeader(nil, 2), hint("bob", 2))
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
