package e2ee

import (
	"crypto/ed25519"
	"testing"
)

// A session that is handed over with a key of low order, under which anybody could
// sign, is none: goolm refuses it.
func TestPastWithAWeakKey(t *testing.T) {
	open := func(key []byte) error {
		export := make([]byte, 1+4+128, 1+4+128+32)
		export[0] = 1 // version
		p := past{user: "bob", device: "phone", curve: make([]byte, curveBytes), peer: "alice", key: append(export, key...)}
		_, _, err := p.open()
		return err
	}
	strong, _, err := ed25519.GenerateKey(nil)
	must(t, err)
	must(t, open(strong))
	for first, last := range map[byte]byte{0: 0, 1: 0, 0xec: 0x7f} { // of orders 4, 1 and 2
		key := make([]byte, 32)
		if last > 0 {
			for i := range key {
				key[i] = 0xff
			}
		}
		key[0], key[31] = first, last
		if open(key) == nil {
			t.Errorf("the key %x was taken", key)
		}
	}
}
