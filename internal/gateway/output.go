package gateway

import (
	"strings"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

const (
	noFrame     = -1
	frameHole   = 4        // room for the usual header of an open frame
	frameJoined = 32 << 10 // an open frame over this is ended
)

// closeBase turns a code of the session into a WebSocket close code.
const closeBase = 4000

// encoder is a packet that can be written.
type encoder interface{ AppendTo(dst []byte) []byte }

// out returns the connection's output with a binary frame open at its end. All
// packets of a turn go into one frame.
func (s *session) out() *[]byte {
	p := s.conn.Pending()
	if s.frameAt != noFrame && len(*p)-int(s.frameAt) > frameJoined {
		s.endFrame()
	}
	if s.frameAt == noFrame {
		s.frameAt = int32(len(*p))
		*p = append(*p, make([]byte, frameHole)...)
		if !s.dirty {
			s.dirty = true
			s.st().dirty = append(s.st().dirty, s)
		}
	}
	return p
}

// write sends one packet. It allocates; hot packets append to out themselves.
func (s *session) write(e encoder) {
	if s.gone {
		return
	}
	p := s.out()
	*p = e.AppendTo(*p)
}

// endFrame puts the header of the open frame in its place.
func (s *session) endFrame() {
	if s.frameAt == noFrame {
		return
	}
	at := int(s.frameAt)
	s.frameAt = noFrame
	if s.gone {
		return
	}
	p := s.conn.Pending()
	if s.rare != nil && s.rare.deflate != (frame.DeflateParams{}) {
		s.st().scratch = append(s.st().scratch[:0], (*p)[at+frameHole:]...)
		*p = frame.AppendDeflated((*p)[:at], frame.OpBinary, s.st().scratch, s.rare.deflate)
		return
	}
	n := len(*p) - at - frameHole
	head := frame.HeaderBytes(n)
	for len(*p) < at+head+n { // a header longer than the hole
		*p = append(*p, 0)
	}
	copy((*p)[at+head:], (*p)[at+frameHole:at+frameHole+n])
	frame.AppendHeader((*p)[:at], frame.OpBinary, false, n)
	*p = (*p)[:at+head+n]
}

// control sends a control frame.
func (s *session) control(op frame.Op, payload []byte) {
	s.endFrame()
	p := s.conn.Pending()
	*p = frame.AppendMessage(*p, op, payload)
}

// fail answers a packet that is not served; the session goes on.
func (s *session) fail(req uint64, code chat.Code, retryMs int64, text string) {
	s.st().g.Stats.Errors.Add(1)
	s.write(&packet.Error{Code: code, Retry: uint64(retryMs), Text: text, Req: req})
}

// bye says why the session ends, and ends it.
func (s *session) bye(code chat.Code, retryMs int64, text string) {
	if s.state == closing {
		return
	}
	s.st().g.Stats.bye(code)
	text = strings.TrimPrefix(text, code.String()+": ") // of an error, which begins with it
	s.write(&packet.Bye{Code: code, Retry: uint64(retryMs), URL: s.byeURL(code), Text: text})
	s.closeFrame(closeBase+uint16(code), code.String())
}

func (s *session) byeURL(code chat.Code) string {
	if code == chat.CodeDraining {
		return s.st().g.opt.DrainURL
	}
	return ""
}

// closeFrame sends a WebSocket close and ends the connection once it is out.
func (s *session) closeFrame(code uint16, reason string) {
	s.endFrame()
	p := s.conn.Pending()
	*p = frame.AppendClose(*p, code, reason)
	s.state = closing
	s.st().g.leave(s)
	s.conn.Close()
}
