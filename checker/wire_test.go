package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

// TestDecode takes apart elements of every width, passes over what no packet has
// where the checker looks, and refuses what is cut off anywhere.
func TestDecode(t *testing.T) {
	numbers := []uint64{0, 127, 128, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, math.MaxUint64}
	for _, n := range numbers {
		for _, size := range []int{0, 31, 32, 255, 256, 70_000} {
			text, raw := strings.Repeat("t", size), bytes.Repeat([]byte{1}, size)
			msg := encode(typeMessage, n, text, raw, nil, true, []any{1, []any{"deep", map[string]int{"a": 1}}}, 1.5, -1, -200, int64(math.MinInt64), "end")
			msg = append(msg, encode(typePing)...)
			packets, err := decode(msg)
			if err != nil || len(packets) != 2 || packets[1].uint(0) != typePing {
				t.Fatalf("%d packets, %v", len(packets), err)
			}
			p := packets[0]
			if len(p) != 12 || p.uint(0) != typeMessage || p.uint(1) != n || p.str(2) != text || !bytes.Equal(p.bin(3), raw) || p.str(11) != "end" {
				t.Fatalf("of %d and %d bytes: %v", n, size, p)
			}
			for i, want := range map[int]int64{8: -1, 9: -200, 10: math.MinInt64} {
				if got := int64(p.uint(i)); got != want {
					t.Errorf("%d is %d", want, got)
				}
			}
			if p.uint(2) != 0 || p.str(1) != "" || p.bin(2) != nil || p.uint(99) != 0 || p.str(6) != "" {
				t.Error("an element of another kind is something")
			}
		}
	}
	msg := encode(typeMessage, 70_000, "text", []byte{1, 2}, []any{1, "x"}, -5)
	for cut := range msg {
		if _, err := decode(msg[:cut]); (err == nil) != (cut == 0) {
			t.Errorf("cut to %d of %d bytes: %v", cut, len(msg), err)
		}
	}
	deep := append([]byte{0x92, typeMessage}, bytes.Repeat([]byte{0x91}, 100_000)...)
	for what, msg := range map[string][]byte{"a number": {1}, "an empty array": {0x90}, "arrays without end": deep, "an extension": {0x91, 0xc7, 0, 0}} {
		if _, err := decode(msg); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
