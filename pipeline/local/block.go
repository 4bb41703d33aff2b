package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/rookery-chat/rookery/chat"
)

// Layout of a block, little-endian. A block is what one sync makes durable. It
// begins at a multiple of alignBytes in its segment, so that writing one never
// touches a page of another.
//
//	0..3    magic "RKL1"
//	4..7    CRC-32C of bytes 8 to 63
//	8..11   payload length in bytes
//	12..15  CRC-32C of the payload
//	16..31  the log's identity
//	32..39  segment number
//	40..47  block number, from 1, without gaps through all segments
//	48..51  how many chunks
//	52..55  how many ends: 0, or the number of partitions in a segment's first block
//	56..63  zero
//	64..    payload: the ends, then the chunks
//
// An end is a position of 8 bytes, the last of a partition before this segment.
// A chunk is a batch with its place:
//
//	0..3    partition
//	4..7    how many records
//	8..15   position of the first
//	16..19  length of the records in bytes
//	20..23  zero
//	24..    the records, framed
//
// Identity, segment and block number are the salt by which a block left over in
// a segment that is written anew is told from one that belongs there.
const (
	alignBytes       = 4096
	headerBytes      = 64
	chunkHeaderBytes = 24
	frameBytes       = 4
	blockMagic       = "RKL1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is a block's header but for magic, checksum and identity.
type header struct {
	payloadBytes uint32
	payloadCRC   uint32
	segment      uint64
	number       uint64
	chunks       uint32
	ends         uint32
}

// chunk is one batch of a block. The records lie in the block's buffer.
type chunk struct {
	partition int
	count     int
	first     chat.Position
	records   []byte
}

func (c *chunk) last() chat.Position { return c.first + chat.Position(c.count-1) }

// Faults of a block. errNoBlock says that there is none of this log's.
var (
	errNoBlock  = errors.New("no block of this segment")
	errBadBlock = errors.New("checksum mismatch")
)

func align(n int64) int64 { return (n + alignBytes - 1) &^ (alignBytes - 1) }

// blockBytes is the size on disk of a block with that payload.
func blockBytes(payloadBytes int) int64 { return align(headerBytes + int64(payloadBytes)) }

// maxBlockOnDisk is the size of the largest block there can be.
func maxBlockOnDisk(recordBytes, partitions int) int64 {
	if partitions == 0 {
		partitions = MaxPartitions
	}
	return blockBytes(8*partitions + chunkHeaderBytes + recordBytes)
}

// seal writes the header of the block whose payload stands in buf after
// headerBytes, and computes its lengths and checksums.
func seal(buf []byte, id [16]byte, h header) {
	payload := buf[headerBytes:]
	clear(buf[:headerBytes])
	copy(buf, blockMagic)
	binary.LittleEndian.PutUint32(buf[8:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(buf[12:], crc32.Checksum(payload, castagnoli))
	copy(buf[16:], id[:])
	binary.LittleEndian.PutUint64(buf[32:], h.segment)
	binary.LittleEndian.PutUint64(buf[40:], h.number)
	binary.LittleEndian.PutUint32(buf[48:], h.chunks)
	binary.LittleEndian.PutUint32(buf[52:], h.ends)
	binary.LittleEndian.PutUint32(buf[4:], crc32.Checksum(buf[8:headerBytes], castagnoli))
}

// parseHeader reads a header of the log's segment, or returns errNoBlock.
func parseHeader(b []byte, id [16]byte, segment uint64) (header, error) {
	if len(b) < headerBytes || string(b[:4]) != blockMagic ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:headerBytes], castagnoli) ||
		[16]byte(b[16:32]) != id || binary.LittleEndian.Uint64(b[32:]) != segment {
		return header{}, errNoBlock
	}
	return header{
		payloadBytes: binary.LittleEndian.Uint32(b[8:]),
		payloadCRC:   binary.LittleEndian.Uint32(b[12:]),
		segment:      segment,
		number:       binary.LittleEndian.Uint64(b[40:]),
		chunks:       binary.LittleEndian.Uint32(b[48:]),
		ends:         binary.LittleEndian.Uint32(b[52:]),
	}, nil
}

// appendChunk appends a batch to a block's payload.
func appendChunk(buf []byte, partition, count int, first chat.Position, records []byte) []byte {
	buf = binary.LittleEndian.AppendUint32(buf, uint32(partition))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(count))
	buf = binary.LittleEndian.AppendUint64(buf, uint64(first))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(records)))
	buf = append(buf, 0, 0, 0, 0)
	return append(buf, records...)
}

// payload walks a block's payload.
type payload struct {
	rest   []byte
	chunks uint32
}

// openPayload checks the checksum and splits the ends off. They lie in b.
func openPayload(h header, b []byte) (ends []byte, p payload, err error) {
	if uint64(len(b)) != uint64(h.payloadBytes) || crc32.Checksum(b, castagnoli) != h.payloadCRC {
		return nil, p, errBadBlock
	}
	n := 8 * uint64(h.ends)
	if n > uint64(len(b)) {
		return nil, p, fmt.Errorf("%d ends in %d bytes", h.ends, len(b))
	}
	return b[:n], payload{rest: b[n:], chunks: h.chunks}, nil
}

// next returns the next chunk, io.EOF after the last. The chunk's records are
// as many as it says.
func (p *payload) next(partitions int) (c chunk, err error) {
	if p.chunks == 0 {
		if len(p.rest) != 0 {
			return c, fmt.Errorf("%d bytes after the last chunk", len(p.rest))
		}
		return c, io.EOF
	}
	if len(p.rest) < chunkHeaderBytes {
		return c, errors.New("the block ends in a chunk's header")
	}
	partition, n := binary.LittleEndian.Uint32(p.rest), binary.LittleEndian.Uint32(p.rest[16:])
	count := binary.LittleEndian.Uint32(p.rest[4:])
	c.first = chat.Position(binary.LittleEndian.Uint64(p.rest[8:]))
	body := p.rest[chunkHeaderBytes:]
	if uint64(n) > uint64(len(body)) || uint64(partition) >= uint64(partitions) {
		return c, fmt.Errorf("a chunk of partition %d with %d bytes, %d are left", partition, n, len(body))
	}
	c.partition, c.count, c.records = int(partition), int(count), body[:n:n]
	if c.count == 0 || !framed(c.records, c.count) {
		return c, fmt.Errorf("%d bytes are not %d records", n, count)
	}
	p.rest, p.chunks = body[n:], p.chunks-1
	return c, nil
}

// framed reports whether b is count records, each with its length before it.
func framed(b []byte, count int) bool {
	for ; count > 0; count-- {
		if len(b) < frameBytes {
			return false
		}
		n := uint64(binary.LittleEndian.Uint32(b))
		if n > uint64(len(b)-frameBytes) {
			return false
		}
		b = b[frameBytes+n:]
	}
	return len(b) == 0
}

// recordBytes is the size of the first record of framed records, frame included.
func recordBytes(b []byte) int { return frameBytes + int(binary.LittleEndian.Uint32(b)) }

// cut returns how many whole records of b fit in maxBytes, but one at least,
// and their size.
func cut(b []byte, maxBytes int) (n, count int) {
	for n < len(b) {
		size := recordBytes(b[n:])
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
		n += recordBytes(b[n:])
	}
	return n
}
