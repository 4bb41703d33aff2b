// Command checker judges a running rookery from outside. It kills the server at
// random moments under load and holds what every device was sent against what
// every sender was promised:
//
//	lost        what was accepted and never came, as a message or, at the
//	            sender's devices, as a copy; receipts that never came: none
//	unexpected  what came and was never sent: none
//	unique      no device is sent a message twice within its chain
//	ordered     per sender and chat, in the order of sending
//	resumable   after position P comes everything after P
//	bookmarks   caught_up P means everything up to P was sent
//	monotonic   receipts never go backwards, and are never ahead of the marks
//
// Groups are held to the same, for each device of each member: what has a place
// between the change that made its user a member and the change that ended that,
// both included, comes once and in the group's order; nothing else comes.
//
// Without a subcommand it kills one process with embedded log and store, again
// and again. `checker chaos` starts a cluster (three brokers, Cassandra, Redis,
// HAProxy, gateways, processors), sends at a rate that heeds nothing, through
// the balancer, and kills, pauses or cuts off one part after the other; each is
// healed before the next falls. Members join and leave groups meanwhile. scripts/chaos.sh runs it in a network of its
// own.
//
// It is written from docs/protocol.md and shares no code with the server; it has
// a go.mod of its own so that it cannot.
package main
