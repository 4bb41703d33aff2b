// Package content is what encrypted messages say beside plain text: replies,
// edits, deletions, reactions, and times after which messages disappear; and
// Timeline, a chat as all of them make it. It knows neither connection nor
// encryption. docs/protocol.md, section 15, has bytes and rules.
package content

import (
	"math"
	"time"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// Kind says what a Body is.
type Kind uint8

// The kinds. Their numbers are those of the format.
const (
	KindNewer    Kind = 0 // of a later version: show that it takes a newer client
	KindText     Kind = 1 // a text, which may reply to Target
	KindEdit     Kind = 2 // Text takes the place of what Target said
	KindDelete   Kind = 3 // Target is deleted for everyone
	KindReaction Kind = 4 // Text is the user's reaction to Target; empty takes it back
	KindTimer    Kind = 5 // what is sent from here on lives for Seconds; 0 is for ever
	KindFile     Kind = 6 // a file, File; it travels in its own type and not in this format
)

// MaxReaction is the most bytes of a reaction: an emoji of several parts.
const MaxReaction = 64

// Body is what a message says.
type Body struct {
	Kind    Kind
	Text    string
	Target  chat.ID // the message that this one is about, of the same chat; of a text the one it replies to
	Seconds uint32  // of a text: it is gone so long after its id's time, 0 is never; of a timer the chat's
	File    []byte  // of a file, as it came
}

// Parse reads a body. One of a later version or of an unknown kind is KindNewer.
// The error is chat.CodeBadPacket: bytes that are none, a change without a
// target, a reaction over MaxReaction.
func Parse(b []byte) (Body, error) {
	var x packet.Content
	version, err := x.Decode(b)
	if err != nil {
		return Body{}, err
	}
	body := Body{Kind: Kind(x.Kind), Text: x.Text, Target: x.Target, Seconds: x.Seconds}
	if version != packet.ContentVersion || body.Kind == KindNewer || body.Kind > KindTimer {
		return Body{}, nil
	}
	return body, body.check()
}

// Append appends the body's bytes. The error is chat.CodeBadPacket, as of Parse.
func (b Body) Append(dst []byte) ([]byte, error) {
	if b.Kind == KindNewer || b.Kind > KindTimer {
		return nil, chat.Errorf(chat.CodeBadPacket, "kind %d has no bytes in this format", b.Kind)
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	x := packet.Content{Kind: uint8(b.Kind), Text: b.Text, Target: b.Target, Seconds: b.Seconds}
	return x.AppendTo(dst), nil
}

func (b *Body) check() error {
	switch {
	case b.Changes() && b.Target.Zero():
		return chat.Errorf(chat.CodeBadPacket, "an edit, deletion or reaction names the message it is for")
	case b.Kind == KindReaction && len(b.Text) > MaxReaction:
		return chat.Errorf(chat.CodeBadPacket, "a reaction has at most %d bytes, this one has %d", MaxReaction, len(b.Text))
	case !utf8.ValidString(b.Text):
		return chat.Errorf(chat.CodeBadPacket, "a text is not UTF-8")
	}
	return nil
}

// Changes reports whether the body changes another message and is none to show
// by itself.
func (b *Body) Changes() bool {
	return b.Kind == KindEdit || b.Kind == KindDelete || b.Kind == KindReaction
}

// Counts reports whether a message of this body is one that the user has not
// read until it was shown.
func (b *Body) Counts() bool { return !b.Changes() && b.Kind != KindTimer }

// Life is Seconds as a time, 0 for ever.
func (b *Body) Life() time.Duration { return time.Duration(b.Seconds) * time.Second }

// LifeSeconds is a time to live as Body.Seconds: whole seconds, rounded up.
func LifeSeconds(ttl time.Duration) uint32 {
	return uint32(min(math.Ceil(max(ttl, 0).Seconds()), math.MaxUint32))
}
