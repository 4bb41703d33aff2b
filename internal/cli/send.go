package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// sendFlags are send's own.
type sendFlags struct {
	*clientFlags
	fileFlags
	to, wait string
	waitSet  bool // --wait was given: not reaching it is a failure
	timeout  time.Duration
	ttl      time.Duration
	media    string
	content  []byte
}

// cmdSend sends one message and prints how far it comes, with the time each
// step took.
func cmdSend(ctx context.Context, env *Env, args []string) int {
	common, fs := newClientFlags("send")
	f := sendFlags{clientFlags: common}
	fs.StringVar(&f.to, "to", "", "the receiver: a user or a group")
	fs.StringVar(&f.wait, "wait", "read", "wait until it is durable, delivered or read; when given, not getting there is a failure")
	fs.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait")
	fs.DurationVar(&f.ttl, "ttl", 0, "how long the message lives; 0 is for ever")
	fs.StringVar(&f.media, "media", "", "a URL beside the text")
	fs.StringVar(&f.file, "file", "", "a file to send, encrypted; the text goes beside it")
	f.addWeb(fs)
	const usage = `rookery send --as USER --to USER [flags] TEXT   ("-" reads the text from standard input)`
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	f.waitSet = fs.Changed("wait")
	if err := f.check(env, fs.Args()); err != nil {
		env.errorLines(err)
		return ExitUsage
	}
	return f.session(ctx, env, sends, nil, func(ctx context.Context, c *session) int {
		return f.run(ctx, env, c)
	})
}

func (f *sendFlags) check(env *Env, args []string) error {
	var faults []error
	if f.to == "" {
		faults = append(faults, errors.New("say to whom: --to USER"))
	}
	if _, ok := statusNamed(f.wait); !ok {
		faults = append(faults, fmt.Errorf("--wait is durable, delivered or read, not %q", f.wait))
	}
	f.content = []byte(strings.Join(args, " "))
	if len(args) == 1 && args[0] == "-" {
		var err error
		if f.content, err = io.ReadAll(env.Stdin); err != nil {
			faults = append(faults, fmt.Errorf("standard input: %w", err))
		}
	} else if len(args) == 0 && f.media == "" && f.file == "" {
		faults = append(faults, errors.New("there is no text to send"))
	}
	return errors.Join(faults...)
}

func statusNamed(name string) (chat.Status, bool) {
	s, ok := map[string]chat.Status{"durable": chat.Sent, "delivered": chat.Delivered, "read": chat.Read}[name]
	return s, ok
}

func (f *sendFlags) run(ctx context.Context, env *Env, c *session) int {
	if n := len(c.Outbox()); n > 0 {
		fmt.Fprintf(env.Stderr, "waiting from earlier commands, and sent first: %d\n", n)
	}
	began := time.Now()
	if f.file != "" { // the upload takes what it takes
		s, err := f.sendFile(ctx, env, c)
		return f.follow(ctx, env, s, err, began)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := c.Send(ctx, f.to, f.content, client.SendOptions{TTL: f.ttl, Media: f.media})
	return f.follow(ctx, env, s, err, began)
}

// follow tells how far a message comes.
func (f *sendFlags) follow(ctx context.Context, env *Env, s *client.Sent, err error, began time.Time) int {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err != nil {
		env.Errorf("%v", f.advice(err))
		return exitOf(err)
	}
	if f.json {
		env.printJSON(map[string]any{"type": "id", "id": s.ID().String(), "to": f.to})
	} else {
		fmt.Fprintf(env.Stdout, "id         %v\n", s.ID())
	}
	last, _ := statusNamed(f.wait)
	for _, step := range []struct {
		status chat.Status
		name   string
		wait   func(context.Context) error
	}{{chat.Sent, "durable", s.Durable}, {chat.Delivered, "delivered", s.Delivered}, {chat.Read, "read", s.Read}} {
		if step.status > last {
			break
		}
		if err := step.wait(ctx); err != nil {
			return f.failed(env, s, err)
		}
		f.print(env, step.name, time.Since(began), s)
	}
	return ExitOK
}

func (f *sendFlags) print(env *Env, step string, took time.Duration, s *client.Sent) {
	ms := float64(took.Microseconds()) / 1000
	if f.json {
		env.printJSON(map[string]any{"type": step, "id": s.ID().String(), "position": s.Place().String(), "ms": ms})
		return
	}
	note := ""
	if step == "durable" {
		note = "   acknowledged: it will not be lost"
	}
	fmt.Fprintf(env.Stdout, "%-9s  %.1f ms%s\n", step, ms, note)
}

// failed says why the message is not further. When nobody asked for more than
// was reached, being durable is enough.
func (f *sendFlags) failed(env *Env, s *client.Sent, err error) int {
	status, _ := s.Status()
	switch {
	case status == 0 || !errors.Is(err, context.DeadlineExceeded):
		env.Errorf("%v", err)
		if status == 0 && f.stateDir() != "" && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
			next := "send of this device"
			if len(f.names) > 1 {
				next = "send, group, tail or chat"
			}
			env.Errorf("the message is kept in %s: the next %s sends it first", f.statePath(f.name), next)
		}
		return exitOf(err)
	case f.waitSet:
		env.Errorf("not %s after %v: it is %v, and goes on its way", f.wait, f.timeout, statusText(status))
		return ExitTimeout
	}
	fmt.Fprintf(env.Stderr, "not further after %v: %s gets it when a device of theirs connects\n", f.timeout, f.to)
	return ExitOK
}

// statusText is a status in the words of the command line.
func statusText(s chat.Status) string {
	if s == chat.Sent {
		return "durable"
	}
	return s.String()
}
