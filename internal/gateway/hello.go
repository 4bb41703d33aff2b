package gateway

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// joined is what the hello job found out.
type joined struct {
	node    chat.Node
	resume  chat.Position
	cursor  chat.Position // what the device has marked before
	waiting int
	copies  bool
	skipped bool
	first   bool
	number  uint64 // in the directory; 0 without other gateways
	page    *page  // the first one of catch-up
	err     error
}

// onHello takes the first packet and queues the job that answers it.
func (g *Gateway) onHello(s *session, p packet.Raw) {
	var m packet.Hello
	if err := m.Decode(p); err != nil {
		s.bye(chat.CodeBadPacket, 0, err.Error())
		return
	}
	if m.Version != packet.Version {
		s.bye(chat.CodeBadVersion, 0, "this server speaks version 1")
		return
	}
	device, err := chat.NewDevice(m.Device)
	if err != nil {
		s.bye(chat.CodeBadName, 0, err.Error())
		return
	}
	if s.device() != "" && s.device() != device {
		s.bye(chat.CodeUnauthorized, 0, "the token is bound to another device")
		return
	}
	s.named(s.user(), device)
	s.state = joining
	s.node = g.owners.Node(s.user(), device)
	ref, user, node, issued, lease := s.ref(), s.user(), s.node, int64(s.issuedAt), s.lease()
	var number uint64
	if g.opt.Elsewhere != nil {
		number = uint64(time.Now().UnixMicro())
		s.number = number
	}
	ok := g.jobs.try(func() {
		if !lease.ended() {
			g.join(ref, user, device, m.Seq, issued, m.Resume, node, number, lease)
		}
	})
	if !ok {
		s.bye(chat.CodeBusy, jitterMs(g.opt.DrainJitter), "too many sessions are starting")
	}
}

// join is the hello job: it knows the device, registers the session, and only
// then reads where its chain stands (law 6: register, then read, then splice).
func (g *Gateway) join(ref presence.Ref, user chat.User, device chat.Device, seq uint16, issued, resume int64, node chat.Node, number uint64, lease lease) {
	ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
	defer cancel()
	j := &joined{node: node, number: number}
	answer := func() {
		g.postAlways(ref, func(s *session) { g.welcome(s, user, ref, j) })
	}
	dev, err := g.device(ctx, user, device, seq, issued)
	if lease.ended() {
		return // nothing is registered yet
	}
	if err != nil {
		j.err = err
		answer()
		return
	}
	old, replaced, first := g.presence.Register(user, node, ref)
	j.first = first && g.opt.Elsewhere == nil // the directory announces
	if replaced {
		g.Stats.Replaced.Add(1)
		g.post(old, func(s *session) {
			s.bye(chat.CodeReplaced, 0, "a newer session of this device took over")
		})
	}
	if g.opt.Elsewhere != nil {
		err = g.enter(ctx, presence.Session{User: user, Node: node, Number: j.number})
	}
	if err == nil {
		j.cursor, j.copies, err = g.registered(ctx, user, device)
	}
	var applied chat.Position
	if err == nil && !lease.ended() {
		applied, err = g.place(ctx, j, user, dev, resume)
	}
	if err == nil && j.copies && j.cursor == 0 && g.opt.Elsewhere != nil && !lease.ended() {
		err = g.siblingsElsewhere(ctx, user)
	}
	if err == nil && !lease.ended() {
		err = g.firstPage(ctx, j, user, applied)
	}
	j.err = err
	if j.err != nil || !j.copies {
		answer()
		return
	}
	g.tellSiblings(ref, user, answer)
}

// registered returns a device's cursor, and whether the user has others. It is
// asked when the device is written and registered: of two that come at the same
// time, the one that registers later finds both rows, and the other in presence.
// For the same reason it finds that this one was revoked meanwhile, or is found
// by who revokes it.
func (g *Gateway) registered(ctx context.Context, user chat.User, device chat.Device) (cursor chat.Position, others bool, err error) {
	known, err := g.store.Devices(ctx, user)
	n := 0
	for _, d := range known {
		if d.Name == device && d.Revoked > 0 {
			return 0, false, errRevoked
		}
		if d.Name == device {
			cursor = d.Cursor
		}
		if d.Revoked == 0 {
			n++
		}
	}
	return cursor, n > 1, err
}

// device returns the device, which it writes when it is new, or when its clock
// sequence changed.
func (g *Gateway) device(ctx context.Context, user chat.User, name chat.Device, seq uint16, issued int64) (storage.Device, error) {
	known, err := g.store.Devices(ctx, user)
	if err != nil {
		return storage.Device{}, err
	}
	if err := admit(known, name, issued); err != nil {
		return storage.Device{}, err
	}
	present := 0
	var found *storage.Device
	for i, d := range known {
		if d.Revoked == 0 {
			present++
		}
		if d.Name == name {
			found = &known[i]
		}
	}
	switch {
	case found != nil && found.Seq == seq:
		return *found, nil
	case found != nil:
		// Another installation under this name, or a clone of it.
		g.Stats.DeviceChanged.Add(1)
		found.Seq = seq
		return *found, g.store.PutDevice(ctx, user, *found)
	}
	// Devices that come at the same time may pass the bounds by a few.
	if present >= g.opt.Devices {
		return storage.Device{}, chat.Errorf(chat.CodeTooManyDevices, "the user has %d devices already: use the name of one, or revoke one", present)
	}
	if len(known) >= g.opt.Devices*devicesEver {
		return storage.Device{}, chat.Errorf(chat.CodeTooManyDevices, "the user has had %d devices, which are not forgotten when they are revoked: use the name of one", len(known))
	}
	d := storage.Device{Name: name, Seq: seq, Created: chat.MillisNow()}
	if len(known) > 0 { // it gets what none of them has persisted
		if d.Start, err = g.store.Delivered(ctx, user); err != nil {
			return d, err
		}
	}
	return d, g.store.PutDevice(ctx, user, d)
}

// place finds where the session's chain begins, and how far it is applied.
func (g *Gateway) place(ctx context.Context, j *joined, user chat.User, dev storage.Device, resume int64) (applied chat.Position, err error) {
	applied, err = g.owners.Applied(ctx, user)
	if err != nil {
		return 0, err
	}
	switch {
	case resume >= 0:
		j.resume = chat.Position(resume)
		end := g.end(user)
		if j.resume.Epoch() > end.Epoch() && g.opt.Elsewhere != nil {
			return 0, fmt.Errorf("the client resumes at %v, of an epoch that is not known here yet", j.resume)
		}
		if j.resume > max(applied, end) {
			return 0, chat.Errorf(chat.CodeBadPosition, "the log ends before %v", j.resume)
		}
	case resume == packet.ResumeNow:
		j.resume = applied
		if j.skipped, err = g.skips(ctx, user, applied); err != nil {
			return 0, err
		}
	default:
		j.resume = max(dev.Start, j.cursor)
	}
	return applied, nil
}

// firstPage reads what catch-up begins with, which mostly is all that waits.
func (g *Gateway) firstPage(ctx context.Context, j *joined, user chat.User, applied chat.Position) error {
	p := pages.Get().(*page)
	p.user, p.node = user, j.node
	p.after, p.receiptsFrom, p.limit = j.resume, j.resume, min(pageEntries, g.opt.Window)
	g.readUpTo(ctx, p, applied)
	if j.page = p; p.done || p.err != nil {
		j.waiting = min(p.count, g.opt.Waiting)
		return p.err
	}
	var err error
	j.waiting, err = g.store.Waiting(ctx, user, j.resume, applied, g.opt.Waiting)
	return err
}

// end is where the user's partition ends.
func (g *Gateway) end(user chat.User) chat.Position {
	r := g.route.Load()
	return r.Log.End(r.Partition(view.Bytes(user)))
}

// skips reports whether who begins at a position passes over entries that no
// device has persisted: a mark above them would tell their senders otherwise.
func (g *Gateway) skips(ctx context.Context, user chat.User, at chat.Position) (bool, error) {
	if at == 0 {
		return false, nil
	}
	delivered, err := g.store.Delivered(ctx, user)
	if err != nil {
		return false, err
	}
	n, err := g.store.Waiting(ctx, user, delivered, at, 1)
	return n > 0, err
}

// tellSiblings makes the user's other sessions here send copies from now on,
// and calls then when all have been told.
func (g *Gateway) tellSiblings(ref presence.Ref, user chat.User, then func()) {
	g.tellSessions(user, func(s *session) {
		if s.ref() != ref {
			s.copies = true
		}
	}, then)
}

// tellSessions calls f with each session of a user here, on its loop, and then
// when all have been told.
func (g *Gateway) tellSessions(user chat.User, f func(s *session), then func()) {
	refs := g.presence.Lookup(view.Bytes(user), nil)
	var left atomic.Int32
	left.Store(int32(len(refs)))
	told := func() {
		if left.Add(-1) == 0 {
			then()
		}
	}
	if len(refs) == 0 {
		then()
		return
	}
	for _, ref := range refs {
		if !g.postAlways(ref, func(s *session) {
			if s != nil && s.user() == user {
				f(s)
			}
			told()
		}) {
			told()
		}
	}
}

// welcome answers hello on the loop and starts catch-up. s is nil when the
// connection ended meanwhile: what the job registered has to go too.
func (g *Gateway) welcome(s *session, user chat.User, ref presence.Ref, j *joined) {
	if s == nil || s.state != joining || j.err != nil {
		g.presence.Unregister(user, ref)
		if j.number > 0 {
			g.unregisterSoon(presence.Session{User: user, Node: j.node, Number: j.number}, 0)
		}
	}
	if s == nil || s.state != joining {
		return
	}
	switch c := chat.CodeOf(j.err); c {
	case chat.CodeBadPosition, chat.CodeTooManyDevices, chat.CodeRevoked, chat.CodeUnauthorized:
		s.bye(c, 0, j.err.Error())
		return
	}
	if j.err != nil {
		g.opt.Logger.Error("hello failed", "err", j.err)
		s.bye(chat.CodeUnavailable, unavailableRetry.Milliseconds(), "the store does not answer")
		return
	}
	s.joined = true
	s.node, s.copies = j.node, s.copies || j.copies
	s.cur, s.receiptsFrom = j.resume, j.resume
	s.skipped = j.skipped
	s.marked, s.markSent = j.cursor, j.cursor // a resume is no mark: the client may still owe one
	g.leavePending(s)
	g.Stats.Sessions.Add(1)
	s.write(&welcome{g.welcomePacket(s, j), g.told})
	if j.first {
		g.announce(s.user(), true, 0)
	}
	s.state = catching
	s.arm()
	g.deliverPage(s, j.page)
}

func (g *Gateway) welcomePacket(s *session, j *joined) packet.Welcome {
	return packet.Welcome{
		Version: packet.Version, Now: s.st().loop.NowMs(), Node: j.node, User: s.user().Name(),
		Resume: j.resume, Waiting: uint64(j.waiting), Heartbeat: uint64(g.opt.Heartbeat.Milliseconds()), Expires: s.expiresMs(),
	}
}

// welcome is the packet with limits that were encoded once.
type welcome struct {
	packet.Welcome
	limits []byte
}

func (w *welcome) AppendTo(dst []byte) []byte { return w.AppendWith(dst, w.limits) }

// limitsTold are the limits that every welcome tells.
func (o *Options) limitsTold() map[string]uint64 {
	limits := map[string]uint64{
		packet.LimitMessage: uint64(o.MessageBytes), packet.LimitContent: uint64(o.ContentBytes), packet.LimitMedia: uint64(o.MediaBytes),
		packet.LimitInflight: uint64(o.Inflight), packet.LimitWindow: uint64(o.Window), packet.LimitWindowBytes: uint64(o.WindowBytes),
		packet.LimitRate: uint64(o.Rate), packet.LimitBurst: uint64(o.RateBurst), packet.LimitRateBytes: uint64(o.RateBytes),
		packet.LimitHistory: uint64(o.HistoryRows), packet.LimitChats: uint64(o.ChatRows), packet.LimitWatches: uint64(o.Watches),
		packet.LimitRequests: uint64(o.Requests), packet.LimitWaiting: uint64(o.Waiting), packet.LimitTTL: uint64(o.MaxTTL / time.Second),
		packet.LimitFuture: uint64(o.FutureLimit / time.Second), packet.LimitRetryAge: uint64(o.RetryAge / time.Second),
		packet.LimitDevices: uint64(o.Devices),
	}
	o.tellKeyLimits(limits)
	o.tellGroupLimits(limits)
	if o.CheckPush != nil {
		limits[packet.LimitPush] = pushTokenBytes
	}
	return limits
}

// leave takes a session out of presence and counts. It may be called twice.
func (g *Gateway) leave(s *session) {
	if s.rare != nil {
		for user := range s.rare.watches {
			g.unwatch(user, s.ref())
		}
		s.rare.watches = nil
	}
	if !s.joined {
		return
	}
	s.joined = false
	g.Stats.Sessions.Add(-1)
	last := g.presence.Unregister(s.user(), s.ref())
	user, now := s.user(), s.st().loop.NowMs()
	if g.opt.Elsewhere != nil {
		g.unregisterSoon(s.known(), now)
		return
	}
	if !last {
		return
	}
	g.announce(user, false, now)
	g.jobs.try(func() {
		ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
		defer cancel()
		g.putLastSeen(ctx, user, now)
	})
}

func (g *Gateway) putLastSeen(ctx context.Context, user chat.User, at int64) {
	if err := g.store.PutLastSeen(ctx, user, at); err != nil {
		g.opt.Logger.Warn("last seen not written", "err", err)
	}
}
