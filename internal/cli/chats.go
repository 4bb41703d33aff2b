package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
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
	return f.session(ctx, env, onlyAsking, func(ctx context.Context, c *client.Client) int {
		return f.listChats(ctx, env, c, *limit)
	})
}

// listChats prints up to limit chats. Pages overlap by a millisecond, so those
// that were printed already are passed over.
func (f *clientFlags) listChats(ctx context.Context, env *Env, c *client.Client, limit int) int {
	seen := map[chat.User]bool{}
	var before time.Time
	for {
		page, err := askFor(ctx, func(ctx context.Context) (*client.ChatsPage, error) {
			return c.Chats(ctx, before, limit-len(seen)+1)
		})
		if err != nil {
			env.Errorf("%v", err)
			return exitOf(err)
		}
		found := len(seen)
		for i := range page.Chats {
			row := &page.Chats[i]
			before = row.Last.ID.Time().Add(time.Millisecond)
			if seen[row.Peer] {
				continue
			}
			if len(seen) == limit {
				return ExitOK
			}
			seen[row.Peer] = true
			f.printChat(env, row)
		}
		if !page.More || len(seen) == found {
			return ExitOK
		}
	}
}

func (f *clientFlags) printChat(env *Env, row *client.Chat) {
	last := recordOf("message", &row.Last)
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
	fmt.Fprintf(env.Stdout, "%s %-16s %s  %s: %s\n", mark, row.Peer, clock(&row.Last), row.Last.From, textOf(&row.Last))
}
