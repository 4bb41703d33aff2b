package gateway

import (
	"sync"
	"time"
)

// unavailableRetry is the retry-after of a request the server could not serve.
const unavailableRetry = time.Second

// workers is a bounded pool for what may block: reads of the store.
type workers struct {
	jobs chan func()
	quit chan struct{}
	done sync.WaitGroup
}

func startWorkers(n, queue int) *workers {
	w := &workers{jobs: make(chan func(), queue), quit: make(chan struct{})}
	for range n {
		w.done.Go(w.work)
	}
	return w
}

func (w *workers) work() {
	for {
		select {
		case job := <-w.jobs:
			job()
		case <-w.quit:
			w.rest()
			return
		}
	}
}

// rest does what is still queued.
func (w *workers) rest() {
	for {
		select {
		case job := <-w.jobs:
			job()
		default:
			return
		}
	}
}

// try queues a job, or reports that the queue is full.
func (w *workers) try(job func()) bool {
	select {
	case w.jobs <- job:
		return true
	default:
		return false
	}
}

// stop does what is queued. What is queued later, as others still run, may be
// dropped.
func (w *workers) stop() {
	close(w.quit)
	w.done.Wait()
}
