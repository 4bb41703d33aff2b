package cli

import (
	"context"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// historyFlags are history's own.
type historyFlags struct {
	*clientFlags
	with, before string
	limit        int
}

// cmdHistory prints messages of a chat, newest first.
func cmdHistory(ctx context.Context, env *Env, args []string) int {
	common, fs := newClientFlags("history")
	f := historyFlags{clientFlags: common}
	fs.StringVar(&f.with, "with", "", "the other user of the chat, or the group")
	fs.IntVar(&f.limit, "limit", 50, "how many messages")
	fs.StringVar(&f.before, "before", "", "only messages older than this id")
	if code, ok := parseFlags(env, fs, "rookery history --as USER --with USER [flags]", args); !ok {
		return code
	}
	var before chat.ID
	var err error
	if f.before != "" {
		before, err = chat.ParseID(f.before)
	}
	switch {
	case err != nil:
		env.Errorf("--before: %v", err)
	case f.with == "":
		env.Errorf("say which chat: --with USER")
	case f.limit < 1:
		env.Errorf("--limit is 1 or more, not %d", f.limit)
	case fs.NArg() > 0:
		env.Errorf("history takes no arguments, got %q", fs.Args())
	default:
		return f.session(ctx, env, asks, nil, func(ctx context.Context, c *session) int {
			return f.run(ctx, env, c, before)
		})
	}
	return ExitUsage
}

func (f *historyFlags) run(ctx context.Context, env *Env, c *session, before chat.ID) int {
	for left := f.limit; left > 0; {
		page, err := askFor(ctx, func(ctx context.Context) (*e2ee.SaidPage, error) {
			return c.Said(ctx, f.with, before, left)
		})
		if err != nil {
			env.Errorf("%v", f.advice(err))
			return exitOf(err)
		}
		for i := range page.Messages {
			f.print(env, page, i)
		}
		left -= len(page.Messages)
		before = page.Next
		if !page.More {
			break
		}
	}
	return ExitOK
}

func (f *historyFlags) print(env *Env, page *e2ee.SaidPage, i int) {
	m, b := &page.Messages[i], page.Bodies[i]
	r := recordOfSaid("message", m, b)
	if string(m.From) == f.as {
		r.Status = chat.StatusOf(m.Place, chat.Receipt{Delivered: page.Delivered, Read: page.Read}).String()
	}
	if f.json {
		env.printJSON(r)
		return
	}
	fmt.Fprintf(env.Stdout, "%s  %s  %s: %s", r.ID, clock(m), m.From, bodyText(b))
	if r.Status != "" {
		fmt.Fprintf(env.Stdout, "  (%s)", r.Status)
	}
	fmt.Fprintln(env.Stdout)
}

// askFor puts a question to the server with a time limit.
func askFor[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	return ask(ctx)
}
