//go:build !js

package e2ee

import (
	"context"
	"fmt"
	"os"

	"filippo.io/age"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// Reader reads history with the keys of a device of the user, as they lie in its
// key file. It changes nothing there and publishes nothing, so it may read while
// another process has the device; the client it asks by may be another device of
// the user. Its methods are for one goroutine at a time.
type Reader struct {
	m       *Machine
	ask     *client.Client
	rows    int // that one message's key is looked for in; tests have less
	walks   map[chat.User]*walk
	missing map[sessionID]bool // looked for in vain
}

// walk is how far back the key shares of a chat have been looked through.
type walk struct {
	next   chat.ID // everything from here on has been
	over   bool    // nothing is before it
	shares map[sessionID][]chat.Message
}

// shareRows is how many rows of history one message's key is looked for in. A
// session's share is before its first message: RotateMessages of its own lie in
// between at most, and what others wrote meanwhile.
const shareRows = 1000

// OpenReader reads the key file of a device. The error is os.ErrNotExist where
// there is none, ErrPassphrase or ErrDamaged. Close the reader when done with it.
func OpenReader(ask *client.Client, user, device string, o Options) (*Reader, error) {
	keys, err := readKeyFile(o.Keys, o.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", o.Keys, err)
	}
	m, err := OpenMachine(user, device, link{ask}, keys, o)
	if err != nil {
		return nil, err
	}
	return &Reader{m: m, ask: ask, rows: shareRows, walks: map[chat.User]*walk{}, missing: map[sessionID]bool{}}, nil
}

// Close ends the reader. The client stays.
func (r *Reader) Close() error { return r.m.Close() }

// DevicesChanged is Machine.DevicesChanged.
func (r *Reader) DevicesChanged(ctx context.Context) error { return r.m.DevicesChanged(ctx) }

// Read decrypts a message of history of any type, as Machine.ReadableTyped does.
// A key that has not come to the device yet is taken from the shares that the
// server keeps: of the 1000 messages before it in the chat with its sender. Read
// the newest first. The error is the server's, or ctx's.
func (r *Reader) Read(ctx context.Context, m chat.Message) (read chat.Message, typ uint8, err error) {
	if read, typ = r.m.ReadableTyped(m); typ != 0 || m.Suite != chat.SuiteMegolm {
		return read, typ, nil
	}
	s, lacks := r.lacks(&m)
	if !lacks || r.missing[s.session] {
		return read, typ, nil
	}
	if err := r.find(ctx, &m, s); err != nil {
		return read, 0, err
	}
	read, typ = r.m.ReadableTyped(m)
	return read, typ, nil
}

func (r *Reader) lacks(m *chat.Message) (s sealed, lacks bool) {
	s, err := parseSealed(m.Content)
	if err != nil {
		return s, false
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	in, err := r.m.in.get(string(m.From), s.session)
	return s, err == nil && (in == nil || in.lacks(&s))
}

// find takes the shares of a message's session. They lie in the direct chat with
// who sent it: of what this user sent to somebody, in that chat.
func (r *Reader) find(ctx context.Context, m *chat.Message, s sealed) error {
	with := m.From
	if string(m.From) == r.m.user && !m.To.IsGroup() {
		with = m.To
	}
	w := r.walks[with]
	if w == nil {
		w = &walk{next: m.ID, shares: map[sessionID][]chat.Message{}}
		r.walks[with] = w
	}
	if m.ID.Compare(w.next) < 0 {
		w.next = m.ID
	}
	for rows := 0; ; {
		if err := r.take(ctx, w, m.From, s); err != nil {
			return err
		}
		if _, lacks := r.lacks(m); !lacks || w.over || rows >= r.rows {
			r.missing[s.session] = lacks
			return nil
		}
		page, err := r.ask.History(ctx, string(with), w.next, 0)
		if err != nil {
			return err
		}
		for _, row := range page.Messages {
			if share, err := parseShare(row.Content); row.Suite == chat.SuiteKeyShare && err == nil {
				w.shares[share.session] = append(w.shares[share.session], row)
			}
		}
		rows += len(page.Messages)
		w.next, w.over = page.Next, !page.More
	}
}

// take takes what was found of a session, and forgets it.
func (r *Reader) take(ctx context.Context, w *walk, from chat.User, s sealed) error {
	shares := w.shares[s.session]
	delete(w.shares, s.session)
	for _, row := range shares {
		if row.From == from {
			if _, err := r.m.Take(ctx, row, false); err != nil {
				return err
			}
		}
	}
	for r.m.Next() != nil { // of keys: the device that has them is told as well
	}
	return nil
}

// snapshot is a key file's commits. What is added to them is kept nowhere.
type snapshot struct{ commits [][]byte }

func (s *snapshot) Load() ([][]byte, error) { return s.commits, nil }
func (s *snapshot) Extend(_ []byte) error   { return nil }
func (s *snapshot) Replace(_ []byte) error  { return nil }
func (s *snapshot) Close() error            { return nil }

// readKeyFile reads a file that another process may be writing: what it writes
// now is a torn tail.
func readKeyFile(path, passphrase string) (*snapshot, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secret, used, err := openHead(b, vaultMagic, passphrase)
	if err != nil {
		return nil, err
	}
	f := keyFile{path: path}
	if f.secret, err = age.ParseX25519Identity(string(secret)); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if _, err = f.load(b, used); err != nil {
		return nil, err
	}
	return &snapshot{f.commits}, nil
}
