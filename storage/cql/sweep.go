package cql

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// swept is how far Sweep has come, in ms since 1970: what a row has to be past
// to be shown. The rows themselves go by their time to live.
type swept struct {
	expired  atomic.Int64 // messages that had expired by then are gone
	inbox    atomic.Int64 // inbox rows from before are gone
	messages atomic.Int64 // messages from before are gone
}

// raise never lowers.
func raise(v *atomic.Int64, to int64) {
	for old := v.Load(); old < to; old = v.Load() {
		if v.CompareAndSwap(old, to) {
			return
		}
	}
}

// Sweep implements storage.Store. It writes what readers are to leave out; the
// deleting is done by the rows' times to live. Other processes see it within
// Options.SweepRefresh.
func (s *Store) Sweep(ctx context.Context, now, inboxBefore, messagesBefore int64) (more bool, err error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	for _, m := range []struct {
		v         *atomic.Int64
		statement string
		to        int64
	}{
		{&s.swept.expired, putSweptExpired, now}, {&s.swept.inbox, putSweptInbox, inboxBefore},
		{&s.swept.messages, putSweptMessages, messagesBefore},
	} {
		if m.to <= m.v.Load() {
			continue
		}
		if err := s.write(ctx, m.statement, m.to, m.to); err != nil {
			return false, failed("sweep", err)
		}
		raise(m.v, m.to)
	}
	return false, nil
}

// refreshSwept reads what other processes have swept.
func (s *Store) refreshSwept(ctx context.Context) error {
	var expired, inbox, messages int64
	err := s.query(ctx, getSwept, func(row scanner) error { return row(&expired, &inbox, &messages) })
	if err != nil {
		return failed("read sweeps", err)
	}
	raise(&s.swept.expired, expired)
	raise(&s.swept.inbox, inbox)
	raise(&s.swept.messages, messages)
	return nil
}

func (s *Store) watchSwept(ctx context.Context) {
	every := time.NewTicker(s.opt.SweepRefresh)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			if err := s.refreshSwept(ctx); err != nil && ctx.Err() == nil {
				s.opt.Logger.Warn("store: what was swept was not read, trying again", "err", err)
			}
		}
	}
}

// stubMs is how long a message's id is kept, by the time in it, whatever became
// of the message. A send is refused when its id is 30 days old; the day more is
// for clocks.
const stubMs = 31 * dayMs

func stubUntil(id chat.ID) int64 { return id.UnixMilli() + stubMs }

func expired(expires, now int64) bool { return 0 < expires && expires <= now }

// gone reports whether a message has been swept.
func (s *Store) gone(m *chat.Message) bool {
	kept := s.swept.messages.Load()
	return expired(m.Expires, s.swept.expired.Load()) || m.At < kept && m.ID.UnixMilli() < kept
}

// hidden reports whether reads at now leave a message out.
func (s *Store) hidden(m *chat.Message, now int64) bool {
	return expired(m.Expires, now) || s.gone(m)
}

// Rows live somewhat longer than they are shown, so that clocks decide nothing.
const graceMs = 60 * 60 * 1000

// maxLifeS is the longest time to live there is, 20 years, and a little less.
const maxLifeS = 20*365*24*60*60 - 1

// life is the time to live, in seconds, of a row that ends at a time. What has
// ended already, as in a replay of long ago, ends at once.
func (s *Store) life(endMs int64) int32 {
	left := (endMs - s.opt.Now() + graceMs + 999) / 1000
	return int32(min(max(left, 1), maxLifeS))
}
