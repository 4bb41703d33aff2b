package frame

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// DeflateParams are the negotiated parameters of permessage-deflate (RFC 7692),
// always without context takeover on either side. The zero value is none.
type DeflateParams struct {
	ServerWindowBits uint8 // of what the server compresses: 8 to 15
	ClientWindowBits uint8 // of what the client compresses: 8 to 15
}

// enabled reports whether the extension was agreed on.
func (p DeflateParams) enabled() bool { return p.ServerWindowBits != 0 }

// syncTail ends what a compressor has flushed; it is not sent (RFC 7692
// section 7.2.1).
const syncTail = "\x00\x00\xff\xff"

// inflateTail is the syncTail and an empty final block, which makes a message
// a whole DEFLATE stream (RFC 7692 section 7.2.2).
var inflateTail = []byte(syncTail + "\x01\x00\x00\xff\xff")

type inflater struct {
	src bytes.Reader // a type that flate has a fast path for
	out io.ReadCloser
}

var inflaters = sync.Pool{New: func() any {
	z := new(inflater)
	z.out = flate.NewReader(&z.src)
	return z
}}

// inflate returns what wire, a message and inflateTail, stands for. It stops
// when more than maxBytes have come out, which takes a buffer of at most twice
// as much. After an error there is none.
func inflate(wire []byte, maxBytes int) (out *buffer, bad *Error) {
	z := inflaters.Get().(*inflater)
	z.src.Reset(wire)
	if z.out.(flate.Resetter).Reset(&z.src, nil) != nil {
		return nil, errDeflate
	}
	var err error
	for err == nil && out.len() <= maxBytes {
		out = out.reserve(1)
		var n int
		n, err = z.out.Read(out.bytes[len(out.bytes):cap(out.bytes)])
		out.bytes = out.bytes[:len(out.bytes)+n]
	}
	rest := wire[len(wire)-z.src.Len():]
	z.src.Reset(nil)
	inflaters.Put(z)
	switch {
	case out.len() > maxBytes:
		bad = errTooBig
	case err != io.EOF || !endsMessage(rest):
		bad = errDeflate
	default:
		return out, nil
	}
	out.free()
	return nil, bad
}

// endsMessage reports whether a stream may end before rest: at the end, or, if
// the message's own last block was final, before the empty block that RFC 7692
// section 7.2.3.4 puts behind it.
func endsMessage(rest []byte) bool {
	return len(rest) == 0 || len(rest) == 1+len(inflateTail) && rest[0] == 0
}

// deflater compresses onto the end of dst.
type deflater struct {
	dst []byte
	w   *flate.Writer
}

// Write appends to dst; it never fails.
func (d *deflater) Write(p []byte) (int, error) {
	d.dst = append(d.dst, p...)
	return len(p), nil
}

var deflaters [maxWindowBits + 1]sync.Pool // by window bits

const (
	minWindowBits = 8
	maxWindowBits = 15
)

func newDeflater(windowBits uint8) *deflater {
	if d, ok := deflaters[windowBits].Get().(*deflater); ok {
		return d
	}
	d := new(deflater)
	w, err := flate.NewWriterWindow(d, 1<<windowBits)
	if err != nil {
		panic(err) // the window is out of range: DeflateParams that Upgrade did not make
	}
	d.w = w
	return d
}

// appendDeflated appends p compressed, without the syncTail.
func appendDeflated(dst, p []byte, windowBits uint8) []byte {
	d := newDeflater(windowBits)
	d.dst = dst
	d.w.Reset(d)
	d.w.Write(p) // to the deflater, which never fails
	d.w.Flush()
	dst, d.dst = d.dst, nil
	deflaters[windowBits].Put(d)
	return dst[:len(dst)-len(syncTail)]
}
