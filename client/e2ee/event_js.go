package e2ee

import "github.com/rookery-chat/rookery/chat"

// In the browser the connection, and so its events, are the TypeScript SDK's:
// package client would only make what is loaded twice as large.

// Event is what a Machine has for the app: Shown, Problem, or one of the types of
// every platform.
type Event = any

// OtherEvent marks an event; without a client it needs nothing.
type OtherEvent struct{}

// Shown is a message that can be read.
type Shown struct {
	Message chat.Message
	Copy    bool
}

// Problem is something that did not work and that nobody waits for.
type Problem struct{ Err error }

func problemOf(err error) Event { return Problem{Err: err} }

func eventOf(m chat.Message, isCopy bool) Event { return Shown{m, isCopy} }

func messageOf(e Event) (chat.Message, bool) {
	m, ok := e.(Shown)
	return m.Message, ok
}
