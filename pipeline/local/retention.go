package local

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// prepareRetry is how long to wait before trying again to make a segment.
const prepareRetry = time.Second

// quickFill is how soon a segment has to be full for the next one to be reserved
// and not written before: a commit then costs the disk more, but such a log would
// have it write everything twice.
const quickFill = 5 * time.Second

// preparedSegment is a segment to write into next, or why there is none.
type preparedSegment struct {
	segment *segment
	err     error
}

// retention keeps the segments: which there are, which nobody needs any more,
// and the one that is written next.
type retention struct {
	released chan struct{} // there may be something to reuse or delete

	mu      sync.Mutex
	segs    []*segment // oldest first; the last is written now
	begun   bool       // the last has a durable block
	durable []chat.Position
	next    uint64 // number of the next segment to make

	rolledAt time.Time // when the last was begun
	quick    bool      // the one before it was full within quickFill

	empty []*segment // found at Open, to be written first; of prepareLoop
}

func (t *retention) start(l *Log, full, empty []*segment) {
	t.released = make(chan struct{}, 1)
	t.durable = make([]chat.Position, len(l.partitions))
	t.segs, t.begun, t.empty, t.next = append(t.segs, full...), len(full) > 0, empty, 1
	for _, s := range append(t.segs[:len(t.segs):len(t.segs)], empty...) {
		t.next = s.number + 1
	}
}

// release notes what an owner's store has.
func (t *retention) release(partition int, upTo chat.Position) {
	t.mu.Lock()
	t.durable[partition] = max(t.durable[partition], upTo)
	idle := t.idle()
	t.mu.Unlock()
	if idle > 0 {
		signal(t.released)
	}
}

// rolled notes that next is written from now on, and where the segment before
// it ends.
func (t *retention) rolled(before *segment, endBytes int64, ends []chat.Position, next *segment) {
	t.mu.Lock()
	if before != nil {
		before.endBytes, before.last = endBytes, ends
	}
	t.segs, t.begun = append(t.segs, next), false
	at := now()
	t.quick, t.rolledAt = before != nil && at.Sub(t.rolledAt) < quickFill, at
	t.mu.Unlock()
}

// began notes that the segment written now has its first durable block.
func (t *retention) began() {
	t.mu.Lock()
	t.begun = true
	t.mu.Unlock()
	signal(t.released)
}

// idle counts the segments that nobody needs. While the last has no block, the
// one before it alone says where the partitions end.
func (t *retention) idle() (n int) {
	most := len(t.segs) - 1
	if !t.begun {
		most--
	}
	for n < most && t.segs[n].through(t.durable) {
		n++
	}
	return n
}

// isQuick reports whether segments fill within quickFill.
func (t *retention) isQuick() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.quick
}

// takeIdle takes the oldest segment off the list if more than keep are idle.
func (t *retention) takeIdle(keep int) *segment {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.idle() <= keep {
		return nil
	}
	s := t.segs[0]
	t.segs = t.segs[1:]
	return s
}

// prepareLoop has the next segment ready before it is needed, and deletes those
// that are too many, one at a time.
func (l *Log) prepareLoop() {
	defer l.workers.Done()
	for {
		s, err := l.prepare()
		if err != nil && !l.mustKnow(err) {
			continue
		}
		if !l.hand(preparedSegment{s, err}) {
			return
		}
	}
}

// hand gives a segment to the committer and meanwhile deletes what is too much.
// It returns false at the end.
func (l *Log) hand(s preparedSegment) bool {
	t := &l.retention
	for {
		select {
		case l.prepared <- s:
			return true
		case <-t.released:
			l.deleteIdle()
		case <-l.quit:
			if s.segment != nil {
				t.empty = append(t.empty, s.segment)
			}
			return false
		}
	}
}

// mustKnow waits after a failure to make a segment, before it is tried again.
// It returns true when the committer has to know, as the log ends.
func (l *Log) mustKnow(err error) bool {
	if l.failed.Load() != nil {
		return true
	}
	l.stats.prepareErrors.Add(1)
	l.logger.Error("no segment can be made, the log takes what fits in the present one", "dir", l.o.Dir, "error", err)
	retry := time.NewTimer(prepareRetry)
	defer retry.Stop()
	select {
	case <-l.closing:
		return true
	case <-l.retention.released:
	case <-retry.C:
	}
	return false
}

// prepare returns the next segment: one that was left empty, the oldest of
// those that nobody needs, or a new one. An error is no harm but the lack of
// the segment, unless the log has failed.
func (l *Log) prepare() (*segment, error) {
	t := &l.retention
	if len(t.empty) > 0 {
		s := t.empty[0]
		t.empty = t.empty[1:]
		return s, nil
	}
	s := l.takeReusable()
	if s == nil {
		var err error
		if s, err = createSegment(l.fs, l.o.Dir, l.o.SegmentBytes, t.isQuick()); err != nil {
			return nil, err
		}
	} else {
		l.stats.recycled.Add(1)
	}
	if err := s.rename(l.fs, l.o.Dir, t.next); err != nil {
		l.fail(fmt.Errorf("local log: %s cannot become segment %d: %w", s.name, t.next, err))
		return nil, errors.Join(err, s.file.Close())
	}
	t.next++
	return s, nil
}

// takeReusable returns an idle segment of the right size, nil when there is none.
func (l *Log) takeReusable() *segment {
	for s := l.retention.takeIdle(0); s != nil; s = l.retention.takeIdle(0) {
		if s.sizeBytes == l.o.SegmentBytes {
			return s
		}
		l.deleteSegment(s)
	}
	return nil
}

// deleteIdle deletes one segment if there are too many, and sees to it that
// the next is looked at soon.
func (l *Log) deleteIdle() {
	if s := l.retention.takeIdle(l.o.SpareSegments); s != nil {
		l.deleteSegment(s)
		signal(l.retention.released)
	}
}

// deleteSegment deletes the oldest segment, durably before a younger one is: a
// gap in the numbers would be corruption at the next Open.
func (l *Log) deleteSegment(s *segment) {
	err := errors.Join(s.file.Close(), l.fs.Remove(s.name))
	if err == nil {
		err = syncDir(l.fs, l.o.Dir)
	}
	if err != nil {
		l.fail(fmt.Errorf("local log: %s cannot be deleted: %w", s.name, err))
		return
	}
	l.stats.deleted.Add(1)
}

func (t *retention) close() (err error) {
	for _, s := range append(t.segs, t.empty...) {
		err = errors.Join(err, s.file.Close())
	}
	return err
}
