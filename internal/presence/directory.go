package presence

import "github.com/rookery-chat/rookery/chat"

// Gateway is a process that holds sessions, in one of its lives.
type Gateway struct {
	ID      string // its name, the same in every life
	Epoch   uint64 // of the lease it holds; a later life has a greater one
	Address string // host:port where other processes reach it
}

// Location is where one session is.
type Location struct {
	Gateway Gateway
	Node    chat.Node // of the session's device
	Session uint64    // rises from one session of a device to the next
}
