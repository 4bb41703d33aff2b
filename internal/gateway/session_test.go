package gateway

import (
	"testing"
	"unsafe"

	"github.com/rookery-chat/rookery/chat"
)

func TestWindowFillsAndMarksEmptyIt(t *testing.T) {
	o, w := &Options{Window: 10, WindowBytes: 1000}, window{}
	for i := range 10 {
		if w.full(o) {
			t.Fatalf("full after %d of 10", i)
		}
		w.add(o, posAt(i), 1, 10)
	}
	if !w.full(o) || w.room(o) != 0 {
		t.Fatalf("not full after 10: room %d", w.room(o))
	}
	w.mark(posAt(2))
	if !w.full(o) {
		t.Error("a mark in the older half made room")
	}
	w.mark(posAt(4))
	if w.full(o) || w.room(o) != 5 {
		t.Errorf("a mark of the older half made room for %d, want 5", w.room(o))
	}
	w.mark(posAt(9))
	if w.room(o) != 10 {
		t.Errorf("a mark of everything made room for %d, want 10", w.room(o))
	}
}

func TestWindowCountsBytes(t *testing.T) {
	o, w := &Options{Window: 1000, WindowBytes: 100}, window{}
	w.add(o, posAt(0), 1, 60)
	w.add(o, posAt(1), 1, 60)
	if !w.full(o) {
		t.Error("120 bytes fit into a window of 100")
	}
	w.mark(posAt(1))
	if w.full(o) {
		t.Error("full after everything was marked")
	}
}

// However marks fall, the window never counts less than half of what is truly
// unmarked, and what is marked to the end counts as nothing.
func TestWindowIsBounded(t *testing.T) {
	o, w := &Options{Window: 64, WindowBytes: 1 << 30}, window{}
	sent, marked := 0, 0
	for i := range 100_000 {
		if w.full(o) {
			marked = sent
			w.mark(posAt(marked - 1))
			continue
		}
		w.add(o, posAt(sent), 1, 1)
		sent++
		if i%7 == 0 && sent-marked > 3 {
			marked += 3
			w.mark(posAt(marked - 1))
		}
		if sent-marked > 2*64 {
			t.Fatalf("%d unmarked entries passed a window of 64", sent-marked)
		}
	}
}

func TestBucketRefillsAtItsRate(t *testing.T) {
	o := &Options{Rate: 100, RateBurst: 10, RateBytes: 1 << 20}
	var b bucket
	now := int64(1_000_000)
	for i := range 10 {
		if over := b.spend(o, now, 1); over > 0 {
			t.Fatalf("packet %d of a burst of 10 is %d ms over", i, over)
		}
	}
	if over := b.spend(o, now, 1); over != 10 {
		t.Errorf("the 11th packet is %d ms over at 100 a second, want 10", over)
	}
	b.refund(1)
	if over := b.spend(o, now+10, 1); over > 0 {
		t.Errorf("%d ms over after the time it was told to wait", over)
	}
	if over := b.spend(o, now+1_000_000, 1); over > 0 || b.packets != 9000 {
		t.Errorf("after a long rest %d ms over and %d thousandths left, want a burst less one", over, b.packets)
	}
}

func TestBucketCountsBytes(t *testing.T) {
	o := &Options{Rate: 1000, RateBurst: 1000, RateBytes: 1000}
	var b bucket
	if over := b.spend(o, 1, 3000); over != 2000 {
		t.Errorf("3000 bytes at 1000 a second are %d ms over, want 2000", over)
	}
}

// A million of them have to fit.
func TestSessionSize(t *testing.T) {
	const maxBytes = 88
	if n := unsafe.Sizeof(session{}); n > maxBytes {
		t.Errorf("a session has %d bytes, more than %d", n, maxBytes)
	}
}

func posAt(i int) chat.Position { return chat.Position(i + 1) }
