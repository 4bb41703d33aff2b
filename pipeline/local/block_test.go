package local

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

var testID = [16]byte{1, 2, 3}

// testBlock is a block of two chunks, padded, the first of segment 7.
func testBlock() []byte {
	buf := make([]byte, headerBytes, alignBytes)
	buf = append(buf, make([]byte, 16)...) // two ends
	buf = appendChunk(buf, 1, 2, 5, pipelinetest.Frame("one", "two"))
	buf = appendChunk(buf, 0, 1, chat.NewPosition(1, 1), pipelinetest.Frame("three"))
	seal(buf, testID, header{segment: 7, number: 9, chunks: 2, ends: 2})
	return buf[:alignBytes]
}

// decodeAll reads a block and all its chunks.
func decodeAll(b []byte, partitions int) (chunks []chunk, err error) {
	var buf []byte
	h, body, err := readBlock(bytes.NewReader(b), int64(len(b)), 0, testID, 7, &buf)
	if err != nil {
		return nil, err
	}
	_, p, err := openPayload(h, body)
	for err == nil {
		var c chunk
		if c, err = p.next(partitions); err == nil {
			chunks = append(chunks, c)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return chunks, err
}

func TestBlockRoundTrip(t *testing.T) {
	chunks, err := decodeAll(testBlock(), 2)
	if err != nil || len(chunks) != 2 {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	if c := chunks[0]; c.partition != 1 || c.count != 2 || c.first != 5 || c.last() != 6 ||
		!bytes.Equal(c.records, pipelinetest.Frame("one", "two")) {
		t.Errorf("the first chunk is %+v", c)
	}
	if c := chunks[1]; c.partition != 0 || c.count != 1 || c.first != chat.NewPosition(1, 1) {
		t.Errorf("the second chunk is %+v", c)
	}
}

// TestBlockEveryBit flips every bit of a block; each flip that matters is seen.
func TestBlockEveryBit(t *testing.T) {
	b := testBlock()
	used := headerBytes + 16 + 2*chunkHeaderBytes + len(pipelinetest.Frame("one", "two", "three"))
	for i := range 8 * used {
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeAll(b, 2); !errors.Is(err, errNoBlock) && !errors.Is(err, errBadBlock) {
			t.Errorf("bit %d flipped: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestBlockOfAnotherPlace(t *testing.T) {
	b := testBlock()
	if _, err := parseHeader(b, testID, 8); err != errNoBlock {
		t.Errorf("a block of another segment: %v", err)
	}
	if _, err := parseHeader(b, [16]byte{9}, 7); err != errNoBlock {
		t.Errorf("a block of another log: %v", err)
	}
}

func TestPayloadFaults(t *testing.T) {
	good := pipelinetest.Frame("a")
	long := appendChunk(nil, 0, 1, 1, good)
	long[16]++
	tests := map[string]struct {
		body []byte
		h    header
	}{
		"a partition too high":     {appendChunk(nil, 2, 1, 1, good), header{chunks: 1}},
		"no record":                {appendChunk(nil, 0, 0, 1, nil), header{chunks: 1}},
		"more records than it has": {appendChunk(nil, 0, 2, 1, good), header{chunks: 1}},
		"fewer records":            {appendChunk(nil, 0, 1, 1, append(good, good...)), header{chunks: 1}},
		"a record cut off":         {appendChunk(nil, 0, 1, 1, good[:4]), header{chunks: 1}},
		"a length cut off":         {appendChunk(nil, 0, 1, 1, good[:3]), header{chunks: 1}},
		"a chunk cut off":          {long, header{chunks: 1}},
		"a chunk's header cut off": {long[:20], header{chunks: 1}},
		"bytes left":               {appendChunk(nil, 0, 1, 1, good), header{}},
		"ends cut off":             {make([]byte, 15), header{ends: 2}},
	}
	for name, test := range tests {
		buf := append(make([]byte, headerBytes), test.body...)
		test.h.segment = 7
		seal(buf, testID, test.h)
		if _, err := decodeAll(buf, 2); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCutAndSkip(t *testing.T) {
	b := pipelinetest.Frame("a", "bb", "ccc") // 5, 6 and 7 bytes
	for _, test := range []struct{ maxBytes, n, count int }{{0, 5, 1}, {5, 5, 1}, {10, 5, 1}, {11, 11, 2}, {17, 11, 2}, {18, 18, 3}, {99, 18, 3}} {
		if n, count := cut(b, test.maxBytes); n != test.n || count != test.count {
			t.Errorf("cut at %d: %d bytes, %d records, want %d and %d", test.maxBytes, n, count, test.n, test.count)
		}
	}
	if n := skip(b, 2); n != 11 {
		t.Errorf("two records have %d bytes", n)
	}
	if n, count := cut(nil, 9); n != 0 || count != 0 {
		t.Errorf("cut of nothing: %d, %d", n, count)
	}
}

// FuzzBlock reads arbitrary bytes as a block, as they are and with checksums
// that fit. What decodes is encoded to the same bytes.
func FuzzBlock(f *testing.F) {
	f.Add(testBlock(), uint32(2), uint32(2))
	f.Add([]byte{}, uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, chunks, ends uint32) {
		if _, err := decodeAll(b, 2); err == nil && len(b) < headerBytes {
			t.Error("a block without a header")
		}
		if len(b) < headerBytes {
			return
		}
		b = bytes.Clone(b)
		seal(b, testID, header{segment: 7, number: 9, chunks: chunks, ends: ends})
		all, err := decodeAll(b, 2)
		if err != nil {
			return
		}
		again := append(make([]byte, headerBytes), b[headerBytes:headerBytes+8*ends]...)
		for _, c := range all {
			if !framed(c.records, c.count) || c.partition >= 2 {
				t.Errorf("chunk %+v", c)
			}
			again = appendChunk(again, c.partition, c.count, c.first, c.records)
		}
		seal(again, testID, header{segment: 7, number: 9, chunks: chunks, ends: ends})
		if len(again) != len(b) {
			t.Errorf("%d bytes decoded from %d", len(again), len(b))
		}
	})
}
