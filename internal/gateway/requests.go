package gateway

import (
	"context"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// ask queues a job that reads the store for a request and answers it with the
// packet the job returns. The answer, or the error, goes to the session.
func (g *Gateway) ask(s *session, req uint64, job func(ctx context.Context) (encoder, error)) error {
	if int(s.requests) >= g.opt.Requests {
		return overloaded("too many requests at work")
	}
	ref := s.ref()
	ok := g.jobs.try(func() {
		ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
		defer cancel()
		answer, err := job(ctx)
		g.post(ref, func(s *session) {
			s.requests--
			if s.state == closing {
				return
			}
			if err != nil {
				s.failWith(req, err)
			} else if answer != nil {
				s.write(answer)
			}
		})
	})
	if !ok {
		return overloaded("too many requests are waiting")
	}
	s.requests++
	return nil
}

// rows is how many rows a request gets: what it asks for within the bound, the
// bound when it asks for 0.
func rows(asked, bound int) int {
	if asked <= 0 {
		return bound
	}
	return min(asked, bound)
}

func overloaded(text string) error {
	e := chat.Errorf(chat.CodeOverloaded, "%s", text)
	e.RetryAfter = unavailableRetry
	return e
}

// peer joins a name of the wire to the session's tenant.
func (s *session) peer(name string) (chat.User, error) {
	return chat.NewUser(s.user().Tenant(), name)
}

func (g *Gateway) onHistory(s *session, p packet.Raw) error {
	var m packet.History
	if err := m.Decode(p); err != nil {
		return err
	}
	peer, err := g.peerOrGroup(s, m.Peer)
	if err != nil {
		s.failWith(m.Req, err)
		return nil
	}
	user, limit := s.user(), rows(m.Limit, g.opt.HistoryRows)
	return g.askOr(s, m.Req, func(ctx context.Context) (encoder, error) {
		// The chat is that of the session's user and the peer, so nobody
		// reaches a chat they are no member of.
		var list []chat.Message
		var more bool
		var next chat.ID
		var err error
		if peer.IsGroup() {
			list, more, err = g.groupHistory(ctx, peer, user, m.Before, limit)
		} else {
			list, more, next, err = g.seenHistory(ctx, user, peer, m.Before, limit)
		}
		if err != nil {
			return nil, err
		}
		r := []storage.ReceiptAt{{Receipt: chat.Receipt{User: user, Peer: peer}}}
		if err := g.store.ReadReceipts(ctx, r); err != nil {
			return nil, err
		}
		seen := horizon{}
		page := &packet.HistoryPage{Req: m.Req, Peer: peer.Name(), Delivered: r[0].Delivered, Read: r[0].Read, More: more, Next: next}
		bytes := 0
		for i := range list[:min(len(list), limit)] {
			if bytes > pageBytes {
				page.More, page.Next = true, chat.ID{}
				break
			}
			shown, err := seen.shows(ctx, g, &list[i])
			if err != nil {
				return nil, err
			}
			if shown {
				page.Rows = append(page.Rows, rowOf(&list[i]))
				bytes += rowBytes(&list[i])
			}
		}
		return page, nil
	})
}

// askOr is ask with its error answered under the request's number.
func (g *Gateway) askOr(s *session, req uint64, job func(ctx context.Context) (encoder, error)) error {
	if err := g.ask(s, req, job); err != nil {
		s.failWith(req, err)
	}
	return nil
}

// horizon is how far partitions are applied, asked once a request: rows above
// it are not to be shown yet (law 5).
type horizon map[int]chat.Position

func (h horizon) shows(ctx context.Context, g *Gateway, m *chat.Message) (bool, error) {
	part := g.owners.Partition(view.Bytes(m.To))
	applied, asked := h[part]
	if !asked {
		var err error
		if applied, err = g.owners.Applied(ctx, m.To); err != nil {
			return false, err
		}
		h[part] = applied
	}
	return m.Place <= applied, nil
}

// rowBytes is about what a row takes in a page.
func rowBytes(m *chat.Message) int { return len(m.Content) + len(m.Media) + 128 }

func rowOf(m *chat.Message) packet.Row {
	return packet.Row{
		ID: m.ID, From: m.From.Name(), Place: m.Place, Late: m.At - m.ID.UnixMilli(),
		Suite: m.Suite, Content: m.Content, Expires: m.Expires, Media: m.Media,
	}
}

func (g *Gateway) onChats(s *session, p packet.Raw) error {
	var m packet.Chats
	if err := m.Decode(p); err != nil {
		return err
	}
	user, limit := s.user(), rows(m.Limit, g.opt.ChatRows)
	return g.askOr(s, m.Req, func(ctx context.Context) (encoder, error) {
		list, err := g.store.Chats(ctx, user, m.Before, limit+1, chat.MillisNow(), nil)
		if err != nil {
			return nil, err
		}
		hidden, err := g.blocked(ctx, user, true)
		if err != nil {
			return nil, err
		}
		seen := horizon{}
		page := &packet.ChatsPage{Req: m.Req, More: len(list) > limit}
		bytes := 0
		for i := range list[:min(len(list), limit)] {
			if bytes > pageBytes {
				page.More = true
				break
			}
			c := &list[i]
			if shown, err := seen.shows(ctx, g, &c.Last); err != nil {
				return nil, err
			} else if !shown {
				continue // it comes as an entry once it is
			}
			if c.Peer.IsGroup() {
				if m, err := g.store.Member(ctx, c.Peer, user); err != nil {
					return nil, err
				} else if !m.MayRead(c.Last.Place) {
					continue // who has left
				}
			} else {
				var of storage.Member
				if i := slices.IndexFunc(hidden, func(m storage.Member) bool { return m.User == c.Peer }); i >= 0 {
					of = hidden[i]
				}
				if shown, err := g.newestSeen(ctx, user, c, &of); err != nil {
					return nil, err
				} else if !shown {
					continue
				}
			}
			bytes += rowBytes(&c.Last)
			r := []storage.ReceiptAt{{Receipt: chat.Receipt{User: user, Peer: c.Peer}}}
			if err := g.store.ReadReceipts(ctx, r); err != nil {
				return nil, err
			}
			mine, err := g.store.ReadTo(ctx, user, c.Peer)
			if err != nil {
				return nil, err
			}
			page.Chats = append(page.Chats, packet.ChatRow{
				Peer: c.Peer.Name(), Delivered: r[0].Delivered, Read: r[0].Read, Mine: mine, Last: rowOf(&c.Last),
			})
		}
		return page, nil
	})
}

// onTyping passes typing on to the peer's sessions, if the two have a chat.
func (g *Gateway) onTyping(s *session, p packet.Raw) error {
	var m packet.Typing
	if err := m.Decode(p); err != nil {
		return err
	}
	peer, err := s.peer(string(m.Peer))
	if err != nil {
		return err
	}
	user, on := s.user(), m.On
	return g.ask(s, 0, func(ctx context.Context) (encoder, error) {
		if ok, err := g.store.HasChat(ctx, user, peer); err != nil || !ok {
			return nil, err
		}
		for _, p := range [][2]chat.User{{peer, user}, {user, peer}} {
			if is, err := g.isBlocked(ctx, p[0], p[1]); err != nil || is {
				return nil, err
			}
		}
		g.Typing(user, peer, on)
		if g.opt.Elsewhere != nil {
			g.typingElsewhere(ctx, user, peer, on)
		}
		return nil, nil
	})
}

func typingFrom(user chat.User, on bool) packet.TypingFrom {
	return packet.TypingFrom{Peer: view.Bytes(user.Name()), On: on}
}

// onWatch answers with the presence of each user the session has a chat with,
// and tells it of every change from then on.
func (g *Gateway) onWatch(s *session, p packet.Raw) error {
	var m packet.Watch
	if err := m.Decode(p); err != nil {
		return err
	}
	fresh, again, err := g.toWatch(s, m.Users)
	if err != nil {
		s.failWith(m.Req, err)
		return nil
	}
	user, ref := s.user(), s.ref()
	err = g.ask(s, m.Req, func(ctx context.Context) (encoder, error) {
		for i, peer := range append(fresh, again...) {
			if err := g.watch(ctx, ref, user, peer); err != nil {
				g.post(ref, func(s *session) { s.forget(fresh[min(i, len(fresh)):]) })
				return nil, err
			}
		}
		return nil, nil
	})
	if err != nil {
		s.forget(fresh)
		s.failWith(m.Req, err)
	}
	return nil
}

// toWatch tells the users that a session does not watch yet from those that it
// does, and enters the former: until they are looked up they are watched by the
// session's count alone, and not by presence.
func (g *Gateway) toWatch(s *session, names []string) (fresh, again []chat.User, err error) {
	tooMany := chat.Errorf(chat.CodeTooMany, "at most %d users are watched", g.opt.Watches)
	if len(names) > g.opt.Watches {
		return nil, nil, tooMany
	}
	x := s.extra()
	if x.watches == nil {
		x.watches = map[chat.User]struct{}{}
	}
	for _, name := range names {
		peer, err := s.peer(name)
		if err == nil && len(x.watches) >= g.opt.Watches {
			if _, known := x.watches[peer]; !known {
				err = tooMany
			}
		}
		if err != nil {
			s.forget(fresh)
			return nil, nil, err
		}
		if _, known := x.watches[peer]; known {
			again = append(again, peer)
			continue
		}
		x.watches[peer] = struct{}{}
		fresh = append(fresh, peer)
	}
	return fresh, again, nil
}

// forget takes back what toWatch entered.
func (s *session) forget(peers []chat.User) {
	for _, peer := range peers {
		delete(s.extra().watches, peer)
	}
}

// watch runs on a worker. Presence is for those who have a chat with a user.
func (g *Gateway) watch(ctx context.Context, ref presence.Ref, user, peer chat.User) error {
	ok, err := g.store.HasChat(ctx, user, peer)
	if err != nil {
		return err
	}
	if !ok {
		return chat.Errorf(chat.CodeForbidden, "presence of %s is for those who have a chat with them", peer.Name())
	}
	seen, err := g.store.LastSeen(ctx, peer)
	if err != nil {
		return err
	}
	hidden, err := g.isBlocked(ctx, peer, user)
	if err != nil {
		return err
	}
	g.post(ref, func(s *session) {
		if hidden && s.state < closing {
			g.hide(s, peer)
			return
		}
		g.watchNow(s, ref, peer, seen)
	})
	return nil
}

// watchNow enters the watch and tells the state it found, unless the client has
// unwatched meanwhile.
func (g *Gateway) watchNow(s *session, ref presence.Ref, peer chat.User, seen int64) {
	if _, wanted := s.extra().watches[peer]; s.state == closing || !wanted {
		return
	}
	online, fresh := g.presence.Watch(peer, ref)
	if g.opt.Elsewhere != nil {
		elsewhere, _ := g.opt.Elsewhere.Directory.Watch(peer) // what it does not know now, it tells
		online = online || elsewhere
		if !fresh { // it was asked once more
			g.opt.Elsewhere.Directory.Unwatch(peer)
		}
	}
	if online {
		seen = 0
	}
	s.write(&packet.Presence{Peer: peer.Name(), Online: online, Seen: seen})
}

func (g *Gateway) onUnwatch(s *session, p packet.Raw) error {
	var m packet.Unwatch
	if err := m.Decode(p); err != nil {
		return err
	}
	for _, name := range m.Users {
		peer, err := s.peer(name)
		if err != nil {
			return err
		}
		if s.rare != nil {
			delete(s.rare.watches, peer)
		}
		g.unwatch(peer, s.ref())
	}
	return nil
}

func (g *Gateway) unwatch(peer chat.User, ref presence.Ref) {
	if g.presence.Unwatch(peer, ref) && g.opt.Elsewhere != nil {
		g.opt.Elsewhere.Directory.Unwatch(peer)
	}
}

// onRefresh takes a token that lives longer, of the same user and device.
func (g *Gateway) onRefresh(s *session, p packet.Raw) error {
	var m packet.Refresh
	if err := m.Decode(p); err != nil {
		return err
	}
	id, err := g.opt.Verify(m.Token)
	if err != nil {
		return err
	}
	if id.User != s.user() || id.Device != "" && id.Device != s.device() {
		return chat.Errorf(chat.CodeWrongUser, "the new token is another user's or device's")
	}
	s.expire(id.Expires)
	s.warned = false
	s.arm()
	s.write(&packet.Refreshed{Expires: s.expiresMs()})
	return nil
}
