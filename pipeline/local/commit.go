package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// Under load a commit waits, up to Options.Linger, until lingerBytes are there, and
// always where Options.Every is set: a commit costs the same processor time whatever
// its size, here and in every owner that it wakes. Load is a last commit of lingerAbove records or more.
const (
	lingerBytes = 256 << 10
	lingerAbove = 6
)

// errNoRoom says that Close wanted one segment more than the disk had.
var errNoRoom = errors.New("local log: no segment could be made")

// committer is the state of the goroutine that writes.
type committer struct {
	segment *segment // nil before the first block
	at      int64
	number  uint64          // of the last block
	ends    []chat.Position // the last assigned of each partition
	buf     []byte          // the block that is being written
	taken   []entry         // the queue's other half
	linger  *time.Timer
	last    int       // records of the last commit
	began   time.Time // the last commit
}

func (c *committer) start(l *Log, r *recovery, full []*segment) {
	c.ends, c.number = r.ends, r.number
	if len(full) > 0 {
		c.segment = full[len(full)-1]
		c.at = c.segment.endBytes
	}
	c.linger = time.NewTimer(time.Hour)
	c.linger.Stop()
}

// commitLoop is the goroutine that writes all blocks, one at a time.
func (l *Log) commitLoop() {
	defer l.workers.Done()
	defer close(l.quit)
	for {
		entries, ok := l.take()
		for len(entries) > 0 {
			n := l.fit(entries)
			if err := l.commit(entries[:n]); err != nil {
				l.abandon(entries, err)
				return
			}
			entries = entries[n:]
		}
		if !ok {
			return
		}
	}
}

// take waits for something in the queue and takes all of it; ok is false at
// the end.
func (l *Log) take() (entries []entry, ok bool) {
	c := &l.committer
	l.wait(func() bool { return l.queuedBytes > 0 }, nil)
	if wait := l.gather(); wait > 0 {
		c.linger.Reset(wait)
		l.wait(func() bool { return l.queuedBytes >= lingerBytes }, c.linger.C)
		c.linger.Stop()
	}
	clear(c.taken)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue, c.taken = c.taken[:0], l.queue
	return c.taken, !l.refusing
}

// gather is how long the next commit may wait for more.
func (l *Log) gather() time.Duration {
	c := &l.committer
	switch {
	case l.o.Every > 0:
		return l.o.Every - now().Sub(c.began)
	case c.last >= lingerAbove:
		return l.o.Linger
	}
	return 0
}

// wait returns when enough says so, at the timeout, or when the log closes.
func (l *Log) wait(enough func() bool, timeout <-chan time.Time) {
	for {
		l.mu.Lock()
		ready := l.refusing || enough()
		l.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-l.wake:
		case <-timeout:
			return
		}
	}
}

// fit returns how many of the entries go into one block, at least one.
func (l *Log) fit(entries []entry) int {
	size := 0
	for i := range entries {
		size += chunkHeaderBytes + len(entries[i].batch)
		if i > 0 && size > chunkHeaderBytes+l.o.BlockBytes {
			return i
		}
	}
	return len(entries)
}

// commit writes entries as one block, syncs it, shows them to readers and says
// that they are done.
func (l *Log) commit(entries []entry) error {
	c := &l.committer
	if err := l.failed.Load(); err != nil {
		return *err
	}
	if err := l.roll(entries); err != nil {
		return err
	}
	records, size, err := l.build(entries)
	if err != nil {
		return err
	}
	c.began = now()
	if err := writeSynced(c.segment.file, c.buf, c.at); err != nil {
		return fmt.Errorf("local log: %s at offset %d: %w", c.segment.name, c.at, err)
	}
	if c.at == 0 {
		l.retention.began()
	}
	c.at += int64(len(c.buf))
	c.last = records
	l.stats.committed(records, size, len(c.buf), now().Sub(c.began))
	for i := range entries {
		e := &entries[i]
		l.partitions[e.partition].publish(e.first, e.count, e.batch)
	}
	l.mu.Lock()
	l.queuedBytes -= int64(size)
	l.mu.Unlock()
	for i := range entries {
		entries[i].done(entries[i].first, nil)
	}
	return nil
}

// roll goes on to the next segment when the block does not fit in this one.
func (l *Log) roll(entries []entry) error {
	c := &l.committer
	size := 0
	for i := range entries {
		size += chunkHeaderBytes + len(entries[i].batch)
	}
	if c.segment != nil && c.at+blockBytes(size) <= c.segment.sizeBytes {
		return nil
	}
	next := <-l.prepared
	if next.err != nil {
		return errors.Join(errNoRoom, next.err)
	}
	l.retention.rolled(c.segment, c.at, slices.Clone(c.ends), next.segment)
	c.segment, c.at = next.segment, 0
	return nil
}

// build makes the block in c.buf and gives the entries their positions.
func (l *Log) build(entries []entry) (records, size int, err error) {
	c := &l.committer
	h := header{segment: c.segment.number, number: c.number + 1, chunks: uint32(len(entries))}
	c.buf = append(c.buf[:0], make([]byte, headerBytes)...)
	if c.at == 0 {
		h.ends = uint32(len(c.ends))
		for _, end := range c.ends {
			c.buf = binary.LittleEndian.AppendUint64(c.buf, uint64(end))
		}
	}
	for i := range entries {
		e := &entries[i]
		if c.ends[e.partition].Offset()+uint64(e.count) > chat.MaxOffset {
			if err := l.RaiseEpoch(c.ends[e.partition].Epoch()); err != nil {
				return 0, 0, err
			}
		}
		e.first = following(c.ends[e.partition], l.Epoch())
		c.ends[e.partition] = e.first + chat.Position(e.count-1)
		c.buf = appendChunk(c.buf, e.partition, e.count, e.first, e.batch)
		records, size = records+e.count, size+len(e.batch)
	}
	seal(c.buf, l.identity, h)
	c.number = h.number
	c.buf = append(c.buf, make([]byte, align(int64(len(c.buf)))-int64(len(c.buf)))...)
	return records, size, nil
}

// abandon ends the log with an error that leaves it unknown what of the entries
// is durable. Those still queued get it too.
func (l *Log) abandon(entries []entry, err error) {
	if errors.Is(err, errNoRoom) {
		l.logger.Error("the log closes without what was queued last", "error", err)
		l.failed.CompareAndSwap(nil, &err)
	} else {
		l.fail(err)
	}
	l.mu.Lock()
	rest := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, e := range append(slices.Clone(entries), rest...) {
		e.done(0, err)
	}
}
