package gateway

import (
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/presence"
)

// state is where a session is in its life. docs/protocol.md draws it.
type state uint8

const (
	handshaking state = iota // until the upgrade is answered
	opened                   // waiting for hello
	joining                  // hello is being worked on
	catching                 // reading its inbox
	live                     // taking entries as they come
	closing                  // nothing more is taken or sent
)

// session is one connection. All of it is touched on its loop only. A million
// of them have to fit: fields are ordered to leave no holes, and what most
// sessions do not need is behind a pointer.
type session struct {
	conn    *engine.Conn
	st      *loopState
	user    chat.User   // set by the handshake
	device  chat.Device // set by hello; before, what the token is bound to
	reader  frame.Reader
	opening *opening // until it is a session, where that needs more than its bytes
	rare    *rare    // what few sessions have

	// The chain.
	cur          chat.Position // the client has been sent everything up to here
	missed       chat.Position // the newest entry dropped while catching up
	receiptsFrom chat.Position // receipts up to here are known to the client
	marked       chat.Position // what the client has persisted
	markSent     chat.Position // what of it is in the log or on its way

	// Sending.
	next      uint64 // the number of the next send
	lastTicks uint64 // of the newest id

	window window
	tokens bucket

	heard    int64 // when the client was last heard, ms
	expires  int64 // when its token ends, ms
	frameAt  int32 // where the open frame starts in the output, or noFrame
	inflight int32 // sends taken and not yet durable
	dropped  int32 // sends discarded since the refusal
	part     int16 // the user's partition
	requests uint8 // requests at work

	node  chat.Node
	state state

	pending bool        // counted among the connections without a session
	joined  bool        // registered with presence
	copies  bool        // the user has other devices
	skipped bool        // it began above what no device has persisted: its marks are no cursor
	refused bool        // a send was refused and not sent again yet
	reading bool        // a catch-up job is at work
	queued  bool        // in the loop's retry list
	marking bool        // a mark is on its way into the log
	dirty   bool        // in the loop's dirty list
	pinged  bool        // a ping went out since the client was last heard
	warned  bool        // the coming end of the token was told
	gone    bool        // Closed was called
	ended   atomic.Bool // the same, for workers: what nobody waits for is not worked at
	leaving bool        // bye was said; it closes when its sends are durable
}

// rare is what few sessions have.
type rare struct {
	number         uint64 // in the directory: rises from one session of a device to the next; 0 without other gateways
	unsure         bool   // to be audited once it is live
	watches        map[chat.User]struct{}
	deflate        frame.DeflateParams
	keys           *keyRate
	receiptsBeyond chat.User // the inbox is sent, receipts are left of peers beyond this one; "": catch-up is not so far
}

func (s *session) extra() *rare {
	if s.rare == nil {
		s.rare = &rare{}
	}
	return s.rare
}

func (s *session) ref() presence.Ref { return presence.Ref(s.conn.ID()) }

// window counts what was delivered and not yet marked, in entries and bytes.
// It keeps two generations, so that a mark somewhere in between is worth about
// half: exact enough, in constant space.
type window struct {
	last, mid             chat.Position // newest entry sent; where the older generation ends
	count, bytes          int32         // newer generation
	midCount, midBytes    int32         // older generation
	maxCount, maxBytesOut int32
}

// add counts entries up to pos.
func (w *window) add(pos chat.Position, count, bytes int) {
	if w.midCount == 0 && (w.count >= w.maxCount/2 || w.bytes >= w.maxBytesOut/2) {
		w.mid, w.midCount, w.midBytes = w.last, w.count, w.bytes
		w.count, w.bytes = 0, 0
	}
	w.last = pos
	w.count += int32(count)
	w.bytes += int32(bytes)
}

func (w *window) mark(pos chat.Position) {
	if pos >= w.last {
		w.count, w.bytes, w.midCount, w.midBytes = 0, 0, 0, 0
	} else if pos >= w.mid {
		w.midCount, w.midBytes = 0, 0
	}
}

func (w *window) full() bool {
	return w.count+w.midCount >= w.maxCount || w.bytes+w.midBytes >= w.maxBytesOut
}

func (w *window) room() int { return int(w.maxCount - w.count - w.midCount) }

// bucket is a token bucket for packets and one for bytes, in thousandths.
type bucket struct {
	packets int64
	bytes   int64
	at      int64 // ms of the last refill
}

// spend takes a packet of n bytes and returns how many ms it is over the rate;
// 0 or less is within it.
func (b *bucket) spend(o *Options, nowMs int64, n int) int64 {
	if b.at == 0 {
		b.packets, b.bytes = int64(o.RateBurst)*1000, int64(o.RateBytes)*1000
	} else if dt := nowMs - b.at; dt > 0 {
		b.packets = min(b.packets+dt*int64(o.Rate), int64(o.RateBurst)*1000)
		b.bytes = min(b.bytes+dt*int64(o.RateBytes), int64(o.RateBytes)*1000)
	}
	b.at = nowMs
	b.packets -= 1000
	b.bytes -= int64(n) * 1000
	return max(-b.packets/int64(o.Rate), -b.bytes/int64(o.RateBytes))
}

// refund undoes the last spend of n bytes, for a send that was refused.
func (b *bucket) refund(n int) {
	b.packets += 1000
	b.bytes += int64(n) * 1000
}
