package engine

import "testing"

func TestBuffersAreUsedAgain(t *testing.T) {
	var b buffers
	p := b.get()
	*p = append(*p, make([]byte, 5000)...)
	b.put(p)
	if q := b.get(); q != p || len(*q) != 0 || cap(*q) < 5000 {
		t.Errorf("got %d of %d bytes", len(*q), cap(*q))
	}
}

func TestBuffersAreBounded(t *testing.T) {
	var b buffers
	big := make([]byte, keepBufferBytes+1)
	b.put(&big)
	if len(b.free) != 0 {
		t.Error("a big buffer is kept")
	}
	for range 2 * poolBytes / keepBufferBytes {
		p := make([]byte, 0, keepBufferBytes)
		b.put(&p)
	}
	if b.bytes != poolBytes || len(b.free) != poolBytes/keepBufferBytes {
		t.Errorf("%d bytes in %d buffers are kept", b.bytes, len(b.free))
	}
}

// After a burst the pool shrinks to what is in use.
func TestBuffersAreTrimmed(t *testing.T) {
	var b buffers
	var burst []*[]byte
	for range 1000 {
		burst = append(burst, b.get())
	}
	for _, p := range burst {
		b.put(p)
	}
	b.trim() // all of them were needed since the start
	if len(b.free) != 1000 {
		t.Errorf("%d are left after a trim", len(b.free))
	}
	for range 20 {
		p, q, r := b.get(), b.get(), b.get()
		b.put(p)
		b.put(q)
		b.put(r)
		b.trim()
	}
	if len(b.free) != 3 || b.bytes != 3*newBufferBytes {
		t.Errorf("%d with %d bytes are left", len(b.free), b.bytes)
	}
}
