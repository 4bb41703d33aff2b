package cql

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/storage"
)

// TestServerGone: calls fail while the database is killed, work again when it
// is back, and find what was stored, to the last write that was acknowledged.
func TestServerGone(t *testing.T) {
	server := services.Start(t, "cassandra")
	o := own(t, server.Address, server.Servers)
	s := open(t, o)
	m := text("alice", "bob", day0, 1)
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: []chat.Message{m}, Inbox: []chat.Entry{entryOf(m)}, Applied: 1}))
	acknowledged := writeUntil(t, s, 3000, server.Kill)
	if err := s.Apply(t.Context(), &storage.Batch{Applied: 2}); err == nil {
		t.Error("stored without a database")
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("answered without a database")
	}
	server.Restart()
	eventually(t, func(ctx context.Context) error { return s.Apply(ctx, &storage.Batch{Applied: 2}) })
	applied, err := s.Applied(t.Context(), 0)
	must(t, err)
	ms, err := s.History(t.Context(), m.Chat(), chat.ID{}, 9, 0, nil)
	must(t, err)
	if applied != 2 || len(ms) != 1 {
		t.Errorf("applied is %d, there are %d messages", applied, len(ms))
	}
	for i, n := range acknowledged {
		if kept := len(messagesOf(t, s, sender(i))); kept < n {
			t.Errorf("of %s, %d messages are there; %d were acknowledged before it was killed", sender(i), kept, n)
		}
	}
}

func sender(i int) chat.User { return chat.User(fmt.Sprint("writer-", i)) }

// writeUntil stores messages for eight users at once until n are acknowledged,
// and goes on while kill ends the database. It returns how many each had
// acknowledged: the first so many.
func writeUntil(t *testing.T, s *Store, n int64, kill func()) []int {
	t.Helper()
	var total atomic.Int64
	var writers sync.WaitGroup
	enough := make(chan struct{})
	acknowledged := make([]int, 8)
	for i := range acknowledged {
		writers.Go(func() {
			for k := 1; ; k++ {
				m := text(sender(i), "bob", day0+int64(k), chat.Position(k))
				if s.Apply(t.Context(), &storage.Batch{Partition: 1 + i, Messages: []chat.Message{m}}) != nil {
					return
				}
				acknowledged[i] = k
				if total.Add(1) == n {
					close(enough)
				}
			}
		})
	}
	select {
	case <-enough:
	case <-t.Context().Done():
	}
	kill()
	writers.Wait()
	return acknowledged
}

// messagesOf is all of a user's chat with bob.
func messagesOf(t *testing.T, s *Store, user chat.User) (all []chat.Message) {
	t.Helper()
	for before := (chat.ID{}); ; before = all[len(all)-1].ID {
		n := len(all)
		var err error
		all, err = s.History(t.Context(), chat.DirectChat(user, "bob"), before, 100, 0, all)
		must(t, err)
		if len(all) == n {
			return all
		}
	}
}

// TestSessionDead: a session that never finds back is replaced.
func TestSessionDead(t *testing.T) {
	s := open(t, fresh(t))
	s.link.session.Load().Close()
	eventually(t, func(ctx context.Context) error {
		if err := s.Apply(ctx, &storage.Batch{Applied: 2}); err != nil {
			return err
		}
		if s.Stats().ReconnectsTotal == 0 {
			return fmt.Errorf("stored without another session")
		}
		return nil
	})
}
