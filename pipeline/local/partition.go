package local

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// chunkBytes is the size of the pieces of memory that records wait in.
const chunkBytes = 256 << 10

// run is a piece of a partition's memory: records with consecutive positions.
type run struct {
	next  *run
	first chat.Position
	count int
	buf   []byte // never reallocated, so that what was lent stays where it is
}

func (r *run) last() chat.Position { return r.first + chat.Position(r.count-1) }

var runs = sync.Pool{New: func() any { return &run{buf: make([]byte, 0, chunkBytes)} }}

func newRun(first chat.Position, minBytes int) *run {
	if minBytes > chunkBytes {
		return &run{first: first, buf: make([]byte, 0, minBytes)}
	}
	r := runs.Get().(*run)
	r.first, r.count, r.next, r.buf = first, 0, nil, r.buf[:0]
	return r
}

func (r *run) free() {
	if cap(r.buf) == chunkBytes {
		runs.Put(r)
	}
}

// partition is the memory of one: durable records that are not released, or not
// read yet. Runs are freed from the front, when they are released and the
// reader is past them.
type partition struct {
	heldBytes atomic.Int64  // from TryAppend on; guarded against overshoot by Log.mu
	end       atomic.Uint64 // the last durable position
	wake      chan struct{} // there is more to read

	mu       sync.Mutex
	head     *run
	tail     *run
	released chat.Position
	reading  *run // where the reader is, nil before the first of them
	readOff  int
	readN    int
	lent     bool // what was read last lies in reading

	// Of the reader.
	started  bool
	cursor   chat.Position
	starts   chat.Position // nothing at or before it is on the disk
	diskEnd  chat.Position // up to it the disk is read, after it memory
	replayer replayer
}

func newPartition(starts, end chat.Position) *partition {
	p := &partition{wake: make(chan struct{}, 1), starts: starts, diskEnd: end}
	p.end.Store(uint64(end))
	return p
}

// publish takes in a batch that is durable now.
func (p *partition) publish(first chat.Position, count int, batch []byte) {
	last := first + chat.Position(count-1)
	p.mu.Lock()
	for len(batch) > 0 {
		r := p.room(first, recordBytes(batch))
		n, fit := cut(batch, cap(r.buf)-len(r.buf))
		r.buf = append(r.buf, batch[:n]...)
		r.count += fit
		first, batch = first+chat.Position(fit), batch[n:]
	}
	p.mu.Unlock()
	p.end.Store(uint64(last))
	signal(p.wake)
}

// room returns the last run, or a new one where that has no room for a record
// or first does not follow it.
func (p *partition) room(first chat.Position, sizeBytes int) *run {
	if t := p.tail; t != nil && t.last()+1 == first && cap(t.buf)-len(t.buf) >= sizeBytes {
		return t
	}
	r := newRun(first, sizeBytes)
	if p.tail == nil {
		p.head = r
	} else {
		p.tail.next = r
	}
	p.tail = r
	return r
}

// release frees what the owner has applied.
func (p *partition) release(upTo chat.Position) {
	p.mu.Lock()
	p.released = max(p.released, upTo)
	p.trim()
	p.mu.Unlock()
}

func (p *partition) trim() {
	for r := p.head; r != nil && r.last() <= p.released; r = p.head {
		if p.reading == nil || r == p.reading && (p.lent || p.readOff < len(r.buf)) {
			return // not read, or lent
		}
		if r == p.reading {
			p.reading, p.readOff, p.readN = r.next, 0, 0
		}
		p.head = r.next
		if p.head == nil {
			p.tail = nil
		}
		p.heldBytes.Add(-int64(len(r.buf)))
		r.free()
	}
}

// read is Log.Read.
func (p *partition) read(ctx context.Context, l *Log, id int, after chat.Position, maxBytes int) (pipeline.Batch, error) {
	if !p.started {
		if after < p.starts {
			return pipeline.Batch{}, pipeline.ErrGone
		}
		p.started, p.cursor = true, after
	}
	for {
		select {
		case <-l.closed:
			return pipeline.Batch{}, pipeline.ErrClosed
		default:
		}
		b, err := p.next(l, id, maxBytes)
		if err != nil || b.Count > 0 {
			return b, err
		}
		select {
		case <-p.wake:
		case <-l.closed:
		case <-ctx.Done():
			return pipeline.Batch{}, ctx.Err()
		}
	}
}

// next returns the next records, or an empty batch when there are none.
func (p *partition) next(l *Log, id, maxBytes int) (b pipeline.Batch, err error) {
	if p.cursor < p.diskEnd {
		b, err = p.replayer.next(l, id, p.cursor, maxBytes)
	} else {
		p.replayer = replayer{}
		b = p.nextInMemory(maxBytes)
	}
	if b.Count > 0 {
		p.cursor = b.First + chat.Position(b.Count-1)
	}
	return b, err
}

func (p *partition) nextInMemory(maxBytes int) pipeline.Batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent = false
	p.trim()
	if p.reading == nil {
		p.reading = p.head
	}
	for r := p.reading; r != nil; r = p.reading {
		if p.readOff < len(r.buf) && r.last() > p.cursor {
			return p.lend(r, maxBytes)
		}
		p.readOff, p.readN = len(r.buf), r.count
		if r.next == nil {
			break
		}
		p.reading, p.readOff, p.readN = r.next, 0, 0
	}
	p.trim()
	return pipeline.Batch{}
}

// lend returns the next records of a run, after the cursor.
func (p *partition) lend(r *run, maxBytes int) pipeline.Batch {
	if at := r.first + chat.Position(p.readN); at <= p.cursor {
		n := int(p.cursor - at + 1)
		p.readOff += skip(r.buf[p.readOff:], n)
		p.readN += n
	}
	rest, first, count := r.buf[p.readOff:len(r.buf):len(r.buf)], r.first+chat.Position(p.readN), r.count-p.readN
	if len(rest) > maxBytes {
		var n int
		n, count = cut(rest, maxBytes)
		rest = rest[:n:n]
	}
	p.readOff, p.readN, p.lent = p.readOff+len(rest), p.readN+count, true
	return pipeline.Batch{First: first, Count: count, Records: rest}
}
