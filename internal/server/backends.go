package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/pipeline/local"
	"github.com/rookery-chat/rookery/storage/cql"
	"github.com/rookery-chat/rookery/storage/pebble"
)

// messageLog is the log as the owners need it.
type messageLog interface {
	pipeline.Log
	RaiseEpoch(above uint16) error
}

const (
	reachFirst = 200 * time.Millisecond // pause after the first try to reach a server
	reachMost  = 5 * time.Second        // and the longest
)

// openBackends opens log and store, at once.
func (s *Server) openBackends(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.openLog(ctx) })
	g.Go(func() error { return s.openStore(ctx) })
	return g.Wait()
}

func (s *Server) openLog(ctx context.Context) error {
	c := s.cfg
	if c.Pipeline.URL != "local" {
		o, err := backend.Kafka(c, s.logger)
		if err != nil {
			return err
		}
		return s.reach(ctx, "log", func(ctx context.Context) error {
			logs, err := kafka.OpenAll(ctx, o)
			if err != nil {
				return err
			}
			s.logs, s.log = logs, logs[len(logs)-1]
			s.admin.Register(admin.Kafka(func() kafka.Stats { return s.newestLog().Stats() }))
			s.admin.Tell("log", func(context.Context) error { return s.newestLog().Err() })
			return nil
		})
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	l, err := local.Open(local.Options{
		Dir: filepath.Join(c.Data, "log"), Partitions: c.Pipeline.Partitions,
		SegmentBytes: c.Pipeline.SegmentBytes, BlockBytes: int(min(c.Pipeline.SegmentBytes/2, maxBlockBytes)),
		PartitionBytes: c.Pipeline.PartitionBytes, Every: c.Pipeline.CommitEvery, Logger: s.logger,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	s.log = l
	s.admin.Register(admin.Log(l.Stats))
	return nil
}

// newestLog is that of the epoch to which is appended, in Kafka.
func (s *Server) newestLog() *kafka.Log {
	if e := s.epochs.newest.Load(); e != nil {
		return e.log
	}
	return s.logs[len(s.logs)-1]
}

func (s *Server) openStore(ctx context.Context) error {
	c := s.cfg
	if c.Store.URL != "pebble" {
		o, err := backend.CQL(c, s.logger)
		if err != nil {
			return err
		}
		return s.reach(ctx, "store", func(context.Context) error {
			st, err := cql.Open(o)
			if err != nil {
				return err
			}
			s.store = st
			s.admin.Register(admin.CQL(st.Stats))
			s.admin.Tell("store", func(context.Context) error { return cqlUp(st) })
			return nil
		})
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	st, err := pebble.Open(pebble.Options{
		Dir: filepath.Join(c.Data, "store"), CacheBytes: c.Store.CacheBytes, MemtableBytes: c.Store.MemtableBytes, Logger: s.logger,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	s.store = st
	s.admin.Register(admin.Store(st.Stats))
	return nil
}

func cqlUp(st *cql.Store) error {
	if st.Stats().NodesUp == 0 {
		return fmt.Errorf("no node of the store answers")
	}
	return nil
}

// reach calls open until it succeeds or ctx ends. Meanwhile readiness names what
// is missing, and the log says it in a line at the 1st, 2nd, 4th try and so on.
func (s *Server) reach(ctx context.Context, name string, open func(context.Context) error) error {
	var mu sync.Mutex
	missing := fmt.Errorf("not reached yet")
	s.admin.Check(name+" at the start", func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		return missing
	})
	wait := reachFirst
	for try := 1; ; try++ {
		err := open(ctx)
		mu.Lock()
		missing = err
		mu.Unlock()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if try&(try-1) == 0 {
			s.logger.Error(name+" not reached, trying again", "url", s.urlOf(name), "err", err, "tries", try, "next_in", wait.String())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, reachMost)
	}
}

func (s *Server) urlOf(name string) string {
	if name == "log" {
		return s.cfg.Pipeline.URL
	}
	return s.cfg.Store.URL
}
