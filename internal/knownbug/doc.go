// Package knownbug has faults that a test may switch on, to see that the
// checker finds them. Without the build tag "knownbugs" On is false, and the
// compiler leaves them out.
//
// With the tag, the environment variable KNOWN_BUG names the one that is on.
package knownbug

// The faults.
const (
	AckBeforeDurable  = "ack-before-durable"  // the log acknowledges what one broker alone has
	CommitBeforeStore = "commit-before-store" // an owner marks a cycle, then stores its rows
	ResumeOffByOne    = "resume-off-by-one"   // catch-up begins one entry too late
	NoDeduplication   = "no-deduplication"    // an owner does not look whether a retry is stored
	LeaversStay       = "leavers-stay"        // who has left a group is sent what comes then
)

// SlowRows is no fault, but what a store may do: rows become visible in any
// order, some of them long after others. Nothing may be found.
const SlowRows = "slow-rows"
