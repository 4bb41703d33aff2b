package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// keyFlags are about encryption.
type keyFlags struct {
	plain      bool
	passphrase string

	keysOnly bool // messages that come go on waiting
	reset    bool // the user gets the identity of this device
}

func (f *keyFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.plain, "plain", false, "do without end-to-end encryption: what is sent the server can read, and what comes encrypted is not shown")
	fs.StringVar(&f.passphrase, "passphrase", "", "@FILE that holds the passphrase of the device's keys, which lie beside its state file; without it they lie open")
}

// keysPath is the key file beside a state file.
func keysPath(state string) string {
	if state == "" {
		return ""
	}
	return strings.TrimSuffix(state, ".state") + ".keys"
}

// options are those of encryption. The user's devices of a folder share one
// identity.
func (f *keyFlags) options(state, user string) (o e2ee.Options, err error) {
	o.AllowPlain = true // it is shown as such
	if state == "" {
		return o, nil
	}
	o.Keys = keysPath(state)
	o.Identity = filepath.Join(filepath.Dir(state), user+".identity")
	if f.passphrase == "" {
		return o, nil
	}
	path, ok := strings.CutPrefix(f.passphrase, "@")
	if !ok {
		return o, fmt.Errorf("--passphrase is @FILE: what stands on a command line everybody on this machine can read")
	}
	b, err := os.ReadFile(path)
	o.Passphrase = strings.TrimSpace(string(b))
	return o, err
}

// session is a client, with encryption or without. What differs is here.
type session struct {
	*client.Client
	sealed *e2ee.Client                                                       // nil: without encryption, or for who only asks
	past   *past                                                              // nil: without encryption
	save   func(context.Context, e2ee.File, chat.ID) (path string, err error) // files that come; nil: they are only told of
}

// textOf is a message's content for a terminal, with a note where it came without
// encryption: anybody in between may have read it, or written it.
func (s *session) textOf(m *chat.Message) string {
	if s.past == nil || m.Suite != chat.SuitePlain {
		return textOf(m)
	}
	return "(not encrypted) " + textOf(m)
}

func (s *session) Send(ctx context.Context, to string, content []byte, o ...client.SendOptions) (*client.Sent, error) {
	if s.sealed != nil {
		return s.sealed.Send(ctx, to, content, o...)
	}
	return s.Client.Send(ctx, to, content, o...)
}

// CreateGroup makes a group: with encryption its name travels to the members.
func (s *session) CreateGroup(ctx context.Context, name string, users ...string) (string, *client.Sent, error) {
	if s.sealed != nil {
		return s.sealed.CreateGroup(ctx, e2ee.GroupInfo{Name: name}, users...)
	}
	return s.Client.CreateGroup(ctx, nil, users...)
}

func (s *session) ChangeGroup(ctx context.Context, group string, verb chat.Verb, users ...string) (*client.Sent, error) {
	if s.sealed != nil {
		return s.sealed.ChangeGroup(ctx, group, verb, users...)
	}
	return s.Client.ChangeGroup(ctx, group, verb, users...)
}

// Receive turns what could not be trusted into problems, which every command
// shows.
func (s *session) Receive(ctx context.Context) (client.Event, error) {
	if s.sealed == nil {
		return s.Client.Receive(ctx)
	}
	e, err := s.sealed.Receive(ctx)
	switch e := e.(type) {
	case e2ee.Failed:
		return client.Problem{ID: e.Message.ID, Err: fmt.Errorf("a message of %s: %w", e.Message.From, e.Err)}, err
	case e2ee.IdentityChanged:
		return client.Problem{Err: fmt.Errorf("the identity of %s has changed: compare safety numbers", e.User)}, err
	case e2ee.GroupNamed:
		m := e.Message
		m.Content = []byte(namedText(e.Info))
		if e.Copy {
			return client.Copy{Message: m}, err
		}
		return client.Message{Message: m}, err
	case e2ee.Unannounced:
		if e.Reads {
			return client.Problem{Err: fmt.Errorf("%s is in %s, and this device has not seen how: what is sent is for them too", e.User, e.Group)}, err
		}
		return client.Problem{Err: fmt.Errorf("the server says that %s is in %s, and nobody was shown how: nothing is encrypted for them", e.User, e.Group)}, err
	case e2ee.LeftOut:
		return client.Problem{Err: fmt.Errorf("what is sent to %s is not for %v: no keys, or another identity", e.Group, e.Users)}, err
	case e2ee.BadKeys:
		return client.Problem{Err: fmt.Errorf("keys of %s %s: %w", e.User, e.Device, e.Err)}, err
	case e2ee.Typed:
		if e.Type == e2ee.TypeFile {
			return s.fileTold(ctx, e), err
		}
		if m, body, _ := e2ee.Said(e); body.Kind != content.KindNewer {
			return told{m: m, body: body, isCopy: e.Copy}, err
		}
		return client.Problem{ID: e.Message.ID, Err: fmt.Errorf("a message of %s is for a later version", e.Message.From)}, err
	}
	return e, err
}

func (s *session) Handled() {
	if s.sealed != nil {
		s.sealed.Handled()
		return
	}
	s.Client.Handled()
}

func namedText(i e2ee.GroupInfo) string {
	switch {
	case i.Picture == nil:
		return "<named the group " + i.Name + ">"
	case i.Name == "":
		return "<gave the group a picture>"
	}
	return "<named the group " + i.Name + ", with a picture>"
}

func (s *session) Close(ctx context.Context) error {
	err := s.past.close()
	if s.sealed != nil {
		return errors.Join(err, s.sealed.Close(ctx))
	}
	return errors.Join(err, s.Client.Close(ctx))
}

// connect connects, with encryption where it is on.
func (f *clientFlags) connect(ctx context.Context, as use, o client.Options) (*session, error) {
	if f.plain || as == asks {
		c, err := client.Dial(ctx, o)
		if err != nil || f.plain {
			return &session{Client: c}, err
		}
		return &session{Client: c, past: f.pastOf(c)}, nil
	}
	eo, err := f.keyFlags.options(o.State, o.User)
	if err != nil {
		return nil, err
	}
	eo.KeysOnly, eo.ResetIdentity = f.keysOnly, f.reset
	if as == sends {
		eo.Refresh = time.Nanosecond // it is gone when a device that it does not know asks for a key
	}
	c, err := e2ee.Dial(ctx, o, eo)
	if err != nil {
		return nil, err
	}
	s := &session{Client: c.Client, sealed: c, past: f.pastOf(c.Client)}
	if as == receives {
		// Who is seen to be there can be written to. Why not is an event.
		if err := c.Published(ctx); err != nil && ctx.Err() != nil {
			return nil, errors.Join(err, s.Close(context.Background()))
		}
	}
	return s, nil
}

// advice adds to an error of encryption what to do about it here.
func (f *clientFlags) advice(err error) error {
	for is, what := range map[error]string{
		e2ee.ErrNoKeys: "keys are made by their first 'rookery tail', 'rookery chat' or look at the chat page; or send it unencrypted: --plain",
		e2ee.ErrOwnIdentity: "show a code on a device that " + f.as + " has, with 'rookery device link --as " + f.as +
			"', and give it here: 'rookery device link --as " + f.as + " CODE'; if no device is left, 'rookery device reset --as " + f.as + "'",
		e2ee.ErrChanged:    "'rookery safety --as " + f.as + " USER' shows the number, and goes on with --accept; in a chat, /safety and /accept",
		e2ee.ErrPassphrase: "give it: --passphrase @FILE",
	} {
		if errors.Is(err, is) || is == e2ee.ErrOwnIdentity && chat.CodeOf(err) == chat.CodeOtherIdentity {
			return fmt.Errorf("%w; %s", err, what)
		}
	}
	return err
}

// readableSuite reports whether a message's content is text to show. Of suite 1 that is
// what was decrypted: ciphertext is no UTF-8, and what could not be read is nil.
func readableSuite(m *chat.Message) bool {
	return m.Suite == chat.SuitePlain || m.Suite == chat.SuiteMegolm && m.Content != nil
}
