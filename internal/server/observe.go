package server

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/internal/admin"
)

// observe registers the conditions of readiness, and the metrics of what runs
// before clients can connect.
func (s *Server) observe() {
	if s.gateway != nil {
		s.admin.Register(admin.Gateway(&s.gateway.Stats), admin.Delivery(&s.delivery.Stats))
	}
	if s.remote != nil {
		s.admin.Register(admin.Remote(&s.remote.Stats))
	}
	if s.cluster != nil && s.cluster.server != nil {
		s.admin.Register(admin.Links(&s.cluster.server.Stats))
	}
	if s.shards == nil {
		return
	}
	s.admin.Register(admin.Shards(s.shards.Stats), admin.Push(&s.push.Stats))
	s.admin.Check("owners", func(context.Context) error {
		for _, st := range s.shards.Stats() {
			if st.Halted {
				return fmt.Errorf("partition %d has stopped; the log says why", st.Partition)
			}
		}
		return nil
	})
}
