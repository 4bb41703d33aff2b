package frame

import (
	"math/bits"
	"sync"
)

// Buffers are pooled by capacity, in powers of two from 256 bytes to 1 MiB.
// Classes keep a large buffer from being held for a few bytes.
const (
	minClassBits = 8
	maxClassBits = 20
)

var classes [maxClassBits - minClassBits + 1]sync.Pool

// buffer is a growing pooled slice; nil is an empty one.
type buffer struct{ bytes []byte }

// newBuffer returns an empty buffer with room for at least n bytes.
func newBuffer(n int) *buffer {
	class := max(bits.Len(uint(n-1)), minClassBits)
	if class > maxClassBits {
		return &buffer{make([]byte, 0, n)}
	}
	if b, ok := classes[class-minClassBits].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 0, 1<<class)}
}

func (b *buffer) len() int { return len(b.all()) }
func (b *buffer) cap() int { return cap(b.all()) }

func (b *buffer) all() []byte {
	if b == nil {
		return nil
	}
	return b.bytes
}

// append returns a buffer with p added; b is used up.
func (b *buffer) append(p []byte) *buffer {
	if len(p) == 0 && b != nil {
		return b
	}
	b = b.reserve(len(p))
	b.bytes = append(b.bytes, p...)
	return b
}

// reserve returns a buffer with room for n more bytes, at least doubled if it
// has to grow; b is used up.
func (b *buffer) reserve(n int) *buffer {
	if b != nil && cap(b.bytes)-len(b.bytes) >= n {
		return b
	}
	grown := newBuffer(max(b.len()+n, 2*b.cap(), 1))
	grown.bytes = append(grown.bytes, b.all()...)
	b.free()
	return grown
}

// free gives the buffer back to its class.
func (b *buffer) free() {
	if b == nil || cap(b.bytes) > 1<<maxClassBits {
		return
	}
	b.bytes = b.bytes[:0]
	classes[bits.Len(uint(cap(b.bytes)))-1-minClassBits].Put(b)
}
