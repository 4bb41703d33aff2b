package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
)

// Directory knows the gateways of users. The answer has a line for each user,
// in their order; the slice it was asked with is lent.
type Directory interface {
	Where(ctx context.Context, users []chat.User) ([][]presence.Gateway, error)
	// Gateways are all that are alive.
	Gateways(ctx context.Context) ([]presence.Gateway, error)
}

// Peers sends hints to other gateways. Send does not block, and keeps nothing
// of the hint.
type Peers interface {
	Send(to presence.Gateway, h *Hint)
}

// RemoteOptions are the settings of a Remote.
type RemoteOptions struct {
	Own           string                                        // the id of this process's gateway; empty: it has none
	QueueBytes    int                                           // a partition's hints that wait for the directory; over it they are dropped; 0 is 1 MiB
	LookupTimeout time.Duration                                 // of one question to the directory; 0 is 2 s
	Logger        *slog.Logger                                  // nil is slog.Default
	Nowhere       func(user, with chat.User, pos chat.Position) // of a message to a user with no session anywhere, or who may have none; may be nil
	Stale         func(user chat.User, at presence.Gateway)     // this process was named, and the user is not here; may be nil
}

func (o *RemoteOptions) setDefaults() {
	if o.QueueBytes == 0 {
		o.QueueBytes = 1 << 20
	}
	if o.LookupTimeout == 0 {
		o.LookupTimeout = 2 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// RemoteStats counts what became of hints.
type RemoteStats struct {
	Sent         atomic.Uint64 // handed to a gateway, or to this process
	Nowhere      atomic.Uint64 // of users with no session anywhere
	DroppedQueue atomic.Uint64 // the partition's queue was full
	ToAll        atomic.Uint64 // the directory did not answer: handed to every gateway it had known
	DroppedWhere atomic.Uint64 // the directory did not answer, and never had
}

// Remote takes stored entries from their owners to the gateways of their
// users. Each partition has a queue and a router, so that hints of one user
// stay in order.
type Remote struct {
	Stats RemoteStats

	opt   RemoteOptions
	where Directory
	peers Peers
	local *Delivery // nil without Own

	known atomic.Pointer[[]presence.Gateway] // all, when the directory last answered

	routers []*router
	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup
}

// NewRemote starts a router a partition. local is this process's own delivery,
// nil when it holds no sessions.
func NewRemote(o RemoteOptions, partitions int, where Directory, peers Peers, local *Delivery) (*Remote, error) {
	o.setDefaults()
	if o.QueueBytes < 0 || o.LookupTimeout < 0 {
		return nil, fmt.Errorf("delivery: queue bytes %d and look-up timeout %v have to be positive", o.QueueBytes, o.LookupTimeout)
	}
	if (o.Own == "") != (local == nil) {
		return nil, fmt.Errorf("delivery: a process with sessions has a gateway's id and a local delivery, another has neither")
	}
	r := &Remote{opt: o, where: where, peers: peers, local: local}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.running.Go(r.know)
	for range partitions {
		rt := newRouter(r)
		r.routers = append(r.routers, rt)
		r.running.Go(rt.run)
	}
	return r, nil
}

// Deliver queues entries and outcomes of one partition. It does not block, and
// keeps nothing of its arguments.
func (r *Remote) Deliver(partition int, entries []chat.Entry, outcomes []chat.Outcome) {
	rt := r.routers[partition]
	rt.mu.Lock()
	for i := range entries {
		rt.add(func(p *parcel) { p.entry(&entries[i]) })
	}
	for i := range outcomes {
		rt.add(func(p *parcel) { p.outcome(&outcomes[i]) })
	}
	rt.mu.Unlock()
	select {
	case rt.wake <- struct{}{}:
	default:
	}
}

// knowEvery is how often the directory is asked for all gateways.
const knowEvery = 2 * time.Second

// know remembers who is alive, for when the directory is not.
func (r *Remote) know() {
	tick := time.NewTicker(knowEvery)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(r.ctx, r.opt.LookupTimeout)
		if all, err := r.where.Gateways(ctx); err == nil && len(all) > 0 {
			r.known.Store(&all)
		}
		cancel()
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close ends the routers; what waits is dropped.
func (r *Remote) Close() {
	r.end()
	r.running.Wait()
}

// parcel is hints whose bytes lie in one buffer.
type parcel struct {
	items []parcelItem
	buf   []byte
	once  once
}

// once is the newest message to a group in a parcel, which lies there once for
// all members who have an entry of it.
type once struct {
	place       chat.Position
	group, full span // full is never empty, but in the zero once
}

type parcelItem struct {
	kind                   chat.EntryKind
	pos, prev              chat.Position
	node                   chat.Node
	user, from, full, bare span
}

// parcelBytesKept bounds the buffer an empty parcel keeps.
const parcelBytesKept = 256 << 10

func (p *parcel) reset() {
	if cap(p.buf) > parcelBytesKept {
		*p = parcel{}
	}
	p.cut(0, 0)
}

// cut takes off what came after a number of items and bytes.
func (p *parcel) cut(items, bytes int) {
	p.items, p.buf = p.items[:items], p.buf[:bytes]
	if int(p.once.full.to) > bytes {
		p.once = once{}
	}
}

func (p *parcel) entry(e *chat.Entry) {
	it := parcelItem{kind: e.Kind, pos: e.Pos, prev: e.Prev, node: e.Message.ID.Node()}
	p.buf, it.user = put(p.buf, view.Bytes(e.User))
	if e.Kind == chat.EntryMessage && e.Message.To.IsGroup() {
		if it.full = p.toGroup(e); tells(e) {
			it.from = p.once.group
		}
		p.items = append(p.items, it)
		return
	}
	if tells(e) {
		p.buf, it.from = put(p.buf, view.Bytes(e.With()))
	}
	from := uint32(len(p.buf))
	p.buf = AppendEntry(p.buf, e, false)
	it.full = span{from, uint32(len(p.buf))}
	if e.Kind == chat.EntryCopy {
		p.buf = AppendEntry(p.buf, e, true)
		it.bare = span{it.full.to, uint32(len(p.buf))}
	}
	p.items = append(p.items, it)
}

// toGroup returns where the packet of a message to a group is.
func (p *parcel) toGroup(e *chat.Entry) span {
	m := &e.Message
	if p.once.full == (span{}) || p.once.place != m.Place || view.String[chat.User](p.once.group.of(p.buf)) != m.To {
		p.once.place = m.Place
		p.buf, p.once.group = put(p.buf, view.Bytes(m.To))
		from := uint32(len(p.buf))
		p.buf = AppendEntry(p.buf, e, false)
		p.once.full = span{from, uint32(len(p.buf))}
	}
	return p.once.full
}

func (p *parcel) outcome(o *chat.Outcome) {
	it := parcelItem{node: o.ID.Node()}
	p.buf, it.user = put(p.buf, view.Bytes(o.User))
	from := uint32(len(p.buf))
	p.buf = AppendOutcome(p.buf, o)
	it.full = span{from, uint32(len(p.buf))}
	p.items = append(p.items, it)
}

func (p *parcel) hint(i int) Hint {
	it := &p.items[i]
	return Hint{
		User: it.user.of(p.buf), Kind: it.kind, Pos: it.pos, Prev: it.prev, Node: it.node,
		Packet: it.full.of(p.buf), Bare: it.bare.of(p.buf),
	}
}
