package gateway

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

const (
	memberRows  = 500 // members a page
	historyScan = 20  // pages of a group's history that a request looks at until it finds something for its user
)

func (o *Options) tellGroupLimits(limits map[string]uint64) {
	if o.GroupMembers > 0 {
		limits[packet.LimitGroupMembers], limits[packet.LimitGroupInfo] = uint64(o.GroupMembers), uint64(o.GroupInfo)
	}
	if o.Blocks > 0 {
		limits[packet.LimitBlocks] = uint64(o.Blocks)
	}
}

// validPeer reports whether a name is one of who can be written to here.
func (g *Gateway) validPeer(name []byte) bool {
	return chat.ValidUserName(name) || g.opt.GroupMembers > 0 && chat.ValidGroupName(name)
}

// peerOrGroup joins a name of the wire to the session's tenant.
func (g *Gateway) peerOrGroup(s *session, name string) (chat.User, error) {
	if g.opt.GroupMembers > 0 {
		return chat.NewPeer(s.user().Tenant(), name)
	}
	return s.peer(name)
}

// checkChange judges a change of a group, or of whom the user has blocked, by
// its bytes. Whether its sender may make it the group's owner knows.
func (g *Gateway) checkChange(s *session, m *packet.Send) refusal {
	own := s.ownName(m.To)
	if !own && !chat.ValidGroupName(m.To) {
		return refusal{chat.CodeBadChange, 0, "a change goes to a group, or to oneself to block somebody"}
	}
	c, err := chat.ParseChange(m.Content)
	id, _ := chat.User(m.To).GroupID()
	switch {
	case err != nil:
		return refusal{chat.CodeBadChange, 0, "the change is malformed"}
	case own:
		return g.checkBlocks(s, &c)
	case c.Verb == chat.GroupCreate && id != m.ID:
		return refusal{chat.CodeBadChange, 0, "a new group has the name of the id of the message that makes it"}
	case len(c.Info) > g.opt.GroupInfo:
		return refusal{chat.CodeTooLarge, 0, "the group's info is over the limit"}
	case len(c.Users) > g.opt.GroupMembers:
		return refusal{chat.CodeGroupFull, 0, "the change names more users than a group has"}
	}
	return refusal{}
}

// asMember returns who a user is to a group, and how far they may read: what is
// applied is asked for first, so that the spans are no older.
func (g *Gateway) asMember(ctx context.Context, group, user chat.User) (m storage.Member, applied chat.Position, err error) {
	if applied, err = g.owners.Applied(ctx, group); err != nil {
		return m, 0, err
	}
	if m, err = g.store.Member(ctx, group, user); err == nil && len(m.Spans) == 0 {
		err = chat.Errorf(chat.CodeForbidden, "%s is for its members", group.Name())
	}
	return m, applied, err
}

// groupHistory appends to dst up to limit messages of a group that are a user's
// to read. Where there is much else it ends before, with more.
func (g *Gateway) groupHistory(ctx context.Context, group, user chat.User, before chat.ID, limit int) (list []chat.Message, more bool, err error) {
	m, applied, err := g.asMember(ctx, group, user)
	if err != nil {
		return nil, false, err
	}
	first := m.Spans[0].From
	for range historyScan {
		page, err := g.store.History(ctx, chat.GroupChat(group), before, limit+1, chat.MillisNow(), nil)
		if err != nil {
			return nil, false, err
		}
		more = len(page) > limit
		page = page[:min(len(page), limit)]
		earlier := true // all of it is from before the user was a member
		for i := range page {
			row := &page[i]
			before = row.ID
			if row.Place <= applied && m.MayRead(row.Place) {
				list = append(list, *row)
			}
			earlier = earlier && row.Place < first
		}
		if len(list) > 0 || !more {
			return list, more, nil
		}
		if earlier {
			break
		}
	}
	return nil, false, nil
}

// onGroupGet answers with a page of a group's members.
func (g *Gateway) onGroupGet(s *session, p packet.Raw) error {
	var m packet.GroupGet
	if err := m.Decode(p); err != nil {
		return err
	}
	group, err := g.peerOrGroup(s, m.Group)
	own := err == nil && group == s.user() && g.opt.Blocks > 0
	if err == nil && !group.IsGroup() && !own {
		err = chat.Errorf(chat.CodeBadName, "%q is no group", m.Group)
	}
	beyond := chat.User("")
	if err == nil && m.Beyond != "" {
		beyond, err = s.peer(m.Beyond)
	}
	if err != nil {
		s.failWith(m.Req, err)
		return nil
	}
	if own {
		return g.blocksPage(s, m, beyond)
	}
	user, limit := s.user(), rows(m.Limit, memberRows)
	return g.askOr(s, m.Req, func(ctx context.Context) (encoder, error) {
		me, applied, err := g.asMember(ctx, group, user)
		if err != nil {
			return nil, err
		}
		if since, _ := me.Since(applied); since == 0 {
			return nil, chat.Errorf(chat.CodeForbidden, "the members of %s are for its members", group.Name())
		}
		page := &packet.GroupPage{Req: m.Req, Group: group.Name(), Members: []packet.MemberRow{}, Place: applied}
		if page.Info, _, err = g.store.GroupInfo(ctx, group); err != nil {
			return nil, err
		}
		for {
			list, err := g.store.Members(ctx, group, beyond, limit+1, nil)
			if err != nil {
				return nil, err
			}
			for i := range list {
				row := &list[i]
				since, admin := row.Since(applied)
				if since == 0 {
					continue
				}
				if page.More = len(page.Members) == limit; page.More {
					return page, nil
				}
				page.Members = append(page.Members, packet.MemberRow{
					User: row.User.Name(), Admin: admin, Since: since, Delivered: max(row.Delivered, since), Read: max(row.Read, since),
				})
			}
			if len(list) <= limit {
				return page, nil
			}
			beyond = list[len(list)-1].User
		}
	})
}
