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
	done sync.WaitGroup
}

func startWorkers(n, queue int) *workers {
	w := &workers{jobs: make(chan func(), queue)}
	for range n {
		w.done.Go(func() {
			for job := range w.jobs {
				job()
			}
		})
	}
	return w
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

func (w *workers) stop() {
	close(w.jobs)
	w.done.Wait()
}
