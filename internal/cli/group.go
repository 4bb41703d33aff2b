package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/nearest"
)

// groupVerb is a verb of group: its name, what comes after it, and what it does
// to a group.
type groupVerb struct {
	name, args, summary string
	verb                chat.Verb // 0 only asks
}

var groupVerbs = map[string]groupVerb{
	"create": {"create", "USER...", "make a group with these members", chat.GroupCreate},
	"invite": {"invite", "GROUP USER...", "make users members", chat.GroupAdd},
	"remove": {"remove", "GROUP USER...", "users are members no more", chat.GroupRemove},
	"leave":  {"leave", "GROUP", "be a member no more", chat.GroupLeave},
	"admin":  {"admin", "GROUP USER...", "make members admins", chat.GroupAdmin},
	"member": {"member", "GROUP USER...", "make admins plain members again", chat.GroupMember},
	"list":   {"list", "GROUP", "list the members, and how far they have come", 0},
}

// groupEvery is how often the command looks whether a change has been made.
const groupEvery = 50 * time.Millisecond

func cmdGroup(ctx context.Context, env *Env, args []string) int {
	if len(args) == 0 {
		groupHelp(env.Stderr)
		return ExitUsage
	}
	v, ok := groupVerbs[args[0]]
	if !ok && (args[0] == "-h" || args[0] == "--help" || args[0] == "help") {
		groupHelp(env.Stdout)
		return ExitOK
	} else if !ok {
		env.Errorf("group: unknown command %q%s", args[0], nearest.Hint(args[0], slices.Collect(maps.Keys(groupVerbs))))
		return ExitUsage
	}
	f, fs := newClientFlags("group")
	name := fs.String("name", "", "with create and --encrypt: the group's name, which the server does not see")
	if code, ok := parseFlags(env, fs, "rookery group "+v.name+" --as USER "+v.args+" [flags]", args[1:]); !ok {
		return code
	}
	group, users, err := v.arguments(fs)
	if err != nil {
		env.Errorf("group %s: %v", v.name, err)
		return ExitUsage
	}
	if *name != "" && (!f.encrypt || v.verb != chat.GroupCreate) {
		env.Errorf("group %s: --name goes with create and --encrypt: a name is for the members alone", v.name)
		return ExitUsage
	}
	return f.session(ctx, env, onlyAsking, func(ctx context.Context, c *session) int {
		ctx, cancel := context.WithTimeout(ctx, connectWait)
		defer cancel()
		var err error
		if v.verb == 0 {
			err = f.listMembers(ctx, env, c, group)
		} else if group, err = v.make(ctx, f.as, c, group, *name, users); err == nil && f.json {
			env.printJSON(map[string]any{"type": "group", "group": group, "change": v.name})
		} else if err == nil {
			fmt.Fprintln(env.Stdout, group)
		}
		if err != nil {
			env.Errorf("%v", err)
		}
		return exitOf(err)
	})
}

func groupHelp(w io.Writer) {
	fmt.Fprint(w, "Usage: rookery group COMMAND --as USER [flags]\n\nCommands:\n")
	for _, name := range slices.Sorted(maps.Keys(groupVerbs)) {
		v := groupVerbs[name]
		fmt.Fprintf(w, "  %-21s %s\n", v.name+" "+v.args, v.summary)
	}
	fmt.Fprint(w, "\nThe name of a group stands wherever a user's does: rookery send --to GROUP, rookery history --with GROUP.\n")
}

func (v *groupVerb) arguments(fs *pflag.FlagSet) (group string, users []string, err error) {
	users = fs.Args()
	if v.verb != chat.GroupCreate {
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
	if v.verb == chat.GroupCreate {
		group, sent, err = c.CreateGroup(ctx, name, users...)
	} else {
		sent, err = c.ChangeGroup(ctx, group, v.verb, users...)
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
		return v.verb == chat.GroupLeave, nil
	}
	for _, u := range users {
		m, member := is[u]
		switch v.verb {
		case chat.GroupRemove:
			if member {
				return false, err
			}
		case chat.GroupMember:
			if member && m.Admin {
				return false, err
			}
		default:
			if !member || v.verb == chat.GroupAdmin && !m.Admin {
				return false, err
			}
		}
	}
	_, still := is[me]
	return err == nil && (v.verb != chat.GroupLeave || !still), err
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
