package cli

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
)

// chatRecord is a chat as --json prints it.
type chatRecord struct {
	Type   string        `json:"type"` // chat
	Peer   string        `json:"peer"`
	Unread bool          `json:"unread"` // the newest message is the peer's and not read
	Read   string        `json:"read_position"`
	Last   messageRecord `json:"last"`
}

// cmdChats lists a user's chats, newest first.
func cmdChats(ctx context.Context, env *Env, args []string) int {
	f, fs := newClientFlags("chats")
	limit := fs.Int("limit", 50, "how many chats")
	if code, ok := parseFlags(env, fs, "rookery chats --as USER [flags]", args); !ok {
		return code
	}
	switch {
	case *limit < 1:
		env.Errorf("--limit is 1 or more, not %d", *limit)
		return ExitUsage
	case fs.NArg() > 0:
		env.Errorf("chats takes no arguments, got %q", fs.Args())
		return ExitUsage
	}
	return f.session(ctx, env, asks, nil, func(ctx context.Context, c *session) int {
		return f.listChats(ctx, env, c, *limit)
	})
}

// listChats prints up to limit chats.
func (f *clientFlags) listChats(ctx context.Context, env *Env, c *session, limit int) int {
	var before chat.ID
	for {
		var bodies []content.Body
		page, err := askFor(ctx, func(ctx context.Context) (page *client.ChatsPage, err error) {
			page, bodies, err = c.Chats(ctx, before, limit)
			return page, err
		})
		if err != nil {
			env.Errorf("%v", f.advice(err))
			return exitOf(err)
		}
		for i := range page.Chats {
			f.printChat(env, &page.Chats[i], bodies[i])
			before = page.Chats[i].Last.ID
		}
		limit -= len(page.Chats)
		if !page.More || limit <= 0 || len(page.Chats) == 0 {
			return ExitOK
		}
	}
}

func (f *clientFlags) printChat(env *Env, row *client.Chat, b content.Body) {
	last := recordOfSaid("message", &row.Last, b)
	unread := false
	if string(row.Last.From) == f.as {
		last.Status = chat.StatusOf(row.Last.Place, chat.Receipt{Delivered: row.Delivered, Read: row.Read}).String()
	} else {
		unread = row.Last.Place > row.Mine
	}
	if f.json {
		env.printJSON(chatRecord{Type: "chat", Peer: string(row.Peer), Unread: unread, Read: row.Mine.String(), Last: last})
		return
	}
	mark := " "
	if unread {
		mark = "*"
	}
	fmt.Fprintf(env.Stdout, "%s %-16s %s  %s: %s\n", mark, row.Peer, clock(&row.Last), row.Last.From, bodyText(b))
}
