package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// groupVerb is a verb of group, and what it does to one.
type groupVerb struct {
	verb
	change chat.Verb // 0 only asks
}

var groupVerbs = verbsOf("group", "--as USER [flags]",
	"The name of a group stands wherever a user's does: rookery send --to GROUP, rookery history --with GROUP.\n",
	groupVerb{verb{"create", "USER...", "make a group with these members"}, chat.GroupCreate},
	groupVerb{verb{"invite", "GROUP USER...", "make users members"}, chat.GroupAdd},
	groupVerb{verb{"remove", "GROUP USER...", "users are members no more"}, chat.GroupRemove},
	groupVerb{verb{"leave", "GROUP", "be a member no more"}, chat.GroupLeave},
	groupVerb{verb{"admin", "GROUP USER...", "make members admins"}, chat.GroupAdmin},
	groupVerb{verb{"member", "GROUP USER...", "make admins plain members again"}, chat.GroupMember},
	groupVerb{verb{"list", "GROUP", "list the members, and how far they have come"}, 0},
)

// groupEvery is how often the command looks whether a change has been made.
const groupEvery = 50 * time.Millisecond

func cmdGroup(ctx context.Context, env *Env, args []string) int {
	v, code, ok := groupVerbs.pick(env, args)
	if !ok {
		return code
	}
	f, fs := newClientFlags("group")
	name := fs.String("name", "", "with create: the group's name, which the server does not see")
	if code, ok := parseFlags(env, fs, "rookery group "+v.name+" --as USER "+v.args+" [flags]", args[1:]); !ok {
		return code
	}
	group, users, err := v.arguments(fs)
	if err != nil {
		env.Errorf("group %s: %v", v.name, err)
		return ExitUsage
	}
	if *name != "" && (f.plain || v.change != chat.GroupCreate) {
		env.Errorf("group %s: --name goes with create, and without --plain: a name is for the members alone", v.name)
		return ExitUsage
	}
	as := sends
	if v.change == 0 {
		as = asks
	}
	return f.session(ctx, env, as, nil, func(ctx context.Context, c *session) int {
		ctx, cancel := context.WithTimeout(ctx, connectWait)
		defer cancel()
		var err error
		if v.change == 0 {
			err = f.listMembers(ctx, env, c, group)
		} else if group, err = v.make(ctx, f.as, c, group, *name, users); err == nil && f.json {
			env.printJSON(map[string]any{"type": "group", "group": group, "change": v.name})
		} else if err == nil {
			fmt.Fprintln(env.Stdout, group)
		}
		if err != nil {
			env.Errorf("%v", f.advice(err))
		}
		return exitOf(err)
	})
}

func (v *groupVerb) arguments(fs *pflag.FlagSet) (group string, users []string, err error) {
	users = fs.Args()
	if v.change != chat.GroupCreate {
		if len(users) == 0 || !chat.ValidGroupName([]byte(users[0])) {
			return "", nil, errors.New("the first argument is the group's name, a colon and 22 letters and digits")
		}
		group, users = users[0], users[1:]
	}
	if takes := strings.Contains(v.args, "USER"); takes != (len(users) > 0) {
		return "", nil, fmt.Errorf("say %s %s", v.name, v.args)
	}
	return group, users, nil
}

// make makes the change and waits until it is made, or refused.
func (v *groupVerb) make(ctx context.Context, me string, c *session, group, name string, users []string) (string, error) {
	var sent *client.Sent
	var err error
	if v.change == chat.GroupCreate {
		group, sent, err = c.CreateGroup(ctx, name, users...)
	} else {
		sent, err = c.ChangeGroup(ctx, group, v.change, users...)
	}
	if err == nil {
		err = sent.Durable(ctx)
	}
	for err == nil {
		if _, err = sent.Status(); err != nil {
			break
		}
		var made bool
		if made, err = v.made(ctx, me, c, group, users); made || err != nil {
			break
		}
		select {
		case <-time.After(groupEvery):
		case <-ctx.Done():
			err = fmt.Errorf("the change is durable, and whether it was made is not known yet: %w", ctx.Err())
		}
	}
	return group, err
}

// made reports whether the group is as the change makes it.
func (v *groupVerb) made(ctx context.Context, me string, c *session, group string, users []string) (bool, error) {
	is := map[string]client.Member{}
	err := eachMember(ctx, c, group, func(_ *client.GroupPage, m *client.Member) { is[string(m.User)] = *m })
	if chat.CodeOf(err) == chat.CodeForbidden {
		return v.change == chat.GroupLeave, nil
	}
	for _, u := range users {
		m, member := is[u]
		switch v.change {
		case chat.GroupRemove:
			if member {
				return false, err
			}
		case chat.GroupMember:
			if member && m.Admin {
				return false, err
			}
		default:
			if !member || v.change == chat.GroupAdmin && !m.Admin {
				return false, err
			}
		}
	}
	_, still := is[me]
	return err == nil && (v.change != chat.GroupLeave || !still), err
}

func eachMember(ctx context.Context, c *session, group string, f func(*client.GroupPage, *client.Member)) error {
	for beyond := ""; ; {
		page, err := c.Group(ctx, group, beyond, 0)
		if err != nil {
			return err
		}
		for i := range page.Members {
			f(page, &page.Members[i])
		}
		if !page.More || len(page.Members) == 0 {
			return nil
		}
		beyond = string(page.Members[len(page.Members)-1].User)
	}
}

func (f *clientFlags) listMembers(ctx context.Context, env *Env, c *session, group string) error {
	return eachMember(ctx, c, group, func(_ *client.GroupPage, m *client.Member) {
		if f.json {
			env.printJSON(map[string]any{
				"type": "member", "group": group, "user": string(m.User), "admin": m.Admin,
				"since": m.Since.String(), "delivered": m.Delivered.String(), "read": m.Read.String(),
			})
			return
		}
		role := "member"
		if m.Admin {
			role = "admin"
		}
		fmt.Fprintf(env.Stdout, "%-16s %-6s since %v, has all up to %v, read %v\n", m.User, role, m.Since, m.Delivered, m.Read)
	})
}

// changeText says what a change of a group does.
func changeText(m *chat.Message) string {
	c, err := chat.ParseChange(m.Content)
	if err != nil {
		return "<a change of the group that this version does not know>"
	}
	var who []string
	for _, u := range c.Users {
		who = append(who, string(u))
	}
	with := strings.Join(who, ", ")
	switch c.Verb {
	case chat.GroupCreate:
		return "<made the group, with " + with + ">"
	case chat.GroupAdd:
		return "<invited " + with + ">"
	case chat.GroupRemove:
		return "<removed " + with + ">"
	case chat.GroupLeave:
		return "<left>"
	case chat.GroupAdmin:
		return "<made admins: " + with + ">"
	case chat.GroupMember:
		return "<no admins any more: " + with + ">"
	}
	return "<changed the group's name or picture>"
}
