package frame

import (
	"bytes"
	"compress/flate"
	"io"
	"testing"
)

// bomb is a message of zeros which inflates a thousandfold.
func bomb(t testing.TB, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, size))
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(syncTail))
}

// A bomb goes off inside the limit, in one piece or in many.
func TestDeflateBomb(t *testing.T) {
	const limit = 100_000
	wire := bomb(t, 8<<20)
	if len(wire) > limit {
		t.Fatalf("the bomb has %d bytes: it would be refused as it is", len(wire))
	}
	out, bad := inflate(append(bytes.Clone(wire), inflateTail...), limit)
	if bad != errTooBig || out != nil {
		t.Errorf("the error is %v", bad)
	}
	limits := Limits{MessageBytes: limit, Deflate: true}
	for _, cut := range []int{0, 1, len(wire) / 2} {
		var r Reader
		in := client(0xc2, string(wire))
		if _, bad := feed(t, &r, &limits, in[:cut], in[cut:]); bad == nil || bad.Code != 1009 || r.Buffered() != 0 {
			t.Errorf("cut at %d: %v, %d bytes held", cut, bad, r.Buffered())
		}
	}
}

func TestInflateAtItsLimit(t *testing.T) {
	wire := append(bomb(t, 1<<16), inflateTail...)
	if out, bad := inflate(wire, 1<<16); bad != nil || out.len() != 1<<16 {
		t.Errorf("%d bytes, %v", out.len(), bad)
	}
	if _, bad := inflate(wire, 1<<16-1); bad != errTooBig {
		t.Errorf("a byte over: %v", bad)
	}
}

// stdInflate is what the standard library makes of a message, up to limit and a
// byte more. Where data both break and run over, it may see only the break: it
// keeps to itself what came before.
func stdInflate(message []byte, limit int) (out []byte, bad *Error) {
	src := bytes.NewReader(append(bytes.Clone(message), inflateTail...))
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(src), int64(limit)+1))
	rest := src.Len()
	switch {
	case len(out) > limit:
		return nil, errTooBig
	case err != nil, rest != 0 && (rest != 10 || message[len(message)-1] != 0):
		return nil, errDeflate
	}
	return out, nil
}

// FuzzInflate holds inflate against the standard library's, and to its bound.
func FuzzInflate(f *testing.F) {
	f.Add([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), uint16(5))
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), uint16(100))
	f.Add([]byte("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), uint16(4))
	f.Add([]byte{0}, uint16(0))
	f.Add([]byte{}, uint16(0))
	f.Add(bomb(f, 1<<20), uint16(50_000))
	f.Fuzz(func(t *testing.T, message []byte, limit uint16) {
		out, bad := inflate(append(bytes.Clone(message), inflateTail...), int(limit))
		if out.cap() > 2*(int(limit)+1)+1<<minClassBits {
			t.Fatalf("%d bytes of memory for a limit of %d", out.cap(), limit)
		}
		want, wantBad := stdInflate(message, int(limit))
		if (bad == nil) != (wantBad == nil) || wantBad == errTooBig && bad != errTooBig || !bytes.Equal(out.all(), want) {
			t.Fatalf("%x is %.100x (%v), but %.100x (%v) to the standard library", message, out.all(), bad, want, wantBad)
		}
		out.free()
	})
}
