package kafka

import (
	"encoding/binary"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// A Kafka record holds one append: 1 to MaxRecords framed records. It takes
// MaxRecords positions, of which its records have the last ones. So the offset
// of a position whose record is the last of its Kafka record is a multiple of
// MaxRecords: it says by itself that the whole Kafka record is behind it, and
// the end of a partition follows from its high watermark without a read.

// firstOf is the position of the first of count records at a Kafka offset.
func firstOf(epoch uint16, offset int64, count int) chat.Position {
	return chat.NewPosition(epoch, uint64(offset)*MaxRecords+uint64(MaxRecords-count)+1)
}

// endOf is the position of the last record below a high watermark.
func endOf(epoch uint16, highWatermark int64) chat.Position {
	return chat.NewPosition(epoch, uint64(highWatermark)*MaxRecords)
}

// offsetAfter is the Kafka offset of the record that holds what comes after a
// position. Where that is in the middle of a Kafka record, it is that one.
func offsetAfter(after chat.Position) int64 { return int64(after.Offset() / MaxRecords) }

const frameBytes = 4

// countFramed counts the records of b, each with its length before it. It is 0
// when b is not just such records, or more than MaxRecords.
func countFramed(b []byte) (count int) {
	for len(b) > 0 {
		if len(b) < frameBytes || count == MaxRecords {
			return 0
		}
		n := uint64(binary.LittleEndian.Uint32(b))
		if n > uint64(len(b)-frameBytes) {
			return 0
		}
		b = b[frameBytes+n:]
		count++
	}
	return count
}

// cut returns how many whole records of b fit in maxBytes, but one at least,
// and their size.
func cut(b []byte, maxBytes int) (n, count int) {
	for n < len(b) {
		size := frameBytes + int(binary.LittleEndian.Uint32(b[n:]))
		if count > 0 && n+size > maxBytes {
			break
		}
		n, count = n+size, count+1
	}
	return n, count
}

// skip returns the size of the first count records of b.
func skip(b []byte, count int) (n int) {
	for ; count > 0; count-- {
		n += frameBytes + int(binary.LittleEndian.Uint32(b[n:]))
	}
	return n
}

// builder puts runs of records together into one batch.
type builder struct {
	batch pipeline.Batch
	buf   []byte // kept from batch to batch
	jumps []pipeline.Jump
}

// reset begins a batch. A large buffer is not kept.
func (b *builder) reset() {
	b.batch, b.jumps = pipeline.Batch{}, b.jumps[:0]
	if cap(b.buf) > maxBuilderBytesKept {
		b.buf = nil
	}
}

const maxBuilderBytesKept = 2 << 20

// add appends count records from position first on. A single run is lent as it
// is, several are copied together.
func (b *builder) add(first chat.Position, records []byte, count int) {
	t := &b.batch
	if t.Count == 0 {
		t.First, t.Records, t.Count = first, records, count
		return
	}
	if t.Last()+1 != first {
		b.jumps = append(b.jumps, pipeline.Jump{At: t.Count, To: first})
		t.Jumps = b.jumps
	}
	if !b.copied() {
		b.buf = append(b.buf[:0], t.Records...)
	}
	b.buf = append(b.buf, records...)
	t.Records, t.Count = b.buf, t.Count+count
}

// copied reports whether the batch lies in buf already.
func (b *builder) copied() bool { return cap(b.buf) > 0 && &b.batch.Records[0] == &b.buf[:1][0] }
