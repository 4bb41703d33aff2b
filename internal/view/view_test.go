package view

import "testing"

type name string

func TestBothWays(t *testing.T) {
	for _, s := range []name{"", "a", "alice"} {
		b := Bytes(s)
		if string(b) != string(s) || cap(b) != len(s) {
			t.Errorf("%q as bytes is %q, of capacity %d", s, b, cap(b))
		}
		if got := String[name](b); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	}
	if String[name](nil) != "" {
		t.Error("no bytes are no empty string")
	}
}

func TestViewsDoNotAllocate(t *testing.T) {
	s, b := name("a name that is longer than the buffers of small strings"), []byte("bytes that are longer than those buffers too")
	var n int
	if allocs := testing.AllocsPerRun(100, func() { n += len(Bytes(s)) + len(String[name](b)) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
