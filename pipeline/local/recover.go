package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rookery-chat/rookery/chat"
)

// recovery reads a log from its disk. Blocks are written one after another,
// each synced before the next, so at most the last can be damaged by a power
// cut: damage with nothing after it is a torn tail, cut off; all other is
// corruption, and the log refuses to open.
type recovery struct {
	meta meta
	buf  []byte

	starts []chat.Position // before the oldest block
	ends   []chat.Position // the last of each partition
	number uint64          // of the last block, 0 before the first
	blocks int
	tail   tail
}

// tail is where the last block lies.
type tail struct {
	segment   *segment
	at, bytes int64
}

// run reads all segments. It returns those that hold blocks, and those after
// them that hold none.
func (r *recovery) run(segs []*segment) (full, empty []*segment, err error) {
	r.starts = make([]chat.Position, r.meta.partitions)
	r.ends = make([]chat.Position, r.meta.partitions)
	n := 0
	for ; n < len(segs); n++ {
		if err := r.readSegment(segs[n]); err != nil {
			return nil, nil, err
		}
		if segs[n].endBytes == 0 {
			break
		}
	}
	if n == 0 && len(segs) > 0 && segs[0].number != 1 {
		return nil, nil, r.corrupt(segs[0], 0, errors.New("the oldest segment does not begin with a block"))
	}
	for i := max(n-1, 0); i < len(segs); i++ {
		if err := r.nothingAfter(segs[i], segs[max(n-1, 0)]); err != nil {
			return nil, nil, err
		}
	}
	return segs[:n], segs[n:], r.settle(segs[max(n-1, 0):])
}

// readSegment reads blocks up to the first that is none, or damaged.
func (r *recovery) readSegment(s *segment) error {
	for {
		h, b, err := readBlock(s.file, s.sizeBytes, s.endBytes, r.meta.identity, s.number, &r.buf)
		if errors.Is(err, errNoBlock) || errors.Is(err, errBadBlock) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("local log: %s at offset %d: %w", s.name, s.endBytes, err)
		}
		if r.blocks > 0 && h.number != r.number+1 {
			return nil // nothingAfter finds out whether that is corruption
		}
		if err := r.apply(h, b, s.endBytes == 0); err != nil {
			return r.corrupt(s, s.endBytes, err)
		}
		r.tail = tail{segment: s, at: s.endBytes, bytes: blockBytes(len(b))}
		s.endBytes += r.tail.bytes
		s.last = append(s.last[:0], r.ends...)
	}
}

// readBlock reads the block at an offset, whole or not at all. Its payload lies
// in buf, which grows to what the file can hold.
func readBlock(f io.ReaderAt, sizeBytes, at int64, id [16]byte, segment uint64, buf *[]byte) (header, []byte, error) {
	var head [headerBytes]byte
	if at+headerBytes > sizeBytes {
		return header{}, nil, errNoBlock
	}
	if _, err := f.ReadAt(head[:], at); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(head[:], id, segment)
	if err != nil {
		return h, nil, err
	}
	if at+headerBytes+int64(h.payloadBytes) > sizeBytes {
		return h, nil, errBadBlock
	}
	b := slices.Grow((*buf)[:0], int(h.payloadBytes))[:h.payloadBytes]
	*buf = b
	if _, err := f.ReadAt(b, at+headerBytes); err != nil {
		return h, nil, err
	}
	if _, _, err := openPayload(h, b); errors.Is(err, errBadBlock) {
		return h, nil, err
	}
	return h, b, nil
}

// apply checks a whole block against all before it and moves the ends on.
func (r *recovery) apply(h header, b []byte, firstOfSegment bool) error {
	ends, chunks, err := openPayload(h, b)
	if err != nil {
		return err
	}
	if firstOfSegment != (len(ends) > 0) || firstOfSegment && len(ends) != 8*len(r.ends) {
		return fmt.Errorf("%d ends, the log has %d partitions", h.ends, len(r.ends))
	}
	for p := range len(ends) / 8 {
		end := chat.Position(binary.LittleEndian.Uint64(ends[8*p:]))
		if r.blocks == 0 {
			r.starts[p], r.ends[p] = end, end
		} else if r.ends[p] != end {
			return fmt.Errorf("partition %d ends at %v, the segment says %v", p, r.ends[p], end)
		}
	}
	r.number, r.blocks = h.number, r.blocks+1
	for {
		c, err := chunks.next(len(r.ends))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if want := following(r.ends[c.partition], c.first.Epoch()); c.first != want || c.first.Epoch() > r.meta.epoch {
			return fmt.Errorf("position %v follows %v in partition %d, the epoch is %d",
				c.first, r.ends[c.partition], c.partition, r.meta.epoch)
		}
		r.ends[c.partition] = c.last()
	}
}

// following is the position after end for a record appended in an epoch.
func following(end chat.Position, epoch uint16) chat.Position {
	if end.Epoch() < epoch {
		return chat.NewPosition(epoch, 1)
	}
	return end + 1
}

// nothingAfter makes sure that no block lies behind the end of a segment but
// the torn one, which is right there. last holds the last whole block.
func (r *recovery) nothingAfter(s, last *segment) error {
	buf := make([]byte, 1<<20)
	for at := s.endBytes; at+headerBytes <= s.sizeBytes; at += int64(len(buf)) {
		n, err := s.file.ReadAt(buf[:min(int64(len(buf)), s.sizeBytes-at)], at)
		if err != nil && err != io.EOF {
			return fmt.Errorf("local log: %s at offset %d: %w", s.name, at, err)
		}
		for i := 0; i+headerBytes <= n; i += alignBytes {
			h, err := parseHeader(buf[i:], r.meta.identity, s.number)
			torn := at+int64(i) == s.endBytes && h.number == r.number+1
			if err == nil && !torn {
				return r.corrupt(last, last.endBytes, fmt.Errorf("block %d is damaged or missing, and block %d follows in %s at offset %d",
					r.number+1, h.number, s.name, at+int64(i)))
			}
		}
	}
	return nil
}

// settle makes sure of what was read. A torn block's header is wiped. The last
// block is written again and synced, as it may stand in the system's memory
// only; all before it were synced before it was begun. segs are the segment of
// the last block, if there is one, and those after it.
func (r *recovery) settle(segs []*segment) error {
	for _, s := range segs {
		var head [alignBytes]byte
		if s.endBytes+alignBytes > s.sizeBytes {
			continue
		}
		if _, err := s.file.ReadAt(head[:], s.endBytes); err != nil {
			return err
		}
		if _, err := parseHeader(head[:], r.meta.identity, s.number); err != nil {
			continue
		}
		clear(head[:])
		if err := writeSynced(s.file, head[:], s.endBytes); err != nil {
			return err
		}
	}
	if r.tail.segment == nil {
		return nil
	}
	b := make([]byte, r.tail.bytes)
	if _, err := r.tail.segment.file.ReadAt(b, r.tail.at); err != nil {
		return err
	}
	return writeSynced(r.tail.segment.file, b, r.tail.at)
}

// writeSynced writes b and makes it durable.
func writeSynced(f vfs.File, b []byte, at int64) error {
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	return syncData(f)
}

func (r *recovery) corrupt(s *segment, at int64, err error) error {
	return fmt.Errorf("%w: %s at offset %d: %w", ErrCorrupt, s.name, at, err)
}
