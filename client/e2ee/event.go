//go:build !js

package e2ee

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// Event is what a Machine has for the app: client.Message, client.Copy,
// client.Problem, or one of this package's.
type Event = client.Event

// OtherEvent makes a type an event beside those of package client.
type OtherEvent = client.OtherEvent

func problemOf(err error) Event { return client.Problem{Err: err} }

func eventOf(m chat.Message, isCopy bool) Event {
	if isCopy {
		return client.Copy{Message: m}
	}
	return client.Message{Message: m}
}

// messageOf is the message that an event shows.
func messageOf(e Event) (chat.Message, bool) {
	m, ok := e.(client.Message)
	return m.Message, ok
}
