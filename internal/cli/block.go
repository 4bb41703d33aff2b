package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// blockEvery is how often the command looks whether its change has been made.
const blockEvery = 50 * time.Millisecond

// cmdBlock blocks users, takes that back, or lists who is blocked.
func cmdBlock(ctx context.Context, env *Env, args []string) int {
	f, fs := newClientFlags("block")
	undo := fs.Bool("undo", false, "take it back")
	if code, ok := parseFlags(env, fs, "rookery block --as USER [flags] [USER...]   (without users: list who is blocked)", args); !ok {
		return code
	}
	users := fs.Args()
	if *undo && len(users) == 0 {
		env.Errorf("say who is not to be blocked any more")
		return ExitUsage
	}
	return f.session(ctx, env, asks, nil, func(ctx context.Context, c *session) int {
		ctx, cancel := context.WithTimeout(ctx, connectWait)
		defer cancel()
		blocked, err := changeBlocks(ctx, c.Client, users, !*undo)
		if err != nil {
			env.Errorf("%v", err)
			return exitOf(err)
		}
		for _, u := range blocked {
			if f.json {
				env.printJSON(map[string]any{"type": "blocked", "user": string(u)})
			} else {
				fmt.Fprintln(env.Stdout, u)
			}
		}
		return ExitOK
	})
}

// changeBlocks blocks users, or takes that back, waits until it is so, and
// returns who is blocked.
func changeBlocks(ctx context.Context, c *client.Client, users []string, on bool) ([]chat.User, error) {
	if len(users) > 0 {
		change := c.Block
		if !on {
			change = c.Unblock
		}
		sent, err := change(ctx, users...)
		if err != nil {
			return nil, err
		}
		if err := sent.Durable(ctx); err != nil {
			return nil, err
		}
	}
	for {
		blocked, err := c.Blocked(ctx)
		differs := func(u string) bool { return slices.Contains(blocked, chat.User(u)) != on }
		if err != nil || !slices.ContainsFunc(users, differs) {
			return blocked, err
		}
		select {
		case <-time.After(blockEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("the change is accepted and not made yet, or over the server's limit: %w", ctx.Err())
		}
	}
}
