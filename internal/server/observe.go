package server

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/internal/admin"
)

// observe registers the conditions of readiness, and the metrics of what runs
// before clients can connect.
func (s *Server) observe() {
	s.admin.Register(
		admin.Gateway(&s.gateway.Stats), admin.Delivery(&s.delivery.Stats),
		admin.Log(s.log.Stats), admin.Shards(s.shards.Stats), admin.Store(s.store.Stats),
	)
	s.admin.Check("owners", func(context.Context) error {
		for _, st := range s.shards.Stats() {
			if st.Halted {
				return fmt.Errorf("partition %d has stopped; the log says why", st.Partition)
			}
		}
		return nil
	})
}
