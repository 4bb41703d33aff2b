package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// tailFlags are tail's own.
type tailFlags struct {
	*clientFlags
	fileFlags
	from   string
	passes bool // what comes is not shown, until it has caught up
	count  int
}

// cmdTail prints what arrives for a user until it is interrupted. What is
// printed counts as delivered and read.
func cmdTail(ctx context.Context, env *Env, args []string) int {
	common, fs := newClientFlags("tail")
	f := tailFlags{clientFlags: common}
	fs.StringVar(&f.from, "from", client.FromLast, "where to begin: start, now, last (after what this device had), or a position")
	fs.IntVar(&f.count, "count", 0, "end after so many messages; 0: never")
	fs.StringVar(&f.save, "save", "", "a folder to save files in that messages bring")
	f.addWeb(fs)
	if code, ok := parseFlags(env, fs, "rookery tail --as USER [flags]", args); !ok {
		return code
	}
	if fs.NArg() > 0 {
		env.Errorf("tail takes no arguments, got %q", fs.Args())
		return ExitUsage
	}
	// What waits has keys for what comes: it is taken, too, and not shown.
	f.passes = f.from == client.FromNow && !f.plain
	from := f.from
	if f.passes {
		from = client.FromLast
	}
	return f.session(ctx, env, receives, func(o *client.Options) { o.From = from }, func(ctx context.Context, c *session) int {
		return f.run(ctx, env, c)
	})
}

func (f *tailFlags) run(ctx context.Context, env *Env, c *session) int {
	if f.save != "" {
		var err error
		if c.save, err = f.saver(f.save, f.web); err != nil {
			env.Errorf("%v", err)
			return ExitUsage
		}
	}
	for messages := 0; f.count == 0 || messages < f.count; {
		e, err := c.Receive(ctx)
		switch {
		case errors.Is(err, context.Canceled):
			return ExitOK // that is how it ends
		case err != nil:
			env.Errorf("%v", err)
			return exitOf(err)
		}
		switch e.(type) {
		case client.CaughtUp:
			f.passes = false
		case client.Message, client.Copy, told:
			if f.passes {
				continue
			}
		}
		if f.json {
			f.printJSON(env, c, e)
		} else {
			f.print(env, c, e)
		}
		if m, ok := e.(client.Message); ok {
			messages++
			if err := c.MarkRead(string(m.With()), m.Place); err != nil {
				env.Errorf("%v", err)
			}
		}
	}
	c.Handled()
	return ExitOK
}

func (f *tailFlags) print(env *Env, c *session, e client.Event) {
	switch e := e.(type) {
	case client.Message:
		from := string(e.From)
		if e.To.IsGroup() {
			from += " in " + string(e.To)
		}
		fmt.Fprintf(env.Stdout, "%s  %s: %s\n", clock(&e.Message), from, c.textOf(&e.Message))
	case client.Copy:
		fmt.Fprintf(env.Stdout, "%s  to %s: %s\n", clock(&e.Message), e.To, c.textOf(&e.Message))
	case told:
		who := string(e.m.From)
		if e.isCopy {
			who = "to " + string(e.m.To)
		}
		fmt.Fprintf(env.Stdout, "%s  %s: %s\n", clock(&e.m), who, e.text())
	case client.Blocks:
		fmt.Fprintf(env.Stderr, "blocked %v: %v\n", e.Blocked, e.Users)
	case client.Connected:
		fmt.Fprintf(env.Stderr, "connected as %s, at %v; %d waiting\n", e.User, e.Resume, e.Waiting)
	case client.CaughtUp:
		fmt.Fprintf(env.Stderr, "caught up to %v\n", e.Position)
	case client.Truncated:
		fmt.Fprintf(env.Stderr, "what came before %v is no longer kept for this device: see history\n", e.Position)
	case client.Disconnected:
		fmt.Fprintf(env.Stderr, "disconnected: %v; again in %v\n", e.Err, e.RetryIn.Round(time.Millisecond))
	case client.Problem:
		env.Errorf("%v", f.advice(e.Err))
	}
}

func (f *tailFlags) printJSON(env *Env, c *session, e client.Event) {
	switch e := e.(type) {
	case client.Message:
		env.printJSON(recordOf("message", &e.Message))
	case client.Copy:
		env.printJSON(recordOf("copy", &e.Message))
	case told:
		env.printJSON(recordOfTold(e))
	case client.Receipt:
		env.printJSON(map[string]any{"type": "receipt", "peer": string(e.Peer), "delivered": e.Delivered.String(), "read": e.Read.String()})
	case client.CaughtUp:
		env.printJSON(map[string]any{"type": "caught_up", "position": e.Position.String()})
	case client.Truncated:
		env.printJSON(map[string]any{"type": "truncated", "position": e.Position.String()})
	default:
		f.print(env, c, e)
	}
}

// clock is a message's time of day, with its date unless it is of today.
func clock(m *chat.Message) string {
	at, now := m.ID.Time().Local(), time.Now()
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}
