package client

import (
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// Event is what Receive returns: one of the types below.
type Event interface{ isEvent() }

// Message is a message to the user, or to a group: then To is the group. Its
// Place is its position in the user's chain, or in the group's order: what
// MarkRead takes.
type Message struct{ chat.Message }

// With returns whom the chat is with that the message is of: the group it went
// to, or the user it is from.
func (m Message) With() chat.User {
	if m.To.IsGroup() {
		return m.To
	}
	return m.From
}

// Copy is a message that another device of the user sent.
type Copy struct{ chat.Message }

// Own is a message to a group that this device sent, with its place there, for who
// keeps what happened in the group's order. It comes without its content, which
// who sent it has. Only with Options.Own.
type Own struct{ chat.Message }

// Receipt says how far Peer has come with what the user sent to Peer. A message
// sent is delivered when its Place <= Delivered, and read when Place <= Read.
type Receipt struct{ chat.Receipt }

// CaughtUp says that everything up to Position has been received: what comes
// after it is new.
type CaughtUp struct{ Position chat.Position }

// Truncated says that the server no longer keeps what was for this device up to
// Position, as it was away for too long. History still has the messages.
type Truncated struct{ Position chat.Position }

// Typing says that Peer types, or stopped. It may be lost.
type Typing struct {
	Peer chat.User
	On   bool
}

// Presence says whether a watched user is connected, and since when not: Seen
// is zero when that is not known.
type Presence struct {
	Peer   chat.User
	Online bool
	Seen   time.Time
}

// Connected says that a session began.
type Connected struct {
	User    chat.User
	Resume  chat.Position // where the chain goes on
	Waiting uint64        // entries waiting, counted up to a limit of the server
}

// Disconnected says that a session ended, or could not begin, and when the next
// attempt is.
type Disconnected struct {
	Err     error
	RetryIn time.Duration
}

// Problem is something that the server did not do and no call is waiting for:
// a message refused (ID is its id), a watch, a read mark. Err is a *chat.Error.
type Problem struct {
	ID  chat.ID
	Err error
}

func (Message) isEvent()      {}
func (Copy) isEvent()         {}
func (Own) isEvent()          {}
func (Receipt) isEvent()      {}
func (CaughtUp) isEvent()     {}
func (Truncated) isEvent()    {}
func (Typing) isEvent()       {}
func (Presence) isEvent()     {}
func (Connected) isEvent()    {}
func (Disconnected) isEvent() {}
func (Problem) isEvent()      {}

// OtherEvent is embedded by the events of packages that build on this one.
type OtherEvent struct{}

func (OtherEvent) isEvent() {}
