package e2ee

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
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

	// A chat's session is replaced after so many messages, so long a time, and
	// when a device was added or removed. 0: the defaults above.
	RotateMessages int
	RotateAfter    time.Duration
	// Refresh is how old what is known of a chat's devices may be when a
	// message is sent. 0: DefaultRefresh.
	Refresh time.Duration
	// Held bounds the messages that wait for their key; of more, the oldest
	// fail. 0: DefaultHeld.
	Held int

	work int // of scrypt; tests have less
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

// Client is client.Client with encryption. Methods that are not named here are
// its. They are safe for concurrent use, except that one goroutine at a time may
// call Receive.
type Client struct {
	*client.Client
	opt          Options
	user, device string
	vault        *vault
	identity     ed25519.PrivateKey

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	publish chan struct{} // the publisher should look
	work    chan func(context.Context)

	// mu guards what follows. It is taken within the client's own lock, so
	// nobody who holds it calls the client.
	mu        sync.Mutex
	olm       *olmMachine
	in        inboundSessions
	out       map[string]*outbound
	chats     map[string]chan struct{} // who sends to a chat holds its token
	ready     []readyEvent             // before what the client receives next
	held      []heldRow
	heldNext  uint64
	asked     map[string]bool // sessions that were asked for in this connection
	answered  map[string]int
	first     chan struct{} // closed when this device's keys are published
	published bool
	failed    error // why they cannot be

	// The receiver's.
	again client.Event // what Receive could not finish
	shown string       // the held message that Receive returned last
}

// answersToOne bounds how often one device gets one session.
const answersToOne = 3

// workQueue bounds the answers and requests that wait to be sent; what is over
// it is left out, for who waits asks again.
const workQueue = 256

// Open makes a client and returns at once, as client.Open.
func Open(ctx context.Context, co client.Options, o Options) (*Client, error) {
	return open(co, o, func(co client.Options) (*client.Client, error) { return client.Open(ctx, co) })
}

// Dial is Open, and waits for the first session.
func Dial(ctx context.Context, co client.Options, o Options) (*Client, error) {
	return open(co, o, func(co client.Options) (*client.Client, error) { return client.Dial(ctx, co) })
}

func open(co client.Options, o Options, connect func(client.Options) (*client.Client, error)) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	// The state file comes first: its lock keeps other processes from the keys.
	c := &Client{
		opt: o, user: co.User, device: co.Device, publish: make(chan struct{}, 1), work: make(chan func(context.Context), workQueue),
		out: map[string]*outbound{}, chats: map[string]chan struct{}{}, asked: map[string]bool{}, answered: map[string]int{}, first: make(chan struct{}),
	}
	opened := make(chan struct{}) // the client may mark only what the vault can keep
	co.BeforeMark = func() error {
		<-opened
		if c.vault == nil {
			return nil
		}
		return c.vault.sync()
	}
	if c.Client, err = connect(co); err != nil {
		close(opened)
		return nil, err
	}
	err = c.load()
	close(opened)
	if err != nil {
		return nil, errors.Join(err, c.Client.Close(context.Background()))
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.running.Go(c.publisher)
	c.running.Go(c.worker)
	c.poke()
	return c, nil
}

// load opens the files and takes over what they hold.
func (c *Client) load() (err error) {
	v, err := openVault(c.opt.Keys, c.opt.Passphrase, c.opt.work)
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
		c.vault = nil
		return errors.Join(err, v.close())
	}
	return nil
}

const identityMagic = "RkI1"

// openIdentity reads the user's identity key, or makes it: of two that make it
// at the same time one wins, and both have that.
func openIdentity(v *vault, o *Options) (ed25519.PrivateKey, error) {
	if o.Identity == "" {
		seed := v.get("identity")
		if seed == nil {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return nil, err
			}
			v.set("identity", key.Seed())
			return key, nil
		}
		return ed25519.NewKeyFromSeed(seed), nil
	}
	b, err := os.ReadFile(o.Identity)
	if errors.Is(err, os.ErrNotExist) {
		if err = makeIdentity(o); err == nil {
			b, err = os.ReadFile(o.Identity)
		}
	}
	var seed []byte
	if err == nil {
		seed, _, err = openHead(b, identityMagic, o.Passphrase)
	}
	if err == nil && len(seed) != ed25519.SeedSize {
		err = ErrDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("identity file %s: %w", o.Identity, err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func makeIdentity(o *Options) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	b, err := sealHead(identityMagic, key.Seed(), o.Passphrase, o.work)
	if err != nil {
		return err
	}
	dir := filepath.Dir(o.Identity)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".identity-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Link(f.Name(), o.Identity); errors.Is(err, os.ErrExist) {
		return nil // somebody else's is there now
	}
	return errors.Join(err, syncFolder(dir))
}

func (c *Client) identityKey() []byte { return c.identity.Public().(ed25519.PublicKey) }

func (c *Client) poke() {
	select {
	case c.publish <- struct{}{}:
	default:
	}
}

// publisher keeps this device's keys on the server.
func (c *Client) publisher() {
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
			c.tell(client.Problem{Err: err})
		}
		if !c.published {
			c.published = true
			close(c.first)
		}
		c.mu.Unlock()
	}
}

// publishNow puts this device's keys, then more where few are left.
func (c *Client) publishNow(ctx context.Context) error {
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

func (c *Client) putOnce(ctx context.Context, reset bool) (left int, err error) {
	c.mu.Lock()
	put, err := c.olm.put()
	c.mu.Unlock()
	put.Reset = reset
	if err == nil {
		err = c.vault.sync()
	}
	if err == nil {
		left, err = c.Client.PutKeys(ctx, put)
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
func (c *Client) Published(ctx context.Context) error {
	select {
	case <-c.first:
	case <-c.Client.Done():
		return c.Client.Err()
	case <-ctx.Done():
		return fmt.Errorf("e2ee: this device's keys are not published: %w", ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// worker sends answers and requests.
func (c *Client) worker() {
	for {
		select {
		case f := <-c.work:
			f(c.ctx)
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Client) later(f func(context.Context)) {
	select {
	case c.work <- f:
	default: // who waits for it asks again
	}
}

// Close ends the client as client.Close does, and writes the keys.
func (c *Client) Close(ctx context.Context) error {
	c.cancel()
	err := c.Client.Close(ctx)
	c.running.Wait()
	c.mu.Lock()
	for to, o := range c.out {
		if o.Reserved > o.index() {
			o.keep(c.vault, to, 0) // nothing is on its way that the vault does not have
		}
	}
	clear(c.out)
	c.mu.Unlock()
	return errors.Join(err, c.vault.close())
}

// tell puts an event before those of the client. c.mu is held.
func (c *Client) tell(e client.Event) {
	if len(c.ready) < client.DefaultEventQueue {
		c.ready = append(c.ready, readyEvent{event: e})
	}
}

// IdentityChanged says that the server names another identity for a user than
// this device has known: they installed anew, or somebody stands in between.
// Nothing is sent to them until Accept, unless Options.AcceptChanges.
type IdentityChanged struct {
	client.OtherEvent
	User     chat.User
	Accepted bool
}

// BadKeys says that keys the server named for a user were not used, as they are
// weak or not signed as they have to be.
type BadKeys struct {
	client.OtherEvent
	User   chat.User
	Device chat.Device
	Err    error
}

// Failed is a message that cannot be shown, and why: Err is one of this
// package's. It has no content. Copy says that another device of this user sent
// it.
type Failed struct {
	client.OtherEvent
	Message chat.Message
	Copy    bool
	Err     error
}

// Typed is a message of another type than a body, such as a later version's.
type Typed struct {
	client.OtherEvent
	Message chat.Message
	Type    uint8
	Copy    bool
}
