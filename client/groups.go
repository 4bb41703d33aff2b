package client

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// Member is one member of a group.
type Member struct {
	User      chat.User
	Admin     bool
	Since     chat.Position // the place of the change that made them one
	Delivered chat.Position // how far they have come in the group's order
	Read      chat.Position
}

// GroupPage is a group with a page of its members, in order of their names. For
// the next one ask beyond the last one's User.
type GroupPage struct {
	Group   chat.User
	Info    []byte // name and picture, as they were given
	Members []Member
	More    bool
	Place   chat.Position // in the group's order: what comes later may not be in it
}

// CreateGroup makes a group with the user as its admin and others as members,
// and returns its name, which stands wherever a user's does. info is its name
// and picture: the server does not read it, so encrypt it. Whether the group was
// made tells what is returned, as with Send.
func (c *Client) CreateGroup(ctx context.Context, info []byte, users ...string) (group string, sent *Sent, err error) {
	id, err := c.NewID(ctx)
	if err != nil {
		return "", nil, err
	}
	group = string(chat.NewGroup("", id))
	sent, err = c.change(ctx, group, chat.Change{Verb: chat.GroupCreate, Users: names(users), Info: info}, id)
	return group, sent, err
}

// ChangeGroup changes a group: its members, admins or info. The change is a
// message to the group, which all members get; one that the server does not
// take is a Problem, with the code that says why.
func (c *Client) ChangeGroup(ctx context.Context, group string, verb chat.Verb, users ...string) (*Sent, error) {
	return c.change(ctx, group, chat.Change{Verb: verb, Users: names(users)}, chat.ID{})
}

// SetGroupInfo replaces a group's name and picture.
func (c *Client) SetGroupInfo(ctx context.Context, group string, info []byte) (*Sent, error) {
	return c.change(ctx, group, chat.Change{Verb: chat.GroupInfo, Info: info}, chat.ID{})
}

func names(users []string) (all []chat.User) {
	for _, u := range users {
		all = append(all, chat.User(u))
	}
	return all
}

func (c *Client) change(ctx context.Context, group string, change chat.Change, id chat.ID) (*Sent, error) {
	content := change.AppendTo(nil)
	if _, err := chat.ParseChange(content); err != nil {
		return nil, err
	}
	if !chat.ValidGroupName([]byte(group)) {
		return nil, chat.Errorf(chat.CodeBadName, "%q is not the name of a group", group)
	}
	return c.Send(ctx, group, content, SendOptions{Suite: chat.SuiteGroup, ID: id})
}

// Group returns a group and up to limit of its members with names beyond one
// ("" is before all); 0 is as many as the server gives at once. Only members
// get an answer.
func (c *Client) Group(ctx context.Context, group, beyond string, limit int) (*GroupPage, error) {
	answer, err := c.ask(ctx, packet.LimitGroupMembers, func(dst []byte, id uint64) []byte {
		q := packet.GroupGet{Req: id, Group: group, Beyond: beyond, Limit: limit}
		return q.AppendTo(dst)
	})
	page, _ := answer.(*GroupPage)
	return page, err
}

func (s *session) onGroupPage(p packet.GroupPage) error {
	page := &GroupPage{Group: chat.User(p.Group), Info: p.Info, More: p.More, Place: p.Place}
	for _, m := range p.Members {
		page.Members = append(page.Members, Member{
			User: chat.User(m.User), Admin: m.Admin, Since: m.Since, Delivered: m.Delivered, Read: m.Read,
		})
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.answer(p.Req, page)
	return nil
}
