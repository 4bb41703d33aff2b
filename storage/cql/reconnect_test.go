package cql

import (
	"context"
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/storage"
)

// TestServerGone: calls fail while the database is killed, work again when it
// is back, and find what was stored.
func TestServerGone(t *testing.T) {
	server := services.Start(t, "cassandra")
	o := own(t, server.Address, server.Servers)
	s := open(t, o)
	m := text("alice", "bob", day0, 1)
	must(t, s.Apply(t.Context(), &storage.Batch{Messages: []chat.Message{m}, Inbox: []chat.Entry{entryOf(m)}, Applied: 1}))
	server.Kill()
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
