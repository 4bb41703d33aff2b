package cli

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// fileFlags are about files that messages bring.
type fileFlags struct {
	web  string
	file string // to send
	save string // the folder for what comes
}

func (f *fileFlags) addWeb(fs *pflag.FlagSet) {
	fs.StringVar(&f.web, "web", "http://127.0.0.1:8082", "the server's web listener, for files")
}

// media is the way to the store of files.
func (f *clientFlags) media(web string) (*client.Media, error) {
	token, err := f.tokens()
	return &client.Media{Web: web, Token: token}, err
}

// sendFile sends a file, with the text beside it.
func (f *sendFlags) sendFile(ctx context.Context, env *Env, c *session) (*client.Sent, error) {
	if c.sealed == nil {
		return nil, errors.New("files go encrypted only, without --plain")
	}
	m, err := f.clientFlags.media(f.web)
	if err != nil {
		return nil, err
	}
	return c.sealed.SendFile(ctx, m, f.to, e2ee.FileUpload{
		Path: f.file, Type: mime.TypeByExtension(filepath.Ext(f.file)), Text: string(f.content), Pad: true,
		Progress: func(done, total int64) { fmt.Fprintf(env.Stderr, "uploaded   %d of %d bytes\n", done, total) },
	}, client.SendOptions{TTL: f.ttl})
}

// fileTold turns a file's message into one that tells of the file, and saves it
// where a folder was named.
func (s *session) fileTold(ctx context.Context, typed e2ee.Typed) client.Event {
	m := typed.Message
	f, err := e2ee.FileOf(&m)
	text := fileText(&f)
	if err == nil && s.save != nil {
		var path string
		if path, err = s.save(ctx, f, m.ID); err == nil {
			text = strings.TrimSpace(f.Text + " [file saved as " + path + "]")
		}
	}
	if err != nil {
		return client.Problem{ID: m.ID, Err: fmt.Errorf("a file of %s: %w", m.From, err)}
	}
	body := content.Body{Kind: content.KindText, Text: text, File: m.Content}
	m.Content, m.Media = []byte(text), ""
	if typed.Copy { // the user's own, who may delete it
		return told{m: m, body: body, isCopy: true}
	}
	return client.Message{Message: m}
}

// findBlob finds the store's name of a file; "": there is none.
type findBlob func(context.Context) (string, error)

// blobOf is for the file that a deletion by the user is of. One of a message that is
// not here history has. nil: it is of none.
func (t *talk) blobOf(b content.Body) findBlob {
	if b.Kind != content.KindDelete {
		return nil
	}
	it := t.said.Item(b.Target)
	if it == nil {
		return func(ctx context.Context) (string, error) { return t.blobInHistory(ctx, b.Target) }
	}
	blob := t.blobIn(it.From, it.Body)
	return func(context.Context) (string, error) { return blob, nil }
}

// blobIn is the store's name of the file that a message of the user brings.
func (t *talk) blobIn(from chat.User, b content.Body) string {
	if string(from) != t.me || b.File == nil {
		return ""
	}
	f, err := e2ee.FileOf(&chat.Message{Content: b.File})
	if err != nil {
		return ""
	}
	return f.Blob
}

// blobInHistory is blobIn of a message that is read from history.
func (t *talk) blobInHistory(ctx context.Context, id chat.ID) (string, error) {
	for before := chat.NewID(id.Ticks()+1, 0, id.Node()); ; { // right above it
		page, err := t.c.Said(ctx, t.peer, before, 1)
		if err != nil {
			return "", err
		}
		for i, m := range page.Messages {
			switch order := m.ID.Compare(id); {
			case order == 0:
				return t.blobIn(m.From, page.Bodies[i]), nil
			case order < 0:
				return "", nil
			}
		}
		if before = page.Next; !page.More {
			return "", nil
		}
	}
}

// fileText is a file as a line of text, behind the text beside it.
func fileText(f *e2ee.File) string {
	return strings.TrimSpace(fmt.Sprintf("%s [file %s, %d bytes]", f.Text, f.Name, f.Size))
}

// saver saves files in a folder. One whose name is taken gets the message's id
// before its name.
func (f *clientFlags) saver(dir, web string) (func(context.Context, e2ee.File, chat.ID) (string, error), error) {
	m, err := f.media(web)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, file e2ee.File, id chat.ID) (string, error) {
		path := filepath.Join(dir, file.Name)
		if _, err := os.Lstat(path); err == nil {
			path = filepath.Join(dir, id.String()+"-"+file.Name)
		}
		return path, e2ee.SaveFile(ctx, m, file, path, nil)
	}, nil
}
