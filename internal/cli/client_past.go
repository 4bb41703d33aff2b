package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// past reads history with the keys of the user's device in the folder of state
// files, whichever command has it now.
type past struct {
	mu   sync.Mutex
	open func() (*e2ee.Reader, error) // nil: was called, or will not be
	keys *e2ee.Reader                 // nil: there are none
}

// pastOf is for a client of whatever device.
func (f *clientFlags) pastOf(c *client.Client) *past {
	return &past{open: func() (*e2ee.Reader, error) {
		o, err := f.keyFlags.options(f.statePath(f.names[0]), f.as)
		if err != nil || o.Keys == "" {
			return nil, err
		}
		r, err := e2ee.OpenReader(c, f.as, f.names[0], o)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil // the first command of this folder
		}
		return r, err
	}}
}

// read decrypts a message; type 0: it cannot be read.
func (p *past) read(ctx context.Context, m chat.Message) (read chat.Message, typ uint8, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.opened(); err != nil {
		return m, 0, err
	}
	if p.keys == nil {
		m.Content = nil
		return m, 0, nil
	}
	return p.keys.Read(ctx, m)
}

// opened opens the keys, once. p.mu is held.
func (p *past) opened() (err error) {
	if p.open == nil {
		return nil
	}
	if p.keys, err = p.open(); err == nil {
		p.open = nil
	}
	return err
}

// devicesChanged tells those whom the user's device knows that a device was revoked.
func (p *past) devicesChanged(ctx context.Context) error {
	if p == nil {
		return nil // without encryption
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.opened(); err != nil || p.keys == nil {
		return err
	}
	return p.keys.DevicesChanged(ctx)
}

func (p *past) close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := p.keys
	p.open, p.keys = nil, nil
	if keys == nil {
		return nil
	}
	return keys.Close()
}

// said is what a message of history says; shown is false for what is no message to
// people.
func (s *session) said(ctx context.Context, m chat.Message) (read chat.Message, b content.Body, shown bool, err error) {
	switch {
	case s.past == nil:
		return m, s.plainBody(&m), true, nil
	case m.Suite == chat.SuiteGroup:
		return m, s.plainBody(&m), m.To.IsGroup(), nil
	case m.Suite != chat.SuiteMegolm:
		return m, s.plainBody(&m), m.Suite != chat.SuiteKeyShare, nil
	}
	typ := uint8(0)
	if s.sealed != nil {
		read, typ = s.sealed.ReadableTyped(m)
	}
	if typ == 0 {
		read, typ, err = s.past.read(ctx, m)
	}
	return read, sealedBody(typ, &read), true, err
}

// sealedBody is what an encrypted message of a type says.
func sealedBody(typ uint8, m *chat.Message) content.Body {
	text := func(s string) content.Body { return content.Body{Kind: content.KindText, Text: s} }
	switch typ {
	case 0:
		return text("<cannot be read: no key for it is here>")
	case e2ee.TypeFile:
		f, err := e2ee.FileOf(m)
		if err != nil {
			return text("<a file that cannot be read>")
		}
		return content.Body{Kind: content.KindText, Text: fileText(&f), File: m.Content}
	case e2ee.TypeGroupInfo:
		var info e2ee.GroupInfo
		json.Unmarshal(m.Content, &info) // without a name: of none
		return text(namedText(info))
	}
	return e2ee.BodyOf(typ, m.Content)
}

// Said is a page of history with what its messages say. It has one at least, unless
// there is none before.
func (s *session) Said(ctx context.Context, peer string, before chat.ID, limit int) (*e2ee.SaidPage, error) {
	for {
		page, err := s.Client.History(ctx, peer, before, limit)
		if err != nil {
			return nil, err
		}
		said := &e2ee.SaidPage{HistoryPage: *page}
		said.Messages = nil
		for _, m := range page.Messages {
			m, b, shown, err := s.said(ctx, m)
			if err != nil {
				return nil, err
			}
			if shown {
				said.Messages, said.Bodies = append(said.Messages, m), append(said.Bodies, b)
			}
		}
		if before = page.Next; len(said.Messages) > 0 || !page.More {
			return said, nil
		}
	}
}

// Chats is a page of chats, with what the newest message of each says.
func (s *session) Chats(ctx context.Context, before chat.ID, limit int) (*client.ChatsPage, []content.Body, error) {
	page, err := s.Client.Chats(ctx, before, limit)
	if err != nil {
		return nil, nil, err
	}
	bodies := make([]content.Body, len(page.Chats))
	for i := range page.Chats {
		last := &page.Chats[i].Last
		if *last, bodies[i], _, err = s.said(ctx, *last); err != nil {
			return nil, nil, err
		}
	}
	return page, bodies, nil
}
