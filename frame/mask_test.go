package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gobwas/ws"
)

// Every length to beyond the widest step, at every alignment, against gobwas.
func TestUnmask(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for size := range shortBytes + 100 {
		for at := range 8 {
			b := make([]byte, at+size)
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			key := [4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
			want := bytes.Clone(b)
			ws.Cipher(want[at:], key, 0)
			unmask(b[at:], binary.LittleEndian.Uint32(key[:]))
			if !bytes.Equal(b, want) {
				t.Fatalf("%d bytes at %d come out as %x, not %x", size, at, b, want)
			}
		}
	}
}

func BenchmarkUnmask(b *testing.B) {
	for _, size := range []int{16, 100, 165, 256} {
		buf := make([]byte, size)
		b.Run(fmt.Sprintf("gobwas/%d", size), func(b *testing.B) {
			for b.Loop() {
				ws.Cipher(buf, testKey, 0)
			}
		})
		b.Run(fmt.Sprintf("own/%d", size), func(b *testing.B) {
			for b.Loop() {
				unmask(buf, binary.LittleEndian.Uint32(testKey[:]))
			}
		})
	}
}
