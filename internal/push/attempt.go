package push

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// lookUp passes a notice of a user on to the lanes of their devices.
func (q *Queue) lookUp(ctx context.Context, n *notice, at snapshot) verdict {
	targets, err := q.targets(ctx, n.user)
	if err != nil {
		return verdict{err: err}
	}
	if len(targets) == 0 {
		return dropped(NoTarget)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range targets {
		switch l, known := q.lanes[t.Provider]; {
		case !known:
			q.drop(Unknown)
		case max(t.Pushed, q.devices.told(deviceKey{n.user, t.Device})) >= at.pos:
			q.drop(Pushed)
		default:
			q.put(key{n.user, t.Device, n.from}, l, at.pos, at.count, 0)
		}
	}
	return verdict{}
}

// targets returns where a user's devices are told. The log stands in for those
// that have registered nowhere, if there is one.
func (q *Queue) targets(ctx context.Context, user chat.User) ([]storage.PushTarget, error) {
	targets, err := q.store.PushTargets(ctx, user)
	if _, ok := q.o.Senders[LogProvider]; err != nil || !ok {
		return targets, err
	}
	devices, err := q.store.Devices(ctx, user)
	for _, d := range devices {
		if d.Revoked == 0 && !slices.ContainsFunc(targets, func(t storage.PushTarget) bool { return t.Device == d.Name }) {
			targets = append(targets, storage.PushTarget{Device: d.Name, Provider: LogProvider})
		}
	}
	return targets, err
}

// attempt tells a device, unless it knows or will know anyway.
func (q *Queue) attempt(ctx context.Context, provider string, s Sender, n *notice, at snapshot) verdict {
	if n.sent >= at.pos {
		return q.note(ctx, n, at.pos)
	}
	targets, err := q.targets(ctx, n.user)
	if err != nil {
		return verdict{err: err}
	}
	i := slices.IndexFunc(targets, func(t storage.PushTarget) bool { return t.Device == n.device && t.Provider == provider })
	if i < 0 {
		return dropped(NoTarget)
	}
	// What this process pushed since the look-up was of other chats; what goes
	// beyond that was pushed by another, which had this one too.
	if to := targets[i].Pushed; to >= at.pos && to > q.told(n) {
		return dropped(Pushed)
	}
	cursors, err := q.store.Cursors(ctx, n.user)
	if err != nil {
		return verdict{err: err}
	}
	if slices.ContainsFunc(cursors, func(c storage.Cursor) bool { return c.Device == n.device && c.Position >= at.pos }) {
		return dropped(Delivered)
	}
	if v, ok := q.mayTell(ctx, n, at); !ok {
		return v
	}
	err = s.Send(ctx, targets[i].Token, Notice{Chat: q.chatName(n), Count: at.count})
	return q.outcome(ctx, n, at, targets[i], err)
}

// told returns the furthest push of this process to a notice's device.
func (q *Queue) told(n *notice) chat.Position {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.devices.told(deviceKey{n.user, n.device})
}

// mayTell reports whether the device is away and its rate has a place.
func (q *Queue) mayTell(ctx context.Context, n *notice, at snapshot) (v verdict, ok bool) {
	now := time.Now()
	if q.o.Online(ctx, n.user, n.device) {
		// It takes its message, or its connection turns out to be dead.
		if n.online.IsZero() {
			n.online = now
		}
		if now.Sub(n.online) >= q.o.Settle {
			return dropped(Online), false
		}
		return verdict{wait: max(q.o.Settle/onlineLooks, time.Millisecond)}, false
	}
	n.online = time.Time{}
	if n.reserved {
		return v, true
	}
	q.mu.Lock()
	wait, ok := q.devices.reserve(deviceKey{n.user, n.device}, now, q.o.MaxAge-now.Sub(at.since))
	q.mu.Unlock()
	if !ok {
		return dropped(Limited), false
	}
	n.reserved = true
	return verdict{wait: wait}, wait == 0
}

// onlineLooks is how often a connected device is looked at in Options.Settle.
const onlineLooks = 8

// outcome judges what the provider said.
func (q *Queue) outcome(ctx context.Context, n *notice, at snapshot, t storage.PushTarget, err error) verdict {
	switch {
	case err == nil:
		q.Stats.Sent.Add(1)
		n.reserved = false
		if t.Token == "" {
			return verdict{} // the log: nothing to keep
		}
		n.sent = at.pos
		q.mu.Lock()
		q.devices.tell(deviceKey{n.user, n.device}, at.pos)
		q.mu.Unlock()
		return q.note(ctx, n, at.pos)
	case errors.Is(err, ErrTokenGone):
		if err := q.forget(ctx, n.user, t); err != nil {
			return verdict{err: err}
		}
		return dropped(TokenGone)
	case errors.Is(err, ErrRefused):
		q.faults.log(err)
		return dropped(Refused)
	}
	return verdict{err: err}
}

// note writes how far the device was told, so that nothing tells it again: no
// replay, no retry of the sender, no other process.
func (q *Queue) note(ctx context.Context, n *notice, pos chat.Position) verdict {
	if err := q.store.PutPushed(ctx, n.user, n.device, pos); err != nil {
		return verdict{err: err}
	}
	return verdict{}
}

// forget removes a token, unless the device has registered another one since.
func (q *Queue) forget(ctx context.Context, user chat.User, t storage.PushTarget) error {
	targets, err := q.store.PushTargets(ctx, user)
	if err != nil {
		return err
	}
	for _, now := range targets {
		if now.Device == t.Device && now.Provider == t.Provider && now.Token == t.Token {
			return q.store.PutPushTarget(ctx, user, storage.PushTarget{Device: t.Device})
		}
	}
	return nil
}

// chatName is the chat's name for one user: 128 bits of a keyed hash.
func (q *Queue) chatName(n *notice) string {
	id := chat.ChatOf(n.user, n.from)
	mac := hmac.New(sha256.New, q.o.Key)
	mac.Write([]byte("rookery push\x00" + n.user + "\x00"))
	mac.Write(id[:])
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func retryAfter(err error) time.Duration {
	if later, ok := errors.AsType[*Later](err); ok {
		return later.After
	}
	return 0
}

// faultLog writes at most one line in a while: a provider that is down fails
// every notice.
type faultLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	limit  *rate.Limiter
	silent int
}

const faultEvery = 10 * time.Second

func (f *faultLog) log(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.limit == nil {
		f.limit = rate.NewLimiter(rate.Every(faultEvery), 1)
	}
	if !f.limit.Allow() {
		f.silent++
		return
	}
	f.logger.Warn("a push failed", "err", err, "others", f.silent)
	f.silent = 0
}
