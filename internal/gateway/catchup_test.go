package gateway

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// storedUpTo owns everybody and has applied up to a position.
type storedUpTo struct {
	oneOwner
	applied chat.Position
}

func (o storedUpTo) Applied(context.Context, chat.User) (chat.Position, error) { return o.applied, nil }

// resumed is a session that has its welcome.
type resumed struct {
	*oneSession
	reader  frame.Reader
	pending []byte // of the socket, not parsed
	packets []byte
}

func resumeAt(t *testing.T, store storage.Store, owners Owners, at chat.Position) *resumed {
	t.Helper()
	s := &resumed{oneSession: newSession(t, store, owners, int64(at))}
	if err := s.net.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var w packet.Welcome
	if err := w.Decode(s.next()); err != nil || w.Resume != at {
		t.Fatalf("welcome %+v, %v", w, err)
	}
	return s
}

// next returns the next packet.
func (s *resumed) next() packet.Raw {
	s.t.Helper()
	for len(s.packets) == 0 {
		n, ev, ok, err := s.reader.Next(s.pending, &frame.Limits{MessageBytes: 1 << 20, Client: true})
		s.pending = s.pending[n:]
		if err != nil {
			s.t.Fatal(err)
		}
		if ok {
			s.packets = bytes.Clone(ev.Payload)
			continue
		}
		if n, err = s.in.Read(s.buf); err != nil {
			s.t.Fatal(err)
		}
		s.pending = bytes.Clone(s.buf[:n])
	}
	p, rest, err := packet.Next(s.packets)
	if err != nil {
		s.t.Fatal(err)
	}
	s.packets = rest
	return p
}

// sweptStore is an inbox that is swept once a session has begun: right before
// the first read of it.
type sweptStore struct {
	emptyStore
	mu        sync.Mutex
	truncated chat.Position
	entries   []chat.Entry
}

func (s *sweptStore) Truncated(context.Context, chat.User, chat.Position) (chat.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.truncated, nil
}

func (s *sweptStore) Inbox(_ context.Context, _ chat.User, after, upTo chat.Position, _ int, _ int64, dst []chat.Entry) ([]chat.Entry, chat.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.truncated = 40
	for _, e := range s.entries {
		if after < e.Pos && e.Pos <= upTo && e.Pos > s.truncated {
			e.Prev = after
			dst = append(dst, e)
		}
	}
	return dst, upTo, nil
}

func TestASweepAfterHelloIsTold(t *testing.T) {
	store := &sweptStore{}
	for _, pos := range []chat.Position{30, 50} {
		store.entries = append(store.entries, chat.Entry{Kind: chat.EntryMessage, User: "alice", Pos: pos, Message: chat.Message{From: "bob"}})
	}
	s := resumeAt(t, store, storedUpTo{applied: 60}, 10)
	var truncated packet.Truncated
	if err := truncated.Decode(s.next()); err != nil || truncated.Pos != 40 {
		t.Fatalf("truncated %+v, %v", truncated, err)
	}
	var m packet.Message
	if err := m.Decode(s.next()); err != nil || m.Pos != 50 || m.Gap != 10 {
		t.Fatalf("message %+v, %v", m, err)
	}
	var up packet.CaughtUp
	if err := up.Decode(s.next()); err != nil || up.Pos != 60 {
		t.Fatalf("caught up %+v, %v", up, err)
	}
}

// receiptStore has many receipts, and notes how it was asked for them.
type receiptStore struct {
	emptyStore
	mu       sync.Mutex
	receipts []chat.Receipt // in order
	most     int
	ranges   [][2]chat.Position
}

func (s *receiptStore) Receipts(_ context.Context, _ chat.User, after, upTo chat.Position, beyond chat.User, limit int, dst []chat.Receipt) ([]chat.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges, s.most = append(s.ranges, [2]chat.Position{after, upTo}), max(s.most, limit)
	i, found := slices.BinarySearchFunc(s.receipts, beyond, func(r chat.Receipt, u chat.User) int { return cmp.Compare(r.Peer, u) })
	if found {
		i++
	}
	return append(dst, s.receipts[i:min(i+limit, len(s.receipts))]...), nil
}

// advancing has applied more at each look.
type advancing struct {
	oneOwner
	mu      sync.Mutex
	applied chat.Position
}

func (o *advancing) Applied(context.Context, chat.User) (chat.Position, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.applied++
	return o.applied, nil
}

// However many receipts changed, they are read by bounded pages of one range,
// and are all sent before caught_up, which is not above that range.
func TestReceiptsOfCatchUpComeByPages(t *testing.T) {
	for _, count := range []int{pageReceipts - 1, pageReceipts, 3*pageReceipts + 7} {
		store := &receiptStore{}
		for i := range count {
			store.receipts = append(store.receipts, chat.Receipt{User: "alice", Peer: chat.User(fmt.Sprintf("peer%06d", i)), Delivered: 9})
		}
		s := resumeAt(t, store, &advancing{applied: 100}, 10)
		for _, want := range store.receipts {
			var r packet.Receipt
			if err := r.Decode(s.next()); err != nil || chat.User(r.Peer) != want.Peer || r.Pos != 0 {
				t.Fatalf("receipt %+v, %v; want that of %s", r, err, want.Peer)
			}
		}
		var up packet.CaughtUp
		if err := up.Decode(s.next()); err != nil {
			t.Fatal(err)
		}
		store.mu.Lock()
		for _, r := range store.ranges {
			if r != [2]chat.Position{10, up.Pos} {
				t.Errorf("caught up to %d, receipts were read of %d", up.Pos, r)
			}
		}
		if pages := count/pageReceipts + 1; len(store.ranges) != pages || store.most > pageReceipts {
			t.Errorf("%d receipts in %d reads of at most %d", count, len(store.ranges), store.most)
		}
		store.mu.Unlock()
	}
}
