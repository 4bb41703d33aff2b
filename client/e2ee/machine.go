package e2ee

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// Errors of sending, and of Failed events.
var (
	ErrNoKeys      = errors.New("e2ee: the user has no keys: nobody of theirs has encryption on")
	ErrChanged     = errors.New("e2ee: the user's identity has changed: compare safety numbers, then Accept it")
	ErrOwnIdentity = errors.New("e2ee: the server names another identity for this user than this device has: link it anew")
	ErrPlain       = errors.New("e2ee: a message that is not encrypted")
	ErrForged      = errors.New("e2ee: a message that its sender did not write so")
	ErrReplayed    = errors.New("e2ee: a message that came again, or under another id")
	ErrMoved       = errors.New("e2ee: a message of another chat or sender")
	ErrNoKey       = errors.New("e2ee: a message whose key did not come")
)

// Defaults of Options.
const (
	DefaultRotateMessages = 100
	DefaultRotateAfter    = 7 * 24 * time.Hour
	DefaultRefresh        = 5 * time.Minute
	DefaultHeld           = 1000
)

// One-time keys of this device on the server.
const (
	keepOneTime = 50 // so many are made
	lowOneTime  = 25 // when fewer are left
)

// Options of encryption.
type Options struct {
	// Keys is the path of this device's key file, made where it is missing; ""
	// is in memory. The device's state file guards it from a second process.
	Keys string
	// Identity is the path of the file with the user's identity key, for
	// several devices of one machine; "" keeps it in Keys.
	Identity string
	// Passphrase seals both files, by age's scrypt recipient. Empty: they lie
	// open, and whoever can read them reads everything.
	Passphrase string
	// ResetIdentity publishes this device's identity in the place of another
	// one that the user has, whose devices are gone then.
	ResetIdentity bool
	// AcceptChanges goes on when a user's identity changes, after the event.
	AcceptChanges bool
	// AllowPlain returns messages that are not encrypted, with SuitePlain.
	AllowPlain bool

	// KeysOnly has Client.Receive take key shares alone and mark nothing, for who
	// links a device and shows no messages: all goes on waiting.
	KeysOnly bool

	// A chat's session is replaced after so many messages, so long a time, and
	// when a device was added or removed. 0: the defaults above.
	RotateMessages int
	RotateAfter    time.Duration
	// Refresh is how old what is known of a chat's devices may be when a
	// message is sent, where no notice came that some are gone. 0: DefaultRefresh.
	Refresh time.Duration
	// Held bounds the messages that wait for their key; of more, the oldest
	// fail. 0: DefaultHeld.
	Held int

	work int             // of scrypt; tests have less
	wrap func(Link) Link // tests have servers that lie
}

func (o Options) withDefaults() (Options, error) {
	o.RotateMessages = cmp.Or(o.RotateMessages, DefaultRotateMessages)
	o.RotateAfter = cmp.Or(o.RotateAfter, DefaultRotateAfter)
	o.Refresh = cmp.Or(o.Refresh, DefaultRefresh)
	o.Held = cmp.Or(o.Held, DefaultHeld)
	if o.RotateMessages < 1 || o.RotateMessages > maxIndex/2 || o.RotateAfter < 0 || o.Refresh < 0 || o.Held < 1 {
		return o, fmt.Errorf("e2ee options: RotateMessages is 1 to %d, the others are positive", maxIndex/2)
	}
	return o, nil
}

// Link is the way to the server that a Machine speaks over, which somebody else
// keeps up: package client, or the TypeScript SDK.
type Link interface {
	PutKeys(ctx context.Context, put packet.KeysPut) (left int, err error)
	Keys(ctx context.Context, users ...string) ([]packet.UserKeys, error)
	ClaimKeys(ctx context.Context, devices ...packet.DeviceRef) ([]packet.ClaimedKey, error)
	DropKeys(ctx context.Context, device string) error
	RevokeDevice(ctx context.Context, device string) error
	// Members returns a page of a group's members with names beyond one.
	Members(ctx context.Context, group, beyond string) (packet.GroupPage, error)
	// SendShare sends content of chat.SuiteKeyShare, which the server keeps for
	// ttl, 0 for ever. durable waits until the server has it durably.
	SendShare(ctx context.Context, to string, content []byte, ttl time.Duration) (durable func(context.Context) error, err error)
	// Session returns a channel that is closed when the session that there is
	// now ends, and nil when there is none.
	Session() <-chan struct{}
}

// Machine is the encryption of one device without its connection: what Client
// does with package client, and the TypeScript SDK with its own client.
// Its methods are safe for concurrent use, except that one goroutine at a time
// may call Next, Take and Handled.
type Machine struct {
	opt          Options
	user, device string
	link         Link
	vault        *vault
	identity     ed25519.PrivateKey

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	publish chan struct{} // the publisher should look
	work    chan func(context.Context)
	putting sync.Mutex // one publication at a time

	// mu guards what follows. It is taken within the link's own lock, so nobody
	// who holds it calls the link.
	mu        sync.Mutex
	olm       *olmMachine
	in        inboundSessions
	out       map[string]*outbound
	chats     map[string]chan struct{} // who sends to a chat holds its token
	groups    map[string]*roster
	peers     map[string]*peer
	changes   uint64       // of rosters and of users' devices: whom to encrypt for may be others
	notices   uint64       // that came in this run
	ready     []readyEvent // before what the link brings next
	held      []heldRow
	heldNext  uint64
	asked     map[string]bool // sessions that were asked for in this connection
	answered  map[string]int
	requests  []request     // that wait for one of this device's messages to come back
	first     chan struct{} // closed when this device's keys are published
	published bool
	failed    error  // why they cannot be
	offer     *offer // a code that this device shows
	joining   *joining
	handing   map[string]bool // devices that history is being handed to
	shown     string          // the held message that Next returned last
	wake      func()          // who waits for the link, and is to look at Next
}

// answersToOne bounds how often one device gets one session.
const answersToOne = 3

// answersKept bounds for how many sessions and devices that is remembered.
const answersKept = 4096

// workQueue bounds the answers and requests that wait to be sent; what is over
// it is left out, for who waits asks again.
const workQueue = 256

// readyEvents bounds what is told of identities and keys before the app looks.
const readyEvents = 1024

// OpenMachine opens the keys of a device, or makes them. keys is where they
// lie; nil: the file that the options name, or memory. Nothing is sent before
// Start.
func OpenMachine(user, device string, link Link, keys Storage, o Options) (*Machine, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Machine{
		opt: o, user: user, device: device, link: link, publish: make(chan struct{}, 1), work: make(chan func(context.Context), workQueue),
		out: map[string]*outbound{}, chats: map[string]chan struct{}{}, asked: map[string]bool{}, answered: map[string]int{}, first: make(chan struct{}),
		groups: map[string]*roster{}, peers: map[string]*peer{}, handing: map[string]bool{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, c.load(keys)
}

// Start begins to publish this device's keys, and to answer others.
func (c *Machine) Start() {
	c.running.Go(c.publisher)
	c.running.Go(c.worker)
	c.poke()
}

// load opens the keys and takes over what they hold.
func (c *Machine) load(keys Storage) (err error) {
	var v *vault
	if keys != nil {
		v, err = loadVault(keys)
	} else {
		v, err = openVault(c.opt.Keys, c.opt.Passphrase, c.opt.work)
	}
	if err != nil {
		return err
	}
	if c.identity, err = openIdentity(v, &c.opt); err == nil {
		c.olm, err = openOlm(v, c.user, c.device, c.identity)
	}
	if err == nil {
		c.in = inboundSessions{vault: v, cached: map[string]*inbound{}}
		c.vault = v
		err = c.loadHeld()
	}
	if err == nil {
		err = v.sync()
	}
	if err != nil {
		return errors.Join(err, v.close())
	}
	return nil
}

func (c *Machine) identityKey() []byte { return c.identity.Public().(ed25519.PublicKey) }

func (c *Machine) poke() {
	select {
	case c.publish <- struct{}{}:
	default:
	}
}

// publisher keeps this device's keys on the server.
func (c *Machine) publisher() {
	for {
		select {
		case <-c.publish:
		case <-c.ctx.Done():
			return
		}
		err := c.publishNow(c.ctx)
		if c.ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		if c.failed = err; err != nil {
			c.tell(problemOf(err))
		}
		if !c.published {
			c.published = true
			close(c.first)
		}
		c.mu.Unlock()
	}
}

// publishNow puts this device's keys, then more where few are left.
func (c *Machine) publishNow(ctx context.Context) error {
	c.putting.Lock()
	defer c.putting.Unlock()
	left, err := c.putOnce(ctx, c.opt.ResetIdentity)
	if err != nil || left >= lowOneTime {
		return err
	}
	c.mu.Lock()
	if left == 0 && c.vault.get("published") != nil { // the fallback key may have been used by many
		err = c.olm.account.GenFallbackKey()
	}
	if err == nil {
		err = c.olm.more(keepOneTime - left)
	}
	c.olm.keepAccount()
	c.mu.Unlock()
	if err == nil {
		err = c.vault.sync()
	}
	if err != nil {
		return err
	}
	_, err = c.putOnce(ctx, false)
	return err
}

func (c *Machine) putOnce(ctx context.Context, reset bool) (left int, err error) {
	c.mu.Lock()
	put, err := c.olm.put()
	c.mu.Unlock()
	put.Reset = reset
	if err == nil {
		err = c.vault.sync()
	}
	if err == nil {
		left, err = c.link.PutKeys(ctx, put)
	}
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(put.OneTime) > 0 {
		c.olm.published()
		c.vault.set("published", []byte{1})
	}
	return left, nil
}

// Published waits until this device's keys are on the server: from then on
// others can write to it.
func (c *Machine) Published(ctx context.Context) error {
	select {
	case <-c.first:
	case <-c.ctx.Done():
		return fmt.Errorf("e2ee: closed")
	case <-ctx.Done():
		return fmt.Errorf("e2ee: this device's keys are not published: %w", ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// worker sends answers and requests.
func (c *Machine) worker() {
	for {
		select {
		case f := <-c.work:
			f(c.ctx)
		case <-c.ctx.Done():
			return
		}
	}
}

// later leaves something to the worker, unless too much waits already: who waits
// for it asks again.
func (c *Machine) later(f func(context.Context)) bool {
	select {
	case c.work <- f:
		return true
	default:
		return false
	}
}

// Sync makes what was received durable: before the device marks it.
func (c *Machine) Sync() error { return c.vault.sync() }

// Stop ends what Start began. The link is not used any more when Close returns.
func (c *Machine) Stop() { c.cancel() }

// Stopped reports whether Stop or Close was called.
func (c *Machine) Stopped() bool { return c.ctx.Err() != nil }

// Close stops, and writes the keys.
func (c *Machine) Close() error {
	c.cancel()
	c.running.Wait()
	c.mu.Lock()
	for to, o := range c.out {
		if o.Reserved > o.index() {
			o.keep(c.vault, to, 0) // nothing is on its way that the vault does not have
		}
	}
	clear(c.out)
	c.mu.Unlock()
	return c.vault.close()
}

// tell puts an event before those of the client. c.mu is held.
func (c *Machine) tell(e Event) {
	if len(c.ready) < readyEvents {
		c.ready = append(c.ready, readyEvent{event: e})
		c.rouse()
	}
}

// IdentityChanged says that the server names another identity for a user than
// this device has known: they installed anew, or somebody stands in between.
// Nothing is sent to them until Accept, unless Options.AcceptChanges.
type IdentityChanged struct {
	OtherEvent
	User     chat.User
	Accepted bool
}

// BadKeys says that keys the server named for a user were not used, as they are
// weak or not signed as they have to be.
type BadKeys struct {
	OtherEvent
	User   chat.User
	Device chat.Device
	Err    error
}

// Failed is a message that cannot be shown, and why: Err is one of this
// package's. It has no content. Copy says that another device of this user sent
// it.
type Failed struct {
	OtherEvent
	Message chat.Message
	Copy    bool
	Err     error
}

// Typed is a message of another type than a body, such as a later version's.
type Typed struct {
	OtherEvent
	Message chat.Message
	Type    uint8
	Copy    bool
}
