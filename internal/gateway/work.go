package gateway

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
)

// work is what a session has while something is under way: bytes of a frame
// that is not whole, sends that are not durable, entries that are not marked, a
// rate that is partly used up. Who rests has none.
type work struct {
	reader  frame.Reader
	opening *opening // until it is a session

	missed       chat.Position // the newest entry dropped while catching up
	receiptsFrom chat.Position // of catch-up: receipts up to here are known to the client
	marked       chat.Position // what the client has said it has persisted; 0: nothing since it had work, so a repeat goes into the log twice
	markSent     chat.Position // what of marked is in the log or on its way

	window window
	tokens bucket

	frameAt  int32  // where the open frame starts in the output, or noFrame
	issuedAt uint32 // until hello: when the token was issued, Unix seconds; of one that is bound to a device the end of time
	inflight int32  // sends taken and not yet durable
	dropped  int32  // sends discarded since the refusal
	requests uint8  // requests at work

	pending bool // counted among the connections without a session
	refused bool // a send was refused and not sent again yet
	reading bool // a catch-up job is at work
	queued  bool // in the loop's retry list
	marking bool // a mark is on its way into the log
	dirty   bool // in the loop's dirty list
	leaving bool // bye was said; it closes when its sends are durable
}

// How a loop takes work from sessions that rest: some of those that have any, every
// so often, so that each is looked at within two seconds.
const (
	restEveryMs = 100
	restShare   = 20
	worksKept   = 1024 // that a loop keeps to be used again
)

// working are the sessions of a loop that have work.
type working struct {
	sessions []*session
	hand     int     // which of them is looked at next
	nextMs   int64   // when
	free     []*work // to be used again
}

// wake gives a session work, as one has it that has none under way.
func (st *loopState) wake(s *session) {
	if n := len(st.working.free); n > 0 {
		s.work = st.working.free[n-1]
		st.working.free = st.working.free[:n-1]
	} else {
		s.work = &work{}
	}
	st.working.sessions = append(st.working.sessions, s)
	st.renew(s)
}

// renew makes the work of a session like new, but for the lists that it is in.
func (st *loopState) renew(s *session) {
	*s.work = work{frameAt: noFrame, dirty: s.dirty, queued: s.queued}
}

// rests reports whether a session is as one without work would be.
func (s *session) rests(o *Options, nowMs int64) bool {
	if s.dirty || s.queued {
		return false
	}
	return s.gone || s.state == live && !s.refused && !s.reading && !s.marking && s.inflight == 0 && s.requests == 0 &&
		(s.marked <= s.markSent || s.skipped) && s.window.empty() && s.reader.Idle() && s.tokens.full(o, nowMs)
}

// rest takes work from sessions that rest.
func (st *loopState) rest(nowMs int64) {
	w := &st.working
	if nowMs < w.nextMs && nowMs > w.nextMs-restEveryMs {
		return
	}
	w.nextMs = nowMs + restEveryMs
	for range len(w.sessions)/restShare + 1 {
		if w.hand >= len(w.sessions) {
			w.hand = 0
		}
		if len(w.sessions) == 0 {
			return
		}
		if s := w.sessions[w.hand]; s.rests(&st.g.opt, nowMs) {
			st.release(s)
		} else {
			w.hand++
		}
	}
}

// release takes the work of the session that the hand is at.
func (st *loopState) release(s *session) {
	w := &st.working
	last := len(w.sessions) - 1
	w.sessions[w.hand], w.sessions[last] = w.sessions[last], nil
	w.sessions = w.sessions[:last]
	if cap(w.sessions) > 4*last+worksKept { // after a wave
		w.sessions = append(make([]*session, 0, 2*last), w.sessions...)
	}
	if len(w.free) < worksKept {
		w.free = append(w.free, s.work)
	}
	s.work = nil
}
