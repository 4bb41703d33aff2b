//go:build !js

package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// TypeFile is the type of a message that brings a file.
const TypeFile = 2

// Bounds of a File.
const (
	maxFileName  = 255      // bytes
	maxThumbnail = 32 << 10 // bytes
)

// File is a file that a message brings: the message has its key, the store its
// encrypted bytes.
type File struct {
	Attachment
	Blob      string `json:"blob"`                // its name in the store
	Name      string `json:"name"`                // of the file, for people; never a path
	Type      string `json:"type"`                // its content type, for people
	Thumbnail []byte `json:"thumbnail,omitempty"` // a small picture
	Text      string `json:"text,omitempty"`      // beside it
}

// FileUpload is a file to send.
type FileUpload struct {
	Path      string // of the file
	Type      string
	Thumbnail []byte
	Text      string
	Pad       bool // hides the file's size, for a ninth of it at most
	Progress  func(done, total int64)
}

// SendFile encrypts a file with a key of its own into a temporary copy, uploads
// that, and sends a message that brings it, which lives as SendBody's does. The upload goes on after
// interruptions of the network, not after the end of the process.
func (c *Client) SendFile(ctx context.Context, media *client.Media, to string, u FileUpload, o client.SendOptions) (*client.Sent, error) {
	if o.TTL == 0 {
		o.TTL = c.Timer(to)
	}
	if len(u.Thumbnail) > maxThumbnail {
		return nil, chat.Errorf(chat.CodeTooLarge, "a thumbnail has at most %d bytes", maxThumbnail)
	}
	sealed, a, err := encryptFile(u)
	if err != nil {
		return nil, err
	}
	defer os.Remove(sealed.Name())
	defer sealed.Close()
	info, err := sealed.Stat()
	if err != nil {
		return nil, err
	}
	f := File{Attachment: a, Name: filepath.Base(u.Path), Type: u.Type, Thumbnail: u.Thumbnail, Text: u.Text}
	if f.Blob, err = media.Upload(ctx, sealed, client.Upload{Size: info.Size(), TTL: o.TTL, Progress: u.Progress}); err != nil {
		return nil, err
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	o.Media = client.MediaPrefix + f.Blob
	sent, err := c.SendTyped(ctx, to, TypeFile, body, o)
	if err != nil {
		media.Drop(context.WithoutCancel(ctx), f.Blob) // nobody can read it
	}
	return sent, err
}

// encryptFile makes the encrypted copy. The caller removes it.
func encryptFile(u FileUpload) (sealed *os.File, a Attachment, err error) {
	src, err := os.Open(u.Path)
	if err != nil {
		return nil, a, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return nil, a, err
	}
	if !info.Mode().IsRegular() {
		return nil, a, fmt.Errorf("e2ee: %s is no file", u.Path)
	}
	if sealed, err = os.CreateTemp("", "rookery-upload-*"); err != nil {
		return nil, a, err
	}
	if a, err = EncryptAttachment(sealed, src, info.Size(), u.Pad); err != nil {
		sealed.Close()
		os.Remove(sealed.Name())
		return nil, a, err
	}
	return sealed, a, nil
}

// FileOf reads the file that a message of TypeFile brings. A name that is a
// path, or that a terminal or a folder would take for something else, becomes a
// plain one.
func FileOf(m *chat.Message) (File, error) {
	var f File
	if err := json.Unmarshal(m.Content, &f); err != nil {
		return f, fmt.Errorf("e2ee: a file's message: %w", err)
	}
	if f.Blob == "" || f.Size < 0 || len(f.Thumbnail) > maxThumbnail {
		return f, errors.New("e2ee: a file's message names no file")
	}
	f.Name = plainName(f.Name)
	return f, nil
}

func plainName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '_'
		}
		return r
	}, name)
	for len(name) > maxFileName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	if strings.Trim(name, ". ") == "" {
		return "file"
	}
	return name
}

// SaveFile downloads a file and writes it where there is none yet. It appears
// whole or not at all; what an interruption left behind, path+".part", is gone on
// with.
func SaveFile(ctx context.Context, media *client.Media, f File, path string, progress func(done, total int64)) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("e2ee: %s: %w", path, os.ErrExist)
	}
	part, err := os.OpenFile(path+".part", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer part.Close()
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := media.Download(ctx, f.Blob, part, client.Download{From: have, Progress: progress}); err != nil {
		return err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := decryptTo(path, part, f.Attachment); err != nil {
		if errors.Is(err, ErrAttachment) {
			os.Remove(part.Name()) // no other try would make it right
		}
		return err
	}
	return os.Remove(part.Name())
}

func decryptTo(path string, src io.Reader, a Attachment) error {
	out, err := os.CreateTemp(filepath.Dir(path), ".rookery-download-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	err = DecryptAttachment(out, src, a)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Link(out.Name(), path) // which writes over nothing
}
