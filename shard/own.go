package shard

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// running is a worker at work.
type running struct {
	w           *worker
	stopReading context.CancelFunc // ends the reading of the log
	kill        context.CancelFunc // ends everything else too
	ended       sync.WaitGroup     // reader and worker

	sealing atomic.Bool // a seal is on its way, or there

	synced chat.Position // the mark that a Sync has covered; guarded by Shards.syncMu
}

// loseTimeout is how long an owner that loses a partition may take to make
// durable what it has derived. The next owner derives again what it did not.
const loseTimeout = 3 * time.Second

// Gain implements pipeline.Owner. It checks the store's marks against the log
// (law 9) and starts the workers. A store that is of another log, or ahead of
// it, makes it start a new epoch, loudly; a log that begins above what is
// stored stops the partition.
func (s *Shards) Gain(ctx context.Context, partitions []int) error {
	s.ownMu.Lock()
	defer s.ownMu.Unlock()
	if s.stopped {
		return context.Canceled
	}
	marks, err := resume(ctx, s.opt.Logger, s.log, s.store, partitions)
	if err != nil {
		return err
	}
	workers := make([]*worker, len(partitions))
	for i, p := range partitions {
		if workers[i], err = newWorker(&s.opt, p, marks[i], s.ring, s.log, s.store, s.deliver); err != nil {
			return err
		}
	}
	for i, w := range workers {
		s.start(w, partitions[i])
	}
	if err := s.sync(ctx); err != nil { // the log may delete what was stored before
		s.lose(partitions)
		return err
	}
	return nil
}

func (s *Shards) start(w *worker, p int) {
	life, kill := context.WithCancel(context.Background())
	reading, stopReading := context.WithCancel(life)
	r := &running{w: w, kill: kill, stopReading: stopReading}
	r.ended.Go(func() {
		if err := w.start(reading); err != nil {
			w.haltUnless(reading, err)
			return
		}
		r.ended.Go(func() { w.read(reading) })
		w.run(life)
	})
	s.running[p].Store(r)
}

// Lose implements pipeline.Owner.
func (s *Shards) Lose(partitions []int) {
	s.ownMu.Lock()
	defer s.ownMu.Unlock()
	s.lose(partitions)
}

func (s *Shards) lose(partitions []int) {
	ctx, cancel := context.WithTimeout(context.Background(), loseTimeout)
	defer cancel()
	if err := s.finish(ctx, partitions); err != nil {
		s.opt.Logger.Warn("partitions given up before everything was marked", "partitions", partitions, "err", err)
	}
	for _, p := range partitions {
		s.running[p].Store(nil)
	}
}

// finish ends the workers of partitions: gently, until ctx ends.
func (s *Shards) finish(ctx context.Context, partitions []int) error {
	var all []*running
	for _, p := range partitions {
		if r := s.running[p].Load(); r != nil {
			r.stopReading()
			all = append(all, r)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, r := range all {
			r.kill()
		}
	})
	defer stop()
	for _, r := range all {
		r.ended.Wait()
		r.kill()
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("shard: stopped before everything was marked: %w", err)
	}
	return nil
}

// owned are the partitions that have a worker.
func (s *Shards) owned() (partitions []int) {
	for p := range s.running {
		if s.running[p].Load() != nil {
			partitions = append(partitions, p)
		}
	}
	return partitions
}
