package server

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/shard"
)

// observe registers the conditions of readiness, and the metrics of what runs
// before clients can connect.
func (s *Server) observe() {
	if s.gateway != nil {
		s.admin.Register(admin.Gateway(&s.gateway.Stats), admin.Delivery(&s.delivery.Stats), admin.Auth(&s.verifier.Stats))
	}
	if s.remote != nil {
		s.admin.Register(admin.Remote(func() *delivery.RemoteStats { return &s.epochs.newest.Load().remote.Stats }))
	}
	if s.cluster != nil && s.cluster.server != nil {
		s.admin.Register(admin.Links(&s.cluster.server.Stats))
	}
	if s.shards == nil {
		return
	}
	s.admin.Register(admin.Shards(s.ownerStats), admin.Push(&s.push.Stats))
	s.admin.Check("owners", func(context.Context) error {
		for _, shards := range s.allOwners() {
			for _, st := range shards.Stats() {
				if st.Halted {
					return fmt.Errorf("partition %d has stopped; the log says why", st.Partition)
				}
			}
		}
		return nil
	})
}

// allOwners are those of every epoch, the newest last.
func (s *Server) allOwners() []*shard.Shards {
	if s.cluster == nil {
		return []*shard.Shards{s.shards}
	}
	var all []*shard.Shards
	for _, e := range s.epochs.each() {
		all = append(all, e.shards)
	}
	return all
}

// ownerStats are the partitions of the newest epoch that are owned here.
func (s *Server) ownerStats() []shard.PartitionStats {
	all := s.allOwners()
	return all[len(all)-1].Stats()
}
