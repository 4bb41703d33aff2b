package client

import "time"

// pace keeps a session under the server's rates: packets and bytes a second,
// each with a bucket. It aims a tenth lower, as the server's clock is another.
type pace struct{ packets, bytes bucket }

type bucket struct {
	perSecond, most float64 // perSecond 0: no limit
	tokens          float64
	at              time.Time
}

func newBucket(perSecond, burst uint64, now time.Time) bucket {
	most := max(1, 0.9*float64(burst))
	return bucket{perSecond: 0.9 * float64(perSecond), most: most, tokens: most, at: now}
}

// take uses up n tokens, going below zero if need be: what is over is waited for
// by those who come later.
func (b *bucket) take(n int, now time.Time) {
	if b.perSecond > 0 {
		b.tokens = b.filled(now) - float64(n)
		b.at = now
	}
}

func (b *bucket) filled(now time.Time) float64 {
	return min(b.most, b.tokens+b.perSecond*now.Sub(b.at).Seconds())
}

// wait returns how long it takes until there is something in the bucket.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.perSecond <= 0 {
		return 0
	}
	missing := 1 - b.filled(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / b.perSecond * float64(time.Second))
}

func (p *pace) take(bytes int, now time.Time) {
	p.packets.take(1, now)
	p.bytes.take(bytes, now)
}

func (p *pace) wait(now time.Time) time.Duration {
	return max(p.packets.wait(now), p.bytes.wait(now))
}
