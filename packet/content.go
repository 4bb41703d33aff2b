package packet

import (
	"math"

	"github.com/rookery-chat/rookery/chat"
)

// ContentVersion is the version of Content that AppendTo writes.
const ContentVersion = 1

// Content [1, kind, text, target, seconds] is what an encrypted message says
// where it is more than a text; docs/protocol.md, section 15. It is no packet:
// it lies inside the encryption, and a server never sees it. Its first element
// is its version.
type Content struct {
	Kind    uint8
	Text    string
	Target  chat.ID // the message that it is about; the zero id: none
	Seconds uint32
}

// Decode reads a Content. version is the first element: of another than
// ContentVersion nothing is read. The error is CodeBadPacket. Elements after
// the last known one belong to a later version.
func (x *Content) Decode(b []byte) (version uint8, err error) {
	*x = Content{}
	p, rest, err := Next(b)
	if err != nil || len(rest) > 0 {
		return 0, chat.Errorf(chat.CodeBadPacket, "no content: one array of MessagePack, whose first element is its version")
	}
	if p.Type != ContentVersion {
		return uint8(p.Type), nil
	}
	kind, body := takeByte(p.Body)
	text, body := takeStr(body)
	body = takeID(body, &x.Target)
	seconds, body := takeUint(body, math.MaxUint32)
	if body == nil {
		*x = Content{}
		return 0, chat.Errorf(chat.CodeBadPacket, "an element of a content is of another type or out of range")
	}
	x.Kind, x.Text, x.Seconds = kind, string(text), uint32(seconds)
	return ContentVersion, nil
}

// AppendTo appends the encoded Content, without trailing elements that are zero.
func (x *Content) AppendTo(dst []byte) []byte {
	count := 2
	switch {
	case x.Seconds != 0:
		count = 5
	case !x.Target.Zero():
		count = 4
	case x.Text != "":
		count = 3
	}
	dst = appendUint(appendHead(dst, ContentVersion, count), uint64(x.Kind))
	if count > 2 {
		dst = appendStr(dst, []byte(x.Text))
	}
	if count > 3 {
		dst = appendID(dst, &x.Target)
	}
	if count > 4 {
		dst = appendUint(dst, uint64(x.Seconds))
	}
	return dst
}
