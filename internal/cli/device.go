package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdp/qrterminal/v3"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// deviceVerb is a verb of device.
type deviceVerb struct {
	verb
	least, most int // arguments
	run         func(ctx context.Context, env *Env, f *clientFlags, c *session, args []string) error
}

var deviceVerbs = verbsOf("device", "--as USER [flags]", "",
	deviceVerb{verb{"list", "", "list the user's devices"}, 0, 0, listDevices},
	deviceVerb{verb{"label", "DEVICE TEXT", "give a device a name to show; an empty one takes it away"}, 2, 2, labelDevice},
	deviceVerb{verb{"revoke", "DEVICE", "take a device away for ever"}, 1, 1, revokeDevice},
	deviceVerb{verb{"reset", "", "give the user a new identity, whose only device is this one: for when no other is left"}, 0, 0, resetIdentity},
	deviceVerb{verb{"link", "[CODE]", "show a code that links a new device; on the new one: give it"}, 0, 1, linkDevice},
)

// linkEvery is how often a device that was given the identity is looked for in
// the directory.
const linkEvery = 500 * time.Millisecond

func cmdDevice(ctx context.Context, env *Env, args []string) int {
	v, code, ok := deviceVerbs.pick(env, args)
	if !ok {
		return code
	}
	f, fs := newClientFlags("device")
	fs.BoolVar(&f.link.NoHistory, "no-history", false, "link: hand over nothing that was sent before")
	fs.StringSliceVar(&f.link.Without, "without", nil, "link: users and groups of which nothing is handed over that was sent before")
	if code, ok := parseFlags(env, fs, "rookery device "+v.name+" --as USER "+v.args+" [flags]", args[1:]); !ok {
		return code
	}
	rest, as := fs.Args(), asks
	var change func(*client.Options)
	switch {
	case len(rest) < v.least || len(rest) > v.most:
		env.Errorf("device %s: say %s %s", v.name, v.name, v.args)
		return ExitUsage
	case f.plain && (v.name == "link" || v.name == "reset"):
		env.Errorf("device %s is about keys: do without --plain", v.name)
		return ExitUsage
	case v.name == "reset":
		as, f.reset = sends, true
	case v.name == "link" && len(rest) == 1 && (fs.Changed("no-history") || fs.Changed("without")):
		env.Errorf("device link: --no-history and --without are for the device that shows the code")
		return ExitUsage
	case v.name == "link":
		as, f.keysOnly = receives, true
		change = func(o *client.Options) { o.From = client.FromNow }
	}
	return f.session(ctx, env, as, change, func(ctx context.Context, c *session) int {
		err := v.run(ctx, env, f, c, rest)
		if err != nil {
			env.Errorf("%v", f.advice(err))
		}
		return exitOf(err)
	})
}

func listDevices(ctx context.Context, env *Env, f *clientFlags, c *session, _ []string) error {
	list, err := askFor(ctx, c.Devices)
	for _, d := range list {
		if f.json {
			r := map[string]any{"type": "device", "device": string(d.Name), "label": d.Label, "created": rfc3339(d.Created)}
			if !d.Revoked.IsZero() {
				r["revoked"] = rfc3339(d.Revoked)
			}
			env.printJSON(r)
			continue
		}
		state := "since " + d.Created.Local().Format(time.DateTime)
		if !d.Revoked.IsZero() {
			state = "revoked " + d.Revoked.Local().Format(time.DateTime)
		}
		fmt.Fprintf(env.Stdout, "%-16s %-28s %s\n", d.Name, state, printable(d.Label))
	}
	return err
}

func labelDevice(ctx context.Context, _ *Env, _ *clientFlags, c *session, args []string) error {
	_, err := askFor(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.LabelDevice(ctx, args[0], args[1]) })
	return err
}

func revokeDevice(ctx context.Context, _ *Env, _ *clientFlags, c *session, args []string) error {
	_, err := askFor(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.RevokeDevice(ctx, args[0]) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	return c.past.devicesChanged(ctx)
}

// resetIdentity waits for what its flag has asked for.
func resetIdentity(ctx context.Context, env *Env, f *clientFlags, c *session, _ []string) error {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	err := c.sealed.Published(ctx)
	if err == nil {
		fmt.Fprintf(env.Stderr, "%s has a new identity: who knew the one before is warned, and compares safety numbers\n", f.as)
	}
	return err
}

func linkDevice(ctx context.Context, env *Env, f *clientFlags, c *session, args []string) error {
	if len(args) == 1 {
		return joinDevice(ctx, env, f, c, args[0])
	}
	ctx, cancel := context.WithTimeout(ctx, e2ee.LinkFor)
	defer cancel()
	code, err := c.sealed.OfferLink(ctx, f.link)
	if err != nil {
		return err
	}
	if f.json {
		env.printJSON(map[string]any{"type": "code", "code": code, "seconds": int(e2ee.LinkFor.Seconds())})
	} else {
		if _, _, ok := terminal(env); ok {
			qrterminal.GenerateHalfBlock(code, qrterminal.M, env.Stdout)
		}
		fmt.Fprintf(env.Stdout, "%s\n", code)
		fmt.Fprintf(env.Stderr, "on the new device, within %v: rookery device link --as %s %s\n", e2ee.LinkFor, f.as, code)
	}
	for {
		e, err := c.sealed.Receive(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("nobody gave the code, which is good no more: %w", err)
		}
		if err != nil {
			return err
		}
		used, ok := e.(e2ee.LinkUsed)
		switch {
		case ok && used.Err != nil:
			env.Errorf("the device %s was refused: %v", used.Device, used.Err)
		case ok:
			if err := c.awaitKeys(ctx, f.as, string(used.Device)); err != nil {
				return fmt.Errorf("%s was given the identity, and is not seen among the devices: %w", used.Device, err)
			}
			f.linked(env, string(used.Device))
			if !f.link.NoHistory {
				f.awaitHistory(ctx, env, c, nil)
			}
			return nil
		}
	}
}

// historyWait is how long it is waited for what comes of history, after a device
// was linked. What is not there then goes on with the device's next command.
const historyWait = 10 * time.Second

// awaitHistory waits until history was handed over, unless that was told already,
// and says how much.
func (f *clientFlags) awaitHistory(ctx context.Context, env *Env, c *session, told *e2ee.LinkedHistory) {
	ctx, cancel := context.WithTimeout(ctx, historyWait)
	defer cancel()
	for told == nil {
		e, err := c.sealed.Receive(ctx)
		if err != nil {
			env.Errorf("the history is not there yet: it goes on when both devices are connected")
			return
		}
		if h, ok := e.(e2ee.LinkedHistory); ok {
			told = &h
		}
	}
	switch {
	case told.Err != nil:
		env.Errorf("%v", told.Err)
	case f.json:
		env.printJSON(map[string]any{"type": "history", "device": string(told.Device), "given": told.Given, "sessions": told.Sessions})
	default:
		fmt.Fprintf(env.Stdout, "history of %d sessions\n", told.Sessions)
	}
}

func (f *clientFlags) linked(env *Env, device string) {
	if f.json {
		env.printJSON(map[string]any{"type": "linked", "device": device})
		return
	}
	fmt.Fprintf(env.Stdout, "linked %s\n", device)
}

// awaitKeys waits until a device's keys are in the directory.
func (s *session) awaitKeys(ctx context.Context, user, device string) error {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	for {
		users, err := s.Keys(ctx, user)
		if err != nil {
			return err
		}
		for _, d := range users[0].Devices {
			if d.Device == device {
				return nil
			}
		}
		select {
		case <-time.After(linkEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// joinDevice gives the code of another device, while what comes is taken.
func joinDevice(ctx context.Context, env *Env, f *clientFlags, c *session, code string) error {
	joining, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	joined := make(chan error, 1)
	go func() {
		joined <- c.sealed.Join(joining, code)
		cancel()
	}()
	var told *e2ee.LinkedHistory
	for joining.Err() == nil {
		e, err := c.sealed.Receive(joining)
		if err != nil {
			break
		}
		if h, ok := e.(e2ee.LinkedHistory); ok {
			told = &h
		}
	}
	cancel()
	err := <-joined
	if err != nil {
		return err
	}
	f.linked(env, f.name)
	f.awaitHistory(ctx, env, c, told)
	return nil
}
