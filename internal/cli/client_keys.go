package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// keyFlags are about encryption.
type keyFlags struct {
	encrypt    bool
	passphrase string
}

func (f *keyFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.encrypt, "encrypt", false, "encrypt end to end; this device's keys lie beside its state file")
	fs.StringVar(&f.passphrase, "passphrase", "", "@FILE that holds the passphrase of the keys; without it they lie open")
}

// options are those of encryption. The user's devices of a folder share one
// identity.
func (f *keyFlags) options(state, user string) (o e2ee.Options, err error) {
	if state == "" {
		return o, nil // keys of this run alone
	}
	o.Keys = strings.TrimSuffix(state, ".state") + ".keys"
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
	sealed *e2ee.Client                                                       // nil: without
	save   func(context.Context, e2ee.File, chat.ID) (path string, err error) // files that come; nil: they are only told of
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
		m.Content = []byte("<named the group " + e.Info.Name + ">")
		return client.Message{Message: m}, err
	case e2ee.Unannounced:
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

func (s *session) History(ctx context.Context, peer string, before chat.ID, limit int) (*client.HistoryPage, error) {
	if s.sealed != nil {
		return s.sealed.History(ctx, peer, before, limit)
	}
	return s.Client.History(ctx, peer, before, limit)
}

func (s *session) Chats(ctx context.Context, before chat.ID, limit int) (*client.ChatsPage, error) {
	if s.sealed != nil {
		return s.sealed.Chats(ctx, before, limit)
	}
	return s.Client.Chats(ctx, before, limit)
}

func (s *session) Close(ctx context.Context) error {
	if s.sealed != nil {
		return s.sealed.Close(ctx)
	}
	return s.Client.Close(ctx)
}

// connect connects, with encryption where it is on.
func (f *clientFlags) connect(ctx context.Context, o client.Options) (*session, error) {
	if !f.encrypt {
		c, err := client.Dial(ctx, o)
		return &session{Client: c}, err
	}
	eo, err := f.keyFlags.options(o.State, o.User)
	if err != nil {
		return nil, err
	}
	c, err := e2ee.Dial(ctx, o, eo)
	if err != nil {
		return nil, err
	}
	return &session{Client: c.Client, sealed: c}, nil
}

// readableSuite reports whether a message's content is text to show. Of suite 1 that is
// what was decrypted: ciphertext is no UTF-8, and what could not be read is nil.
func readableSuite(m *chat.Message) bool {
	return m.Suite == chat.SuitePlain || m.Suite == chat.SuiteMegolm && m.Content != nil
}
