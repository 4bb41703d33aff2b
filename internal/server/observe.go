package server

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/internal/admin"
)

// observe registers metrics and the conditions of readiness.
func (s *Server) observe() {
	s.admin.Register(
		admin.Engine(s.engine.Stats), admin.Gateway(&s.gateway.Stats), admin.Delivery(&s.delivery.Stats),
		admin.Log(s.log.Stats), admin.Shards(s.shards.Stats), admin.Store(s.store.Stats),
	)
	s.admin.Check("owners", func(context.Context) error {
		for p, st := range s.shards.Stats() {
			if st.Halted {
				return fmt.Errorf("partition %d has stopped; the log says why", p)
			}
		}
		return nil
	})
}
