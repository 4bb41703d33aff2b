package gateway

import (
	"math"
	"time"
	"unsafe"

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
// of them have to fit, most of them silent: it lies in a slab, by its
// connection's slot; its fields are ordered to leave no holes; what it needs
// while something is under way is its work, which it gives back when it rests;
// and what most never need is behind a pointer.
type session struct {
	conn  *engine.Conn
	names *byte // the user, set by the handshake, then the device, set by hello; before, what the token is bound to
	*work       // nil while it rests
	rare  *rare // what few sessions have

	cur chat.Position // of its chain the client has been sent everything up to here

	// Sending.
	next      uint64 // the number of the next send
	lastTicks uint64 // of the newest id

	number uint64 // in the directory: rises from one session of a device to the next; 0 without other gateways

	heardMs     uint32 // when the client was last heard: the low bits of that time in ms
	expiresAt   uint32 // when its token ends, Unix seconds
	node        chat.Node
	userBytes   uint8 // of names
	deviceBytes uint8 // behind them
	state       state

	joined  bool // registered with presence
	copies  bool // the user has other devices
	skipped bool // it began above what no device has persisted: its marks are no cursor
	unsure  bool // to be audited once it is live
	pinged  bool // a ping went out since the client was last heard
	warned  bool // the coming end of the token was told
	gone    bool // Closed was called
}

// rare is what few sessions have.
type rare struct {
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

func (s *session) st() *loopState { return s.conn.Loop().Data.(*loopState) }

func (s *session) user() chat.User { return chat.User(unsafe.String(s.names, s.userBytes)) }

func (s *session) device() chat.Device {
	return chat.Device(unsafe.String(s.names, int(s.userBytes)+int(s.deviceBytes))[s.userBytes:])
}

// named keeps whose session it is, in a string of its own: those it is given
// may be parts of larger ones.
func (s *session) named(user chat.User, device chat.Device) {
	s.names = unsafe.StringData(string(user) + string(device))
	s.userBytes, s.deviceBytes = uint8(len(user)), uint8(len(device))
}

func (s *session) hear(nowMs int64) { s.heardMs = uint32(nowMs) }

// silentMs is how long the client has not been heard: right for three weeks, and
// negative after the wall clock was put back.
func (s *session) silentMs(nowMs int64) int64 { return int64(int32(uint32(nowMs) - s.heardMs)) }

// expire sets when the token ends, cut to the second.
func (s *session) expire(at time.Time) { s.expiresAt = uint32(min(max(at.Unix(), 0), math.MaxUint32)) }

func (s *session) expiresMs() int64 { return int64(s.expiresAt) * 1000 }

// window counts what was delivered and not yet marked, in entries and bytes.
// It keeps two generations, so that a mark somewhere in between is worth about
// half: exact enough, in constant space.
type window struct {
	last, mid          chat.Position // newest entry sent; where the older generation ends
	count, bytes       int32         // newer generation
	midCount, midBytes int32         // older generation
}

func (w *window) empty() bool { return w.count == 0 && w.midCount == 0 }

// add counts entries up to pos.
func (w *window) add(o *Options, pos chat.Position, count, bytes int) {
	if w.midCount == 0 && (int(w.count) >= o.Window/2 || int(w.bytes) >= o.WindowBytes/2) {
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

func (w *window) full(o *Options) bool {
	return w.room(o) <= 0 || int(w.bytes+w.midBytes) >= o.WindowBytes
}

func (w *window) room(o *Options) int { return o.Window - int(w.count+w.midCount) }

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

// full reports whether it holds all that it ever does: then it is as good as a
// new one.
func (b *bucket) full(o *Options, nowMs int64) bool {
	dt := nowMs - b.at
	return b.at == 0 || b.packets+dt*int64(o.Rate) >= int64(o.RateBurst)*1000 && b.bytes+dt*int64(o.RateBytes) >= int64(o.RateBytes)*1000
}

// refund undoes the last spend of n bytes, for a send that was refused.
func (b *bucket) refund(n int) {
	b.packets += 1000
	b.bytes += int64(n) * 1000
}
