package kafka

import (
	"testing"
	"testing/synctest"
	"time"
)

const testLinger = 20 * time.Millisecond

// ticking is a log whose writers can wait, and no more: there is no broker.
func ticking() *Log {
	return &Log{
		o:       Options{Linger: testLinger, BatchBytes: 1000},
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
}

// waiter is a partition's writer that has something to write n bytes long.
func waiter(n int64) *queue {
	return &queue{wake: make(chan struct{}, 1), waiting: []entry{{}}, bytes: n}
}

// awaited is when a queue is to be written, which others may be waiting for too.
func awaited(l *Log, q *queue, at *time.Time) {
	go func() {
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		if l.await(q, timer) {
			*at = time.Now()
		}
	}()
}

// Partitions that are written again and again are written at the same moments,
// whenever each has got something: so a broker has one request of all.
func TestBusyPartitionsAreWrittenAtCommonTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ticking()
		var at [3]time.Time
		for i := range at {
			time.Sleep(3 * time.Millisecond) // each begins at a moment of its own, within one tick
			q := waiter(10)
			q.last = time.Now().Add(-time.Duration(i) * testLinger)
			awaited(l, q, &at[i])
		}
		time.Sleep(testLinger)
		synctest.Wait()
		for i := range at {
			if at[i].IsZero() || !at[i].Equal(at[0]) || !at[i].Equal(at[i].Truncate(testLinger)) {
				t.Errorf("partition %d is written at %v, the first at %v", i, at[i], at[0])
			}
		}
	})
}

// Who was quiet does not wait, nor who has a batch full, nor anybody at the end.
func TestWhoDoesNotWaitForATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Millisecond) // off the tick
		l, now := ticking(), time.Now()
		quiet, full, filling, ending := waiter(10), waiter(1000), waiter(10), waiter(10)
		full.last, filling.last, ending.last = now, now, now
		quiet.last = now.Add(-idleAfter*testLinger - 1)
		var quietAt, fullAt, fillingAt, endingAt time.Time
		awaited(l, quiet, &quietAt)
		awaited(l, full, &fullAt)
		awaited(l, filling, &fillingAt)
		awaited(l, ending, &endingAt)
		synctest.Wait()
		if quietAt != now || fullAt != now || !fillingAt.IsZero() || !endingAt.IsZero() {
			t.Errorf("written at %v, %v, %v, %v; it is %v", quietAt, fullAt, fillingAt, endingAt, now)
		}
		filling.mu.Lock()
		filling.bytes = 1000
		filling.mu.Unlock()
		filling.wake <- struct{}{}
		synctest.Wait()
		if fillingAt != now || !endingAt.IsZero() {
			t.Errorf("written at %v, %v; it is %v", fillingAt, endingAt, now)
		}
		close(l.closing)
		synctest.Wait()
		if endingAt != now {
			t.Errorf("at the end it is written at %v; it is %v", endingAt, now)
		}
	})
}

// Brokers that answer again and again are asked at ticks, those that did not for
// a while at once; nobody waits for a tick at the end.
func TestBrokersAreAskedAtTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ticking()
		tick := time.NewTimer(time.Hour)
		defer tick.Stop()
		last := time.Now()
		for range 5 {
			time.Sleep(3 * time.Millisecond)
			last = l.pace(tick, last)
			if now := time.Now(); !now.Equal(now.Truncate(testLinger)) || now.Sub(last) != testLinger-3*time.Millisecond {
				t.Errorf("asked at %v, answered at %v", now, last)
			}
		}
		time.Sleep(idleAfter*testLinger + time.Millisecond)
		if last = l.pace(tick, last); last != time.Now() {
			t.Errorf("after a quiet time it is asked at %v, the answer came at %v", time.Now(), last)
		}
		close(l.closed)
		time.Sleep(time.Millisecond)
		if last = l.pace(tick, last); last != time.Now() {
			t.Error("at the end it waits")
		}
	})
}
