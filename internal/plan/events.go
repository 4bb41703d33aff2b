package plan

import "container/heap"

// events is the queue of a discrete-event simulation. Events of the same time
// happen in the order in which they were planned.
type events struct {
	now  float64 // seconds
	next uint64
	heap eventHeap
}

type event struct {
	at    float64
	order uint64
	do    func()
}

// at plans something; what lies in the past happens now.
func (e *events) at(t float64, do func()) {
	e.next++
	heap.Push(&e.heap, event{max(t, e.now), e.next, do})
}

// until runs everything up to a time.
func (e *events) until(t float64) {
	for len(e.heap) > 0 && e.heap[0].at <= t {
		next := heap.Pop(&e.heap).(event)
		e.now = next.at
		next.do()
	}
	e.now = max(e.now, t)
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }

func (h eventHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}

func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }

func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = event{}
	*h = (*h)[:last]
	return e
}
