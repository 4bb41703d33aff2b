package presence

import (
	"context"
	"errors"

	"github.com/rookery-chat/rookery/chat"
)

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

// Session is a session of this process, as the directory knows it.
type Session struct {
	User   chat.User
	Node   chat.Node
	Number uint64 // rises from one session of a device to the next, on whichever gateway
}

// Registration is what registering a session found.
type Registration struct {
	// Replaced is the older session of the same device that this one took over;
	// its Session is 0 when there was none. Its gateway has to be told.
	Replaced Location
	// Others says that other devices of the user have sessions.
	Others bool
}

// Errors of a directory.
var (
	// ErrSuperseded says that a newer session of the device is registered.
	ErrSuperseded = errors.New("a newer session of the device is registered")
	// ErrUnavailable is in every error that says that the directory cannot be
	// asked now.
	ErrUnavailable = errors.New("the directory of presence is unavailable")
)

// Directory knows across processes at which gateways a user has sessions. It is
// a hint: messages arrive without it (law 13). What it says of a gateway counts
// while the gateway holds its lease.
//
// No method waits longer than the directory's own short time limit, whatever
// its context says. UnregisterLater, Watch, Unwatch, Forget, Self and
// Health do not wait at all.
type Directory interface {
	// Register enters a session of this process. A session with a smaller
	// number of the same device is taken over; a greater one makes it
	// ErrSuperseded. After any other error the directory goes on trying and
	// tells Handler.Settled.
	Register(ctx context.Context, s Session) (Registration, error)
	// Unregister removes a session, if it is still the device's, and with it what
	// older ones of the device may have left here. last says that the user has
	// none left anywhere; seen is when it was last here, in
	// milliseconds. After an error the directory goes on trying.
	Unregister(ctx context.Context, s Session, seen int64) (last bool, err error)
	// UnregisterLater is Unregister in the background. It does not wait, so an
	// event loop may call it, and it is not lost.
	UnregisterLater(s Session, seen int64)
	// Where returns for each user the gateways that have sessions of it.
	Where(ctx context.Context, users []chat.User) ([][]Gateway, error)
	// Forget says that a gateway which Where named has no session of the user.
	// It is believed when it is said again a little later of the same session.
	Forget(user chat.User, at Gateway)
	// Gateways returns all that hold a lease.
	Gateways(ctx context.Context) ([]Gateway, error)

	// Watch asks for Handler.Changed of a user until Unwatch has been called as
	// often. It returns what is known at once; unless that is known, Changed
	// tells it.
	Watch(user chat.User) (online, known bool)
	Unwatch(user chat.User)

	// Self is this process as a gateway, and whether it holds its lease now.
	Self() (Gateway, bool)
	// Health is nil when the directory can be asked and the lease is held.
	Health() error
	// Close gives the lease back and ends all that the directory began.
	Close()
}

// Handler is what a directory asks and tells its process. Each may be nil.
type Handler struct {
	// Sessions yields every session of this process. It is called when all have
	// to be registered again; yield may wait, as that is paced.
	Sessions func(yield func(Session) bool)
	// Settled tells of a session that was registered later than it asked, or
	// again: hints may have been lost meanwhile, so it has to look into its
	// inbox. err is nil or ErrSuperseded. If the session ended meanwhile, it has
	// to be unregistered once more.
	Settled func(s Session, r Registration, err error)
	// Changed tells that a watched user came or went. seen is when it was last
	// here, in milliseconds; 0 of one who went means that only the store knows.
	// Calls come one at a time and must not wait.
	Changed func(user chat.User, online bool, seen int64)
}
