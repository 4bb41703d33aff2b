//go:build invariants

package engine

import "testing"

// A handler that keeps what it was lent finds it overwritten.
func TestLentBytesArePoisoned(t *testing.T) {
	kept := make(chan []byte, 1)
	e := start(t, Options{}, hooks{data: func(c *Conn, in []byte) { kept <- in }})
	send(t, dial(t, e), []byte("secret"))
	in := take(t, kept)
	onLoop(t, e.Loop(0), func(*Loop) {
		for _, b := range in {
			if b != 0xdb {
				t.Errorf("kept bytes read %x", in)
				break
			}
		}
	})
}
