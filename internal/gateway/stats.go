package gateway

import (
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
)

// Stats counts what sessions do.
type Stats struct {
	Sessions         atomic.Int64  // welcomed and not gone
	RefusedHandshake atomic.Uint64 // handshakes refused or too slow
	RefusedAddress   atomic.Uint64 // connections over PendingPerAddress
	RefusedProxy     atomic.Uint64 // connections of balancers that did not say whose they are
	MessagesIn       atomic.Uint64 // WebSocket messages
	Sends            atomic.Uint64 // sends taken
	Accepted         atomic.Uint64 // sends acknowledged as durable
	Delivered        atomic.Uint64 // links written as they came
	CaughtUpEntries  atomic.Uint64 // entries written in catch-up
	FellBehind       atomic.Uint64 // times a session fell into catch-up
	Audited          atomic.Uint64 // sessions whose place was compared with the head of their chain
	AuditBehind      atomic.Uint64 // of them those that a lost hint had left behind
	DevicesRevoked   atomic.Uint64 // on behalf of their users
	Replaced         atomic.Uint64 // sessions taken over by a newer one
	DeviceChanged    atomic.Uint64 // hellos with another clock sequence: reinstalled, or a clone
	LogFull          atomic.Uint64 // batches the log did not take at once
	Settled          atomic.Uint64 // batches acknowledged only once they were known to be in the right epoch
	Errors           atomic.Uint64 // requests not served
	Refused          [codeMax]atomic.Uint64
	Byes             [codeMax]atomic.Uint64
}

const codeMax = 256

func (st *Stats) refuse(c chat.Code) { st.Refused[c%codeMax].Add(1) }
func (st *Stats) bye(c chat.Code)    { st.Byes[c%codeMax].Add(1) }
