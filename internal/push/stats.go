package push

import "sync/atomic"

// Reason is why a notice ended without a push.
type Reason uint8

// The reasons.
const (
	Full      Reason = iota // the table had no room
	NoTarget                // no device of the user has registered
	Unknown                 // the device's provider is not set here
	Delivered               // the device has it: its cursor has passed it
	Pushed                  // the device was told of something later, or of the same before
	Online                  // the device is connected and stays so
	Limited                 // the device's rate leaves no place before the notice is too old
	TokenGone               // the provider knows the token no more
	Refused                 // the provider will never take it
	GaveUp                  // too many tries, or too old
	Stopped                 // the server ended before it went out
	reasons
)

var reasonNames = [reasons]string{
	"full", "no_target", "unknown_provider", "delivered", "pushed", "online", "limited", "token_gone", "refused", "gave_up", "stopped",
}

// String returns the reason as metrics call it, such as "token_gone".
func (r Reason) String() string { return reasonNames[r] }

// Reasons lists every Reason.
func Reasons() []Reason {
	list := make([]Reason, reasons)
	for i := range list {
		list[i] = Reason(i)
	}
	return list
}

// Stats counts what became of notices. A notice is of a user and chat until its
// devices are looked up, from then on of a device and chat.
type Stats struct {
	Offered   atomic.Uint64 // calls of Offer
	Collapsed atomic.Uint64 // notices that joined one which waited already
	Sent      atomic.Uint64 // pushes that a provider took
	Retries   atomic.Uint64 // tries that failed and are made again
	Waiting   atomic.Int64  // notices in the table now

	dropped [reasons]atomic.Uint64
}

// Dropped returns how many notices ended for a reason.
func (s *Stats) Dropped(r Reason) uint64 { return s.dropped[r].Load() }
