package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/shard"
)

// follow goes from epoch to epoch for as long as the process runs.
func (s *Server) follow(ctx context.Context) {
	look := time.NewTicker(askEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		e := s.epochs.newest.Load()
		ended, err := e.ask(ctx)
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("whether there is a next epoch of the log is not known", "err", err)
		}
		if ended && s.goOn(ctx, e, time.Now()) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
}

// goOn opens the epoch after one that has ended, since a moment ago. It returns
// false to be tried again.
func (s *Server) goOn(ctx context.Context, e *epoch, heard time.Time) bool {
	o, err := backend.Kafka(s.cfg, s.logger)
	if err != nil {
		return false
	}
	l, err := kafka.OpenEpoch(ctx, o, e.log.Epoch()+1)
	if err != nil {
		s.logger.Error("the next epoch of the log is not opened, trying again", "epoch", e.log.Epoch()+1, "err", err)
		return false
	}
	n := newEpoch(l, e, s.store)
	if s.cfg.Processor() {
		if err := s.own(ctx, n); err != nil {
			s.logger.Error("the next epoch has no owners here, trying again", "epoch", l.Epoch(), "err", err)
			l.Close()
			return false
		}
	}
	s.logger.Info("the log goes on in a new epoch", "epoch", l.Epoch(), "partitions", l.Partitions())
	s.epochs.add(n)
	s.succeed(e, n, sealAfter-time.Since(heard))
	if s.gateway != nil {
		select {
		case <-ctx.Done():
		case <-time.After(switchAfter - e.unasked()):
			s.gateway.Follow(n.route())
		}
	}
	return true
}

// succeed tells the owners of an epoch which one follows.
func (s *Server) succeed(e, n *epoch, sealAfter time.Duration) {
	if e.shards != nil {
		e.shards.Succeed(shard.Next{Epoch: n.log.Epoch(), Log: n.log}, max(sealAfter, 0))
	}
}

// openEpochs makes epochs of the logs that were opened.
func (s *Server) openEpochs() {
	var before *epoch
	for _, l := range s.logs {
		e := newEpoch(l, before, s.store)
		if before != nil {
			before.ended.Store(true)
		}
		s.epochs.add(e)
		before = e
	}
}

// ownEpochs starts the owners of all epochs.
func (s *Server) ownEpochs(ctx context.Context) error {
	all := s.epochs.each()
	for i, e := range all {
		if err := s.own(ctx, e); err != nil {
			return err
		}
		if i > 0 {
			s.succeed(all[i-1], e, sealAfter)
		}
	}
	return nil
}

// own starts the owners of an epoch.
func (s *Server) own(ctx context.Context, e *epoch) (err error) {
	o := delivery.RemoteOptions{Own: s.cluster.id, Stale: s.cluster.directory.Forget, Nowhere: s.push.Offer, Logger: s.logger}
	if e.remote, err = delivery.NewRemote(o, e.log.Partitions(), s.cluster.directory, s.cluster.peers, s.delivery); err != nil {
		return err
	}
	if e.shards, err = s.startShards(ctx, e.log, e.remote, e.since()); err != nil {
		e.remote.Close()
	}
	return err
}

func (s *Server) startShards(ctx context.Context, log messageLog, deliver shard.Deliverer, since *shard.Since) (*shard.Shards, error) {
	c := s.cfg
	o := shard.Options{
		BatchRecords: c.Shard.BatchRecords, BatchBytes: c.Shard.BatchBytes, SyncEvery: c.Shard.SyncEvery,
		Heads: c.Shard.Heads, Logger: s.logger, Since: since,
	}
	if s.cluster != nil {
		o.ReadsAhead, o.MarkEvery = c.Shard.ReadsAhead, c.Shard.MarkEvery
	}
	shards, err := shard.Start(ctx, o, log, s.store, deliver)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrData, err)
	}
	return shards, nil
}

// stopOwners ends the owners: those of an older epoch forward to a newer one.
func (s *Server) stopOwners(ctx context.Context) error {
	if s.cluster == nil {
		if s.shards == nil {
			return nil
		}
		return s.shards.Stop(ctx)
	}
	var errs []error
	for _, e := range s.epochs.each() {
		if e.shards != nil {
			errs = append(errs, e.shards.Stop(ctx))
			e.remote.Close()
		}
	}
	return errors.Join(errs...)
}

func (s *Server) closeLogs() error {
	if s.log == nil {
		return nil
	}
	errs := []error{s.log.Close()}
	for _, l := range s.logs {
		errs = append(errs, l.Close())
	}
	for _, e := range s.epochs.each() {
		errs = append(errs, e.log.Close())
	}
	return errors.Join(errs...)
}
