package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

var g1, g2 = presence.Gateway{ID: "g1", Epoch: 1, Address: "a:1"}, presence.Gateway{ID: "g2", Epoch: 1, Address: "a:2"}

// world is a directory and the peers.
type world struct {
	mu    sync.Mutex
	at    map[chat.User][]presence.Gateway
	all   []presence.Gateway
	err   error
	hold  chan struct{} // if there is one, Where waits for it
	asked [][]chat.User
	sent  []string // "g1 bob 7"

	packet func(h *Hint) // called for each that is sent, may be nil
}

func (w *world) Where(ctx context.Context, users []chat.User) ([][]presence.Gateway, error) {
	if w.hold != nil {
		select {
		case <-w.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var asked []chat.User
	var found [][]presence.Gateway
	for _, u := range users {
		asked = append(asked, u)
		found = append(found, w.at[u])
	}
	w.asked = append(w.asked, asked)
	return found, w.err
}

func (w *world) Gateways(context.Context) ([]presence.Gateway, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all, w.err
}

func (w *world) Send(to presence.Gateway, h *Hint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, fmt.Sprintf("%s %s %d", to.ID, h.User, h.Pos))
	if w.packet != nil {
		w.packet(h)
	}
}

func newRemote(t *testing.T, o RemoteOptions, w *world, local *Delivery) *Remote {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	r, err := NewRemote(o, 2, w, w, local)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRemoteSendsToEveryGatewayOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{at: map[chat.User][]presence.Gateway{"bob": {g1, g2}, "carol": {g2}}}
		var away []string
		r := newRemote(t, RemoteOptions{Nowhere: func(u, from chat.User, pos chat.Position) {
			away = append(away, fmt.Sprintf("%s from %s at %d", u, from, pos))
		}}, w, nil)
		receipt := chat.Entry{Kind: chat.EntryReceipt, User: "dave", Pos: 5, Receipt: chat.Receipt{User: "dave", Peer: "bob"}}
		r.Deliver(1, []chat.Entry{message("bob", "x/alice", 1, "a"), message("carol", "alice", 2, "b"), message("bob", "alice", 3, "c"),
			message("dave", "x/alice", 4, "d"), receipt}, []chat.Outcome{{User: "carol", To: "bob"}, {User: "erin", To: "bob"}})
		synctest.Wait()
		want := []string{"g1 bob 1", "g2 bob 1", "g2 carol 2", "g1 bob 3", "g2 bob 3", "g2 carol 0"}
		if !slices.Equal(w.sent, want) {
			t.Errorf("sent %q, want %q", w.sent, want)
		}
		r.Deliver(1, []chat.Entry{message("frank", "alice", 6, "over the first ones' bytes")}, nil)
		synctest.Wait()
		r.Deliver(1, []chat.Entry{message("grace", "alice", 7, "over the first ones' bytes")}, nil)
		synctest.Wait()
		if len(w.asked) != 3 || !slices.Equal(w.asked[0], []chat.User{"bob", "carol", "dave", "erin"}) {
			t.Errorf("asked %q: once a delivery, and each user once", w.asked)
		}
		if !slices.Equal(away, []string{"dave from x/alice at 4", "frank from alice at 6", "grace from alice at 7"}) {
			t.Errorf("nowhere: %q, want the messages alone", away)
		}
		if s := &r.Stats; s.Sent.Load() != 6 || s.Nowhere.Load() != 5 {
			t.Errorf("counted %d sent, %d nowhere", s.Sent.Load(), s.Nowhere.Load())
		}
		r.Close()
	})
}

func TestOwnSessionsNeedNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHere(0, 1)
		h.table.Register("bob", chat.Node{1}, 1)
		w := &world{at: map[chat.User][]presence.Gateway{"bob": {g1, g2}, "carol": {g1}}}
		var stale []string
		r := newRemote(t, RemoteOptions{Own: "g1", Stale: func(u chat.User, at presence.Gateway) { stale = append(stale, string(u)+" at "+at.ID) }}, w, h.Delivery)
		r.Deliver(0, []chat.Entry{message("bob", "alice", 1, "a"), message("carol", "alice", 2, "b")}, nil)
		synctest.Wait()
		if !slices.Equal(w.sent, []string{"g2 bob 1"}) || len(h.took()) != 1 || h.took()[0].Items[0].Pos != 1 {
			t.Errorf("sent %q, %d mails here", w.sent, len(h.took()))
		}
		if !slices.Equal(stale, []string{"carol at g1"}) {
			t.Errorf("stale: %q", stale)
		}
		r.Close()
	})
}

// TestDirectoryLost holds that every gateway that was known gets the hints when
// the directory answers no more, and that pushes are thought of.
func TestDirectoryLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{all: []presence.Gateway{g1, g2}}
		var away []string
		r := newRemote(t, RemoteOptions{Nowhere: func(u, _ chat.User, _ chat.Position) { away = append(away, string(u)) }}, w, nil)
		synctest.Wait() // it has asked who is alive
		w.mu.Lock()
		w.err = errors.New("away")
		w.mu.Unlock()
		r.Deliver(0, []chat.Entry{message("bob", "alice", 1, "a")}, nil)
		synctest.Wait()
		if !slices.Equal(w.sent, []string{"g1 bob 1", "g2 bob 1"}) || !slices.Equal(away, []string{"bob"}) {
			t.Errorf("sent %q, offered for %q", w.sent, away)
		}
		if s := &r.Stats; s.ToAll.Load() != 1 || s.DroppedWhere.Load() != 0 {
			t.Errorf("counted %d to all, %d dropped", s.ToAll.Load(), s.DroppedWhere.Load())
		}
		r.Close()
	})
}

// TestWithoutADirectory holds that sessions here go on when it does not answer,
// and that everybody is offered for a push: who is somewhere takes the message
// before it goes out.
func TestWithoutADirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHere(0, 1)
		h.table.Register("bob", chat.Node{1}, 1)
		w := &world{err: errors.New("no answer")}
		away := 0
		r := newRemote(t, RemoteOptions{Own: "g1", Nowhere: func(chat.User, chat.User, chat.Position) { away++ }}, w, h.Delivery)
		r.Deliver(0, []chat.Entry{message("bob", "alice", 1, "a"), message("carol", "alice", 2, "b")}, nil)
		synctest.Wait()
		if len(h.took()) != 1 || len(w.sent) != 0 || away != 2 || r.Stats.DroppedWhere.Load() != 2 {
			t.Errorf("%d mails, sent %q, offered %d, dropped %d", len(h.took()), w.sent, away, r.Stats.DroppedWhere.Load())
		}
		r.Close()
	})
}

// TestRemoteQueueIsBounded crosses QueueBytes while the directory is slow.
func TestRemoteQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{at: map[chat.User][]presence.Gateway{"bob": {g1}}, hold: make(chan struct{})}
		r := newRemote(t, RemoteOptions{QueueBytes: 1000}, w, nil)
		deliver := func(pos chat.Position, bytes int) {
			r.Deliver(0, []chat.Entry{message("bob", "alice", pos, string(make([]byte, bytes)))}, nil)
			synctest.Wait()
		}
		deliver(1, 5000) // alone it always fits
		deliver(2, 1)
		if n := r.Stats.DroppedQueue.Load(); n != 1 {
			t.Errorf("%d dropped beside a large one, want 1", n)
		}
		w.hold <- struct{}{}
		synctest.Wait()
		for pos := range chat.Position(4) {
			deliver(10+pos, 270)
		}
		if n := r.Stats.DroppedQueue.Load(); n != 2 {
			t.Errorf("%d dropped, want 2: three fit", n)
		}
		close(w.hold)
		synctest.Wait()
		if !slices.Equal(w.sent, []string{"g1 bob 1", "g1 bob 10", "g1 bob 11", "g1 bob 12"}) {
			t.Errorf("sent %q", w.sent)
		}
		r.Deliver(1, []chat.Entry{message("bob", "alice", 20, "another partition")}, nil)
		synctest.Wait()
		if len(w.sent) != 5 {
			t.Errorf("sent %q", w.sent)
		}
		r.Close()
	})
}

// TestLookupsAreBounded crosses lookupUsers.
func TestLookupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		r := newRemote(t, RemoteOptions{}, w, nil)
		var entries []chat.Entry
		for i := range lookupUsers + 1 {
			entries = append(entries, message(chat.User(fmt.Sprintf("u%d", i)), "alice", 1, "x"))
		}
		r.Deliver(0, entries, nil)
		synctest.Wait()
		if len(w.asked) != 2 || len(w.asked[0]) != lookupUsers || len(w.asked[1]) != 1 {
			t.Errorf("%d questions", len(w.asked))
		}
		r.Close()
	})
}

// TestCloseEndsALookup holds that a stop waits for no directory.
func TestCloseEndsALookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{hold: make(chan struct{})}
		r := newRemote(t, RemoteOptions{}, w, nil)
		r.Deliver(0, []chat.Entry{message("bob", "alice", 1, "x")}, nil)
		synctest.Wait()
		r.Close()
	})
}

// TestDeliverToOthersDoesNotAllocate is about entries; outcomes are rare.
func TestDeliverToOthersDoesNotAllocate(t *testing.T) {
	w := &world{hold: make(chan struct{})} // the router stands still
	r := newRemote(t, RemoteOptions{}, w, nil)
	defer r.Close()
	rt, entries := r.routers[0], []chat.Entry{message("bob", "alice", 1, "hello"), message("bob", "alice", 2, "copy")}
	entries[1].Kind = chat.EntryCopy
	n := testing.AllocsPerRun(1000, func() {
		r.Deliver(0, entries, nil)
		rt.mu.Lock()
		rt.queue.reset()
		rt.mu.Unlock()
	})
	if n != 0 && !raceEnabled {
		t.Errorf("%v allocations for a message and a copy", n)
	}
}
