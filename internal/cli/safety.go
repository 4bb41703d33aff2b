package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdp/qrterminal/v3"
)

// safetyFlags are safety's own.
type safetyFlags struct {
	*clientFlags
	verified, accept bool
	scanned          string
	peer             string
}

// cmdSafety shows the number by which two users make sure that the server gave each
// the other's identity, notes that it was compared, and accepts an identity that
// has changed.
func cmdSafety(ctx context.Context, env *Env, args []string) int {
	common, fs := newClientFlags("safety")
	f := safetyFlags{clientFlags: common}
	fs.BoolVar(&f.verified, "verified", false, "note that the number was compared, and is the same on both sides")
	fs.StringVar(&f.scanned, "scanned", "", "note that the number was compared, if this is the text of the QR code that the other sees")
	fs.BoolVar(&f.accept, "accept", false, "trust the identity that the user has now, after it has changed")
	if code, ok := parseFlags(env, fs, "rookery safety --as USER [flags] USER", args); !ok {
		return code
	}
	switch {
	case fs.NArg() != 1:
		env.Errorf("say of whom: one user")
		return ExitUsage
	case f.plain:
		env.Errorf("without encryption nothing is safe: do without --plain")
		return ExitUsage
	}
	f.peer = fs.Arg(0)
	code := f.session(ctx, env, sends, nil, func(ctx context.Context, c *session) int { return f.run(ctx, env, c) })
	if !f.accept || code != ExitOK {
		return code
	}
	for _, spare := range f.names[1:] { // each device knows identities by itself
		if !exists(keysPath(f.statePath(spare))) {
			continue
		}
		other := *f.clientFlags
		other.device = spare
		if code := other.session(ctx, env, sends, nil, func(ctx context.Context, c *session) int {
			return f.exit(env, c.accept(ctx, f.peer))
		}); code != ExitOK {
			return code
		}
	}
	return ExitOK
}

func (f *safetyFlags) run(ctx context.Context, env *Env, c *session) int {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	if f.accept && f.name != f.names[0] {
		return f.exit(env, errors.New("another command has the device: end it first, or say /accept where it is a chat"))
	}
	if f.accept {
		if err := c.accept(ctx, f.peer); err != nil {
			return f.exit(env, err)
		}
	}
	s, err := c.sealed.Safety(ctx, f.peer)
	if err == nil && f.scanned != "" {
		f.verified, err = s.Scanned(f.scanned)
		if err == nil && !f.verified {
			err = fmt.Errorf("that is not the code with %s: somebody stands in between, or it is the code with another user", f.peer)
		}
	}
	if err == nil && f.verified {
		s.Verified, err = true, c.sealed.Verify(f.peer, true)
	}
	if err != nil {
		return f.exit(env, err)
	}
	if f.json {
		env.printJSON(map[string]any{"type": "safety", "peer": f.peer, "digits": s.Digits, "qr": s.QR(), "verified": s.Verified})
		return ExitOK
	}
	if _, _, ok := terminal(env); ok {
		qrterminal.GenerateHalfBlock(s.QR(), qrterminal.L, env.Stdout)
	}
	fmt.Fprintln(env.Stdout, s.Digits)
	if s.Verified {
		fmt.Fprintln(env.Stderr, "compared before, and the same")
	} else {
		fmt.Fprintf(env.Stderr, "%s sees the same number, with 'rookery safety --as %s %s' or in the chat page, unless somebody stands in between\n", f.peer, f.peer, f.as)
	}
	return ExitOK
}

func (f *safetyFlags) exit(env *Env, err error) int {
	if err != nil {
		env.Errorf("%v", f.advice(err))
	}
	return exitOf(err)
}

// accept trusts the identity that the server names for a user now.
func (s *session) accept(ctx context.Context, user string) error {
	if _, err := s.sealed.Safety(ctx, user); err != nil { // which looks where it is not known
		return err
	}
	return s.sealed.Accept(ctx, user)
}
