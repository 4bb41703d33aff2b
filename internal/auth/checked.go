package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// bucketPlaces is how many tokens share a bucket, of which the oldest goes for a
// new one.
const bucketPlaces = 8

// bucketLocks is how many locks the buckets share, so that event loops seldom
// wait for one another. A power of two.
const bucketLocks = 64

// digest is the SHA-256 of a whole token. It stands for the signature, so a
// hash of which somebody can find two tokens would let one in unsigned.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// checked remembers tokens whose signature holds under one key set, which is
// what costs. It knows nothing else of them, and not the tokens: what they claim
// is read and judged again each time. It has a fixed size, 32 bytes a token, and
// is safe for concurrent use. nil remembers nothing.
type checked struct {
	buckets []bucket
	locks   [bucketLocks]sync.Mutex
}

// bucket has its newest token first. Zeros are a free place: no token is known
// that has such a digest.
type bucket [bucketPlaces]digest

// newChecked returns one with places for n tokens, up to a whole bucket.
func newChecked(n int) *checked {
	if n <= 0 {
		return nil
	}
	return &checked{buckets: make([]bucket, (n+bucketPlaces-1)/bucketPlaces)}
}

func (c *checked) has(d *digest) bool {
	if c == nil {
		return false
	}
	b, lock := c.bucket(d)
	lock.Lock()
	defer lock.Unlock()
	for i := range b {
		if b[i] == *d {
			return true
		}
	}
	return false
}

// add remembers a token that has was false of.
func (c *checked) add(d *digest) {
	if c == nil {
		return
	}
	b, lock := c.bucket(d)
	lock.Lock()
	defer lock.Unlock()
	if b[0] == *d { // another goroutine checked it at the same time
		return
	}
	copy(b[1:], b[:])
	b[0] = *d
}

func (c *checked) bucket(d *digest) (*bucket, *sync.Mutex) {
	i := binary.LittleEndian.Uint64(d[:]) % uint64(len(c.buckets))
	return &c.buckets[i], &c.locks[i%bucketLocks]
}
