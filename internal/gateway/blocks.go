package gateway

import (
	"context"
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// Whom a user has blocked is like a group of the user's own name: its changes
// are messages to oneself, which the user's owner judges, and the store has it.
// Here is what the two are not shown of each other; what is sent while somebody
// is blocked the owner leaves out of the chain.

// checkBlocks judges a change of whom the session's user has blocked by its
// bytes.
func (g *Gateway) checkBlocks(s *session, c *chat.Change) refusal {
	switch {
	case g.opt.Blocks == 0 || c.Verb != chat.GroupAdd && c.Verb != chat.GroupRemove:
		return refusal{chat.CodeBadChange, 0, "a change goes to a group, or to oneself to block somebody"}
	case len(c.Users) > g.opt.Blocks:
		return refusal{chat.CodeTooMany, 0, "the change names more users than may be blocked"}
	}
	return refusal{}
}

// ownName reports whether a name of the wire is the session's user's.
func (s *session) ownName(name []byte) bool { return view.String[string](name) == s.user().Name() }

// blocks returns since when a user has blocked a peer; nothing where never.
func (g *Gateway) blocks(ctx context.Context, user, peer chat.User) (storage.Member, error) {
	if g.opt.Blocks == 0 || user == peer || peer.IsGroup() {
		return storage.Member{}, nil
	}
	return g.store.Member(ctx, user, peer)
}

// isBlocked reports whether a user has blocked a peer now.
func (g *Gateway) isBlocked(ctx context.Context, user, peer chat.User) (bool, error) {
	m, err := g.blocks(ctx, user, peer)
	return lasts(&m), err
}

// lasts reports whether the newest span has no end.
func lasts(m *storage.Member) bool { return len(m.Spans) > 0 && m.Spans[len(m.Spans)-1].To == 0 }

// unseen reports whether a message was sent to a user by who was blocked, or is
// a change of whom the user has blocked.
func unseen(m *chat.Message, user chat.User, blocks *storage.Member) bool {
	if m.From == user {
		return m.To == user && m.Suite == chat.SuiteGroup
	}
	_, is := blocks.At(m.Place)
	return is
}

// blocked appends to dst whom a user has blocked now, or of old too.
func (g *Gateway) blocked(ctx context.Context, user chat.User, old bool) (all []storage.Member, err error) {
	if g.opt.Blocks == 0 {
		return nil, nil
	}
	for beyond := chat.User(""); ; {
		page, err := g.store.Members(ctx, user, beyond, memberRows, nil)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if old || lasts(&page[i]) {
				all = append(all, page[i])
			}
		}
		if len(page) < memberRows {
			return all, nil
		}
		beyond = page[len(page)-1].User
	}
}

// blocksPage answers with whom the session's user has blocked, as a page of
// members of the group that the user's own name stands for.
func (g *Gateway) blocksPage(s *session, m packet.GroupGet, beyond chat.User) error {
	user, limit := s.user(), rows(m.Limit, memberRows)
	return g.askOr(s, m.Req, func(ctx context.Context) (encoder, error) {
		all, err := g.blocked(ctx, user, false)
		if err != nil {
			return nil, err
		}
		page := &packet.GroupPage{Req: m.Req, Group: user.Name(), Members: []packet.MemberRow{}}
		for i := range all {
			if all[i].User <= beyond {
				continue
			}
			if page.More = len(page.Members) == limit; page.More {
				break
			}
			since := all[i].Spans[len(all[i].Spans)-1].From
			page.Members = append(page.Members, packet.MemberRow{User: all[i].User.Name(), Since: since})
		}
		return page, nil
	})
}

// seenHistory is a page of a chat with a user without what is unseen. Where there is
// much of that it goes on, a bounded number of pages.
func (g *Gateway) seenHistory(ctx context.Context, user, peer chat.User, before chat.ID, limit int) (list []chat.Message, more bool, next chat.ID, err error) {
	c := chat.DirectChat(user, peer)
	for n := 0; ; n++ {
		page, err := g.store.History(ctx, c, before, limit+1, chat.MillisNow(), nil)
		if err != nil {
			return nil, false, chat.ID{}, err
		}
		more = len(page) > limit
		page = page[:min(len(page), limit)]
		// After the rows: a block that lies before one of them is stored by now.
		m, err := g.blocks(ctx, user, peer)
		if err != nil {
			return nil, false, chat.ID{}, err
		}
		if len(m.Spans) == 0 && user != peer {
			return page, more, chat.ID{}, nil
		}
		for i := range page {
			next = page[i].ID
			if !unseen(&page[i], user, &m) {
				list = append(list, page[i])
			}
		}
		if len(list) > 0 || !more || n == historyScan {
			if !more {
				next = chat.ID{}
			}
			return list, more, next, nil
		}
		before = next
	}
}

// newestSeen is the newest message of a chat that its user is to see; false:
// there is none near the end.
func (g *Gateway) newestSeen(ctx context.Context, user chat.User, c *storage.ChatSummary, blocks *storage.Member) (bool, error) {
	if !unseen(&c.Last, user, blocks) {
		return true, nil
	}
	list, _, _, err := g.seenHistory(ctx, user, c.Peer, c.Last.ID, 1)
	if err != nil || len(list) == 0 {
		return false, err
	}
	c.Last = list[0]
	return true, nil
}

// announcements are what watchers are to be told. Each user's are told one after
// the other, as who may hear of them is asked of the store.
type announcements struct {
	mu sync.Mutex
	of map[chat.User]*announcement
}

type announcement struct {
	online bool
	seen   int64
	again  bool // it has changed since the store was asked
}

// announce tells the watchers of a user that it came or went, but for those the
// user has blocked.
func (g *Gateway) announce(user chat.User, online bool, seen int64) {
	if g.opt.Blocks == 0 {
		g.tellWatchers(user, online, seen, nil)
		return
	}
	if len(g.presence.Watchers(user, nil)) == 0 {
		return
	}
	a := &g.announcements
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.of[user]; now != nil {
		now.online, now.seen, now.again = online, seen, true
		return
	}
	if a.of == nil {
		a.of = map[chat.User]*announcement{}
	}
	if g.jobs.try(func() { g.announceNow(user) }) { // else nobody hears: that is better than the wrong ones
		a.of[user] = &announcement{online: online, seen: seen}
	}
}

func (g *Gateway) announceNow(user chat.User) {
	a := &g.announcements
	for {
		ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
		hidden, err := g.blocked(ctx, user, false)
		cancel()
		a.mu.Lock()
		now := a.of[user]
		if now.again {
			now.again = false
			a.mu.Unlock()
			continue
		}
		delete(a.of, user)
		if err == nil {
			g.tellWatchers(user, now.online, now.seen, hidden) // with the lock: what comes later is told later
		}
		a.mu.Unlock()
		return
	}
}

// hide tells a session that a user is as one who was never seen, and ends its
// watch: when the user comes and goes is not told again.
func (g *Gateway) hide(s *session, user chat.User) {
	delete(s.extra().watches, user)
	g.unwatch(user, s.ref())
	s.write(&packet.Presence{Peer: user.Name()})
}

func (g *Gateway) tellWatchers(user chat.User, online bool, seen int64, hidden []storage.Member) {
	for _, ref := range g.presence.Watchers(user, nil) {
		g.post(ref, func(s *session) {
			if s.rare == nil || s.state >= closing {
				return
			}
			if _, ok := s.rare.watches[user]; !ok {
				return
			}
			for i := range hidden {
				if hidden[i].User == s.user() {
					g.hide(s, user)
					return
				}
			}
			s.write(&packet.Presence{Peer: user.Name(), Online: online, Seen: seen})
		})
	}
}
