package local

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// replayer reads a partition's records that were on the disk at Open, a block
// at a time, into memory of its own.
type replayer struct {
	segment int // in Log.replayed
	file    vfs.File
	at      int64
	buf     []byte
	chunks  payload
	rest    chunk // what the last call left of a chunk
}

// next returns the next records after the cursor. There are some.
func (r *replayer) next(l *Log, partition int, cursor chat.Position, maxBytes int) (b pipeline.Batch, err error) {
	for r.rest.count == 0 {
		if err := r.nextChunk(l, partition, cursor); err != nil {
			return b, errors.Join(err, r.close())
		}
	}
	b = pipeline.Batch{First: r.rest.first, Count: r.rest.count, Records: r.rest.records}
	if len(b.Records) > maxBytes {
		var n int
		n, b.Count = cut(b.Records, maxBytes)
		b.Records = b.Records[:n:n]
	}
	r.rest.records = r.rest.records[len(b.Records):]
	r.rest.first += chat.Position(b.Count)
	r.rest.count -= b.Count
	if b.First+chat.Position(b.Count-1) == l.partitions[partition].diskEnd {
		err = r.close()
	}
	return b, err
}

// nextChunk moves to the partition's next chunk that reaches beyond the cursor.
func (r *replayer) nextChunk(l *Log, partition int, cursor chat.Position) error {
	c, err := r.chunks.next(len(l.partitions))
	if err == io.EOF {
		return r.nextBlock(l, partition, cursor)
	}
	if err != nil {
		return err
	}
	if c.partition != partition || c.last() <= cursor {
		return nil
	}
	if c.first <= cursor {
		n := int(cursor - c.first + 1)
		c.records = c.records[skip(c.records, n):]
		c.first, c.count = cursor+1, c.count-n
	}
	r.rest = c
	return nil
}

// nextBlock reads the next block. A segment in which the partition has nothing
// after the cursor is passed over: it may be in use again already.
func (r *replayer) nextBlock(l *Log, partition int, cursor chat.Position) error {
	for ; r.segment < len(l.replayed); r.segment++ {
		s := &l.replayed[r.segment]
		if s.last[partition] > cursor && r.at < s.endBytes {
			return r.readBlock(l, s)
		}
		if err := r.close(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: partition %d has nothing after %v on the disk", pipeline.ErrGone, partition, cursor)
}

func (r *replayer) readBlock(l *Log, s *segment) (err error) {
	if r.file == nil {
		if r.file, err = l.fs.Open(s.name); err != nil {
			return err
		}
	}
	h, b, err := readBlock(r.file, s.endBytes, r.at, l.identity, s.number, &r.buf)
	if err == nil {
		_, r.chunks, err = openPayload(h, b)
	}
	if err != nil {
		return fmt.Errorf("%w: %s at offset %d: %w", ErrCorrupt, s.name, r.at, err)
	}
	r.at += blockBytes(len(b))
	return nil
}

func (r *replayer) close() error {
	f := r.file
	r.file, r.at = nil, 0
	if f == nil {
		return nil
	}
	return f.Close()
}
