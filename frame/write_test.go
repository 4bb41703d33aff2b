package frame

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestHeadersAreTheLibrarys(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 40, math.MaxInt64} {
		for _, rsv1 := range []bool{false, true} {
			got := AppendHeader([]byte("kept"), OpBinary, rsv1, n)
			h, err := ws.ReadHeader(bytes.NewReader(got[4:]))
			want := ws.Header{Fin: true, Rsv: ws.Rsv(rsv1, false, false), OpCode: ws.OpBinary, Length: int64(n)}
			if err != nil || h != want || string(got[:4]) != "kept" {
				t.Errorf("%d: %x is %+v, %v", n, got, h, err)
			}
			if len(got) != 4+HeaderBytes(n) {
				t.Errorf("%d: the header has %d bytes, HeaderBytes says %d", n, len(got)-4, HeaderBytes(n))
			}
		}
	}
}

func TestAppendMasked(t *testing.T) {
	for _, size := range []int{0, 1, 5, 125, 126, 1000, 65536} {
		payload := bytes.Repeat([]byte("x"), size)
		got := AppendMasked([]byte("kept"), OpText, payload, testKey)
		if want := append([]byte("kept"), client(0x81, string(payload))...); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %x, want %x", size, got, want)
		}
	}
}

func TestAppendClose(t *testing.T) {
	long := strings.Repeat("a", 122) + "€"
	for _, c := range []struct {
		code         uint16
		reason, want string
	}{
		{0, "unsaid", "\x88\x00"},
		{CloseNoStatus, "unsaid", "\x88\x00"},
		{1000, "", "\x88\x02\x03\xe8"},
		{1001, "bye", "\x88\x05\x03\xe9bye"},
		{1001, long, "\x88\x7c\x03\xe9" + long[:122]},
		{1001, strings.Repeat("b", 1000), "\x88\x7d\x03\xe9" + strings.Repeat("b", 123)},
	} {
		if got := AppendClose(nil, c.code, c.reason); string(got) != c.want {
			t.Errorf("%d %q: %q, want %q", c.code, c.reason, got, c.want)
		}
	}
}

// Whatever the size, before and after compression, the client's side reads what
// was written, behind what was there.
func TestAppendDeflated(t *testing.T) {
	noise := rand.NewChaCha8([32]byte{1})
	limits := Limits{Client: true, Deflate: true, MessageBytes: 1 << 20}
	for bits := uint8(minWindowBits); bits <= maxWindowBits; bits++ {
		for _, size := range []int{0, 1, 100, 120, 125, 126, 200, 5000, 65530, 65535, 65536, 300_000} {
			random := make([]byte, size)
			noise.Read(random)
			for _, payload := range [][]byte{random, bytes.Repeat([]byte("a"), size)} {
				out := AppendDeflated([]byte("kept"), OpBinary, payload, DeflateParams{ServerWindowBits: bits})
				var r Reader
				events, bad := feed(t, &r, &limits, out[4:])
				if bad != nil || len(events) != 1 || events[0].Payload != string(payload) || string(out[:4]) != "kept" {
					t.Fatalf("%d bits, %d bytes: %v, %d events", bits, size, bad, len(events))
				}
			}
		}
	}
	if out := AppendDeflated(nil, OpText, []byte("plain"), DeflateParams{}); string(out) != "\x81\x05plain" {
		t.Errorf("without the extension: %q", out)
	}
}

// A repetition further back than the window is not referred to.
func TestWindowIsKept(t *testing.T) {
	noise := rand.NewChaCha8([32]byte{2})
	text := make([]byte, 200)
	noise.Read(text)
	for bits := uint8(minWindowBits); bits <= maxWindowBits; bits++ {
		for _, distance := range []int{1 << bits, 1<<bits + 1, 1<<bits + 2000} {
			gap := make([]byte, distance-len(text))
			noise.Read(gap)
			payload := append(append(bytes.Clone(text), gap...), text...)
			size := len(AppendDeflated(nil, OpBinary, payload, DeflateParams{ServerWindowBits: bits}))
			if referred := size < len(payload)-len(text)/2; referred && distance > 1<<bits {
				t.Errorf("%d bits: something %d bytes back is referred to", bits, distance)
			}
		}
	}
	near := append(bytes.Clone(text), text...)
	if size := len(AppendDeflated(nil, OpBinary, near, DeflateParams{ServerWindowBits: 9})); size > len(near)-len(text)/2 {
		t.Errorf("nothing is referred to inside the window: %d bytes", size)
	}
}

func TestWritesWithoutAllocating(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool allocates under the race detector")
	}
	dst, payload := make([]byte, 0, 4096), []byte(strings.Repeat("rooks ", 100))
	for name, write := range map[string]func(){
		"message":  func() { AppendMessage(dst, OpBinary, payload) },
		"masked":   func() { AppendMasked(dst, OpBinary, payload, testKey) },
		"close":    func() { AppendClose(dst, 1000, "bye") },
		"deflated": func() { AppendDeflated(dst, OpBinary, payload, DeflateParams{15, 15}) },
	} {
		if n := testing.AllocsPerRun(200, write); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
