package frame

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRead reads masked frames of one size lying one after another:
// header, unmasking, checks.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{16, 100, 165, 1000, 65536} {
		frame := AppendMasked(nil, OpBinary, make([]byte, size), testKey)
		in := bytes.Repeat(frame, 64)
		limits := Limits{MessageBytes: size}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			var r Reader
			rest := in
			for b.Loop() {
				n, _, ok, _ := r.Next(rest, &limits)
				if rest = rest[n:]; !ok || len(rest) == 0 {
					rest = in
				}
			}
		})
	}
}

// BenchmarkDeflate compresses and inflates one text message of 1400 bytes.
func BenchmarkDeflate(b *testing.B) {
	text := []byte(strings.Repeat("nest of rooks ", 100))
	params := DeflateParams{ServerWindowBits: 15, ClientWindowBits: 15}
	limits := Limits{Client: true, Deflate: true}
	var dst []byte
	b.Run("deflate", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			dst = AppendDeflated(dst[:0], OpText, text, params)
		}
	})
	b.Run("inflate", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		var r Reader
		for b.Loop() {
			if _, _, ok, err := r.Next(dst, &limits); !ok {
				b.Fatal(err)
			}
		}
	})
}
